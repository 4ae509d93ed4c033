"""Is everything in order: doctor, readiness, metrics."""
