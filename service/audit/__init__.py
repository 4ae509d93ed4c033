"""The audit: every change by a person, chained, and the orders among them."""
