"""The error this package raises for settings and scripts it cannot follow."""

from __future__ import annotations


class SimulatorError(ValueError):
    """A setting or fault script that makes no sense; the message names the field, what was expected and what came."""

    def __init__(self, field: str, expected: str, got: object) -> None:
        self.field = field
        super().__init__(f"{field}: expected {expected}, got {got!r}")
