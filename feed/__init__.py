"""Health scores for the scheduler."""
