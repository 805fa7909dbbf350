"""A fleet with known faults, entering through the same door as a real box."""
