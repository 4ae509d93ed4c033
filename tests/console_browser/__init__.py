"""A package, unlike its neighbours: its fixtures end with it, and the browser's event loop with them."""
