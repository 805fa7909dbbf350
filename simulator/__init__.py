"""A seeded fleet of boxes with known faults. Only this package and the scoring may read its truth."""
