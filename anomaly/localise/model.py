"""What the localiser answers: a verdict and ranked causes, with the arithmetic that made them."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.float64]

Combination = tuple[tuple[int, int], ...]
"""(dimension index, code) pairs, dimensions ascending; () selects every leaf."""


class Verdict(StrEnum):
    LOCALISED = "localised"
    """The causes marked `answer` explain the rise."""
    DIFFUSE = "diffuse"
    """Things got worse, but about equally everywhere: nothing among the dimensions explains it."""
    INSUFFICIENT_DATA = "insufficient_data"
    """Too little was measured, now or before, to say anything."""
    QUIET = "quiet"
    """No combination stands out from what its own history makes one expect."""


@dataclass(frozen=True, slots=True)
class Equivalent:
    """Another combination that selects the same leaves here, or nearly the same."""

    where: Combination
    leaves_only_in_cause: int
    leaves_only_in_equivalent: int
    differing_leaves: tuple[int, ...]
    """Row indices of the first leaves by which the two differ (at most `overlap.MAX_DIFFERING_LEAVES`)."""


@dataclass(frozen=True, slots=True)
class Onset:
    """Columns of the given minutes: when the cause most likely began, and the range it may have begun in."""

    minute: int
    earliest: int
    latest: int


@dataclass(frozen=True, slots=True)
class Cause:
    where: Combination
    bad: float
    """Bad events in the cell now (ratios), or the real count (counts)."""
    expected: float
    """Bad events that history makes one expect, or the forecast count."""
    total: float
    """Trials in the cell now (ratios), or the forecast count (counts)."""
    leaves: int
    share: float
    """(bad - expected) over the whole excess, at most 1; the whole excess is at least the cell's own."""
    purity: float
    """0..1: the part of the leaves' evidence, for and against, that speaks for this cause."""
    gain: float
    """Nats of log likelihood that the cause explains over expectation."""
    answer: bool
    equivalents: tuple[Equivalent, ...] = ()
    onset: Onset | None = None
    """Of causes in the answer, where minutes were given: the change point of the cause's own series."""


@dataclass(frozen=True, slots=True)
class Localisation:
    verdict: Verdict
    reason: str
    """One sentence with the numbers that led to the verdict."""
    bad: float
    expected: float
    total: float
    causes: tuple[Cause, ...] = ()

    @property
    def answer(self) -> tuple[Cause, ...]:
        return tuple(cause for cause in self.causes if cause.answer)
