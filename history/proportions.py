"""Proportions with both counts and what chance leaves open."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z95 = 1.959964
"""Two-sided 95% of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Proportion:
    """`part` of `whole`; ratio and interval are None of nothing."""

    part: int
    whole: int

    @property
    def ratio(self) -> float | None:
        """part/whole."""
        return self.part / self.whole if self.whole else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% interval (Wilson: Probable inference, 1927)."""
        if not self.whole:
            return None
        n, z2 = self.whole, Z95 * Z95
        centre = (self.part + z2 / 2) / (n + z2)
        half = Z95 / (n + z2) * math.sqrt(self.part * (n - self.part) / n + z2 / 4)
        return max(0.0, centre - half), min(1.0, centre + half)
