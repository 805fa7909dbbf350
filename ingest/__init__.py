"""The door: authenticates, validates, enriches and appends telemetry to the log; keeps the registry."""
