"""People who sign in to the console, and their sessions."""
