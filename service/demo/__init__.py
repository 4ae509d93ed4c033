"""The demo: the main job on embedded parts, from signed callbacks to the outcome of each file."""
