"""The one process that changes files."""
