"""The sweep: claim, call, record."""
