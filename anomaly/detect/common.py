"""What the series of a family have in common now: when all customers drift together, none of them dipped.

A family is one measure of many customers. What the others moved by within the last minutes, against what each of them
expects, is expected of a series, too; itself it has no say in that. The movement is bounded, so trouble of the whole
fleet stays visible beyond it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomaly.detect.memory import Field, Memory
from anomaly.detect.model import BoolArray, FloatArray, IntArray
from anomaly.detect.settings import CommonSettings

OBSERVED, EXPECTED = range(2)
ALONE = -1
"""Family of a series that moves with no other."""


@dataclass(frozen=True, slots=True)
class Minute:
    """(n,) each: bad, total, what is expected of the total before anything in common, and whether all that is known."""

    bad: FloatArray
    total: FloatArray
    ratio: FloatArray
    known: BoolArray

    @property
    def counts(self) -> FloatArray:
        """(2, n): observed and expected bad."""
        counts: FloatArray = np.where(self.known, np.stack([self.bad, self.total * self.ratio]), 0.0)
        return counts


class Common:
    """Recent observed and expected bad per series."""

    def __init__(self, settings: CommonSettings, families: IntArray) -> None:
        """families: (n,), a number >= 0 per family, ALONE for none."""
        self._settings = settings
        self._keep = 0.5 ** (1 / settings.half_life_minutes)
        self._families = families.copy()
        self.memory = Memory({"recent": Field((2,))}, len(families))

    def factor(self, minute: Minute) -> FloatArray:
        """(n,): by how much the others of each series' family exceed what is expected of them; 1 without others."""
        settings = self._settings
        observed, expected = self.memory["recent"] * self._keep + minute.counts
        move = np.clip(np.log((observed + 1) / (expected + 1)), -settings.most_move, settings.most_move)
        used = minute.known & (self._families != ALONE)
        weight = used / (settings.dispersion / (expected + 1) + settings.scatter**2)
        family = np.where(self._families == ALONE, 0, self._families)
        sums = [np.bincount(family, values)[family] - values for values in (weight, weight * move)]
        prior = settings.prior_series / settings.scatter**2
        mean = np.where(self._families == ALONE, 0.0, sums[1] / (sums[0] + prior))
        factor: FloatArray = np.exp(np.clip(mean, -settings.most_common, settings.most_common))
        return factor

    def learn(self, minute: Minute) -> None:
        self.memory["recent"] = self.memory["recent"] * self._keep + minute.counts

    def select(self, rows: npt.NDArray[np.integer]) -> None:
        self._families = self._families[rows]
        self.memory.select(rows)

    def extend(self, families: IntArray) -> None:
        self._families = np.concatenate([self._families, families])
        self.memory.extend(len(families))
