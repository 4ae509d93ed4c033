"""The inventory of media files."""
