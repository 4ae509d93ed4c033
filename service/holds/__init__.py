"""Holds: a person's order to keep."""
