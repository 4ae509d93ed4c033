"""The web side: thin Flask views over the use cases."""
