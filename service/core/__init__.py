"""Pure decisions: no clock, no database, no HTTP. Frozen values in and out."""
