"""The console, what people see at `/`: it shows `service.views`, and orders what the API orders (docs/console.md)."""
