"""Says so first: messages about findings of the doctor that changed, to where people read (docs/notifications.md)."""
