"""Applying what people ordered, in the order of the audit."""
