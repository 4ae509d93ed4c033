"""Callbacks: received, stored before they are answered, understood in batches."""
