"""One form per resource, for the API, the command line and the console alike."""
