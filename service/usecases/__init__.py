"""One module per thing the service does; collaborators are handed in."""
