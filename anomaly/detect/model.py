"""What enters a detector and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from anomaly.detect.errors import BadInput

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MINUTE_MS = 60_000


class Verdict(IntEnum):
    """What is said of a series in a minute. Whatever is not OK or DIP means "don't know"."""

    OK = 0
    DIP = 1
    WARMING_UP = 2
    """Too little history to know what is usual."""
    FROZEN = 3
    """The caller does not trust this minute: low coverage, or our own lag."""
    TOO_LITTLE_DATA = 4
    """Too few trials in the last half hour."""

    @property
    def known(self) -> bool:
        return self in (Verdict.OK, Verdict.DIP)


class Baseline(IntEnum):
    """What "usual" was taken from; the first that has been seen often enough counts."""

    NONE = 0
    OVERALL = 1
    """The ratio over everything seen so far."""
    TIME_OF_DAY = 2
    """The same half hour of the days before."""
    TIME_OF_WEEK = 3
    """The same half hour of the same weekday."""


@dataclass(frozen=True, slots=True)
class Counts:
    """One minute of n series, each a measure as bad of total; 0 of 0 where there was no traffic.

    bad, total: (n,) int64, bad <= total. allowed: (n,) float64, the bad of total that the objective allows (1 -
    target), NaN without an objective. frozen: (n,) bool, minutes that must not change any verdict.
    """

    bad: IntArray
    total: IntArray
    allowed: FloatArray
    frozen: BoolArray

    @classmethod
    def of(
        cls,
        bad: npt.ArrayLike,
        total: npt.ArrayLike,
        allowed: npt.ArrayLike | None = None,
        frozen: npt.ArrayLike | None = None,
    ) -> "Counts":
        """Checked counts. Raises BadInput with the argument and the first wrong series."""
        totals = _integers("total", total)
        bads = _integers("bad", bad, len(totals))
        over = np.flatnonzero(bads > totals)
        if len(over):
            row = int(over[0])
            raise BadInput("bad", f"expected at most the total {totals[row]}, got {bads[row]}", row)
        n = len(totals)
        ratios = np.full(n, np.nan) if allowed is None else np.asarray(allowed, np.float64)
        mask = np.zeros(n, np.bool_) if frozen is None else np.asarray(frozen)
        for name, values in (("allowed", ratios), ("frozen", mask)):
            if values.shape != (n,):
                raise BadInput(name, f"expected shape ({n},) as of total, got {values.shape}")
        if mask.dtype != np.bool_:
            raise BadInput("frozen", f"expected booleans, got {mask.dtype}")
        wrong = np.flatnonzero(~(np.isnan(ratios) | ((ratios > 0) & (ratios < 1))))
        if len(wrong):
            raise BadInput("allowed", f"expected above 0 and below 1, or NaN, got {ratios[wrong[0]]}", int(wrong[0]))
        return cls(bads, totals, ratios, mask)

    @property
    def measured(self) -> BoolArray:
        """(n,): had traffic that may be judged."""
        return (self.total > 0) & ~self.frozen

    def __len__(self) -> int:
        return len(self.total)


def _integers(name: str, values: npt.ArrayLike, n: int | None = None) -> IntArray:
    counts = np.asarray(values)
    if counts.ndim != 1 or (n is not None and len(counts) != n):
        raise BadInput(name, f"expected shape ({'n' if n is None else n},), got {counts.shape}")
    if not np.issubdtype(counts.dtype, np.integer):
        raise BadInput(name, f"expected integers, got {counts.dtype}")
    negative = np.flatnonzero(counts < 0)
    if len(negative):
        row = int(negative[0])
        raise BadInput(name, f"expected a count of 0 or more, got {counts[row]}", row)
    return counts.astype(np.int64)


Scores = TypeVar("Scores")


class Detector(Protocol[Scores]):
    """The contract of every detector here, for n series at once. `minute`: its start, ms UTC.

    `score` never changes the detector; a caller may score the same minute with other counts as often as it likes.
    `learn` takes the counts with their scores and moves on; minutes ascend, missing ones are silence. Scores are NaN
    while a series warms up, where it is frozen and where it had no traffic. Replaying the same minutes gives the same
    state, and so does loading saved arrays.
    """

    def score(self, minute: int, counts: Counts) -> Scores: ...

    def learn(self, minute: int, counts: Counts, scores: Scores) -> None: ...

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything it remembers, for `load`."""
        ...

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None: ...

    def select(self, rows: npt.NDArray[np.integer]) -> None:
        """Keep these series, in this order."""
        ...

    def extend(self, n_new: int) -> None:
        """Add series that know nothing yet."""
        ...


def index_of(minute: int, newest: int, n_series: int, counts: Counts) -> int:
    """Minutes since the epoch. Raises BadInput unless `minute` is a minute after the newest learned one."""
    if minute % MINUTE_MS:
        raise BadInput("minute", f"expected the start of a minute in ms UTC, got {minute}")
    if minute // MINUTE_MS <= newest:
        raise BadInput("minute", f"expected after the newest learned minute {newest * MINUTE_MS}, got {minute}")
    if len(counts) != n_series:
        raise BadInput("counts", f"expected {n_series} series, got {len(counts)}")
    return minute // MINUTE_MS
