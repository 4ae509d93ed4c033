"""Reconciling the inventory with the vendors' listings."""
