"""Both detectors, judged over all series of a minute together: one verdict per series, with its arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.detect.burn import BurnRate, BurnScores
from anomaly.detect.common import ALONE
from anomaly.detect.discovery import MINUTES_PER_DAY, benjamini_hochberg, level
from anomaly.detect.errors import BadInput
from anomaly.detect.memory import Arrays
from anomaly.detect.model import Baseline, BoolArray, Counts, FloatArray, IntArray, Verdict, index_of
from anomaly.detect.settings import DetectSettings
from anomaly.detect.shift import Shift, ShiftScores
from anomaly.detect.windows import TOTAL, Windows

DEFAULT = DetectSettings()
RECENT_MINUTES = 30
SHIFT, BURN = range(2)


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one minute. (n,) unless said otherwise."""

    minute: int
    """Its start, ms UTC."""
    counts: Counts
    verdict: IntArray
    """Values of `Verdict`."""
    p: FloatArray
    """(2, n): of the shift and of the burn rate; NaN where not tested."""
    limit: float
    """The p up to which this minute's tests are discoveries."""
    discovered: BoolArray
    """(2, n): which of them are."""
    shift: ShiftScores
    burn: BurnScores
    recent: IntArray
    """Trials of the last half hour."""
    false_share: float
    """Part of the minute's discoveries that may be false."""


class Detector:
    """For thousands of series (customer x service x measure) at once, one minute at a time.

        detector = Detector(n_series)
        scores = detector.score(minute, Counts.of(bad, total, allowed, frozen))
        detector.learn(minute, scores.counts, scores)

    State is a function of the minutes learned: replay them, or save `arrays()` and `load` them. All numbers are in
    `DetectSettings`. About 25 kB of memory per series.
    """

    def __init__(
        self, n_series: int, settings: DetectSettings = DEFAULT, families: npt.NDArray[np.integer] | None = None
    ) -> None:
        """families: (n_series,), the measure of each series as a number >= 0: what most series of a family do together
        is no dip of one of them. -1, or left out: a series for itself."""
        self._settings = settings
        self.n_series = n_series
        alone = settings.discovery.false_per_series_day / MINUTES_PER_DAY
        self._shift = Shift(_families(families, n_series), settings, alone)
        self._burn = BurnRate(n_series, settings.burn)
        self._recent = Windows((RECENT_MINUTES,), n_series)
        self._newest = -1

    def score(self, minute: int, counts: Counts) -> Scores:
        """Verdicts with this minute (its start, ms UTC) included; changes nothing. Raises BadInput."""
        now = index_of(minute, self._newest, self.n_series, counts)
        shift = self._shift.score(minute, counts)
        burn = self._burn.score(minute, counts, shift.dispersion[-1])
        p = np.stack([shift.p, burn.p])
        false_share, discovered, limit = self.discover(p)
        shift = replace(shift, dip=self._shift.lasting(shift) | discovered[SHIFT])
        recent = self._recent.sums(now, counts)[RECENT_MINUTES][TOTAL]
        verdict = self._verdict(counts, shift, discovered, recent)
        return Scores(minute, counts, verdict, p, limit, discovered, shift, burn, recent, false_share)

    def discover(self, p: FloatArray) -> tuple[float, BoolArray, float]:
        """Of all tests of a minute, p (2, n): the part of discoveries that may be false, which are, and up to which p.
        All series are one family; who watches several fleets with one detector judges each of them for itself here."""
        false_share = level(int((~np.isnan(p)).sum()), self._settings.discovery)
        return false_share, *benjamini_hochberg(p, false_share)

    def _verdict(self, counts: Counts, shift: ShiftScores, discovered: BoolArray, recent: IntArray) -> IntArray:
        dip = (shift.dip & (counts.total > 0)) | discovered[BURN]
        verdict = np.select(
            [
                counts.frozen,
                dip,
                shift.expected.baseline == Baseline.NONE,
                (recent < self._settings.min_total) | (counts.total == 0),
            ],
            [Verdict.FROZEN, Verdict.DIP, Verdict.WARMING_UP, Verdict.TOO_LITTLE_DATA],
            Verdict.OK,
        )
        return verdict.astype(np.int64)

    def learn(self, minute: int, counts: Counts, scores: Scores) -> None:
        """Move on to the next minute. `scores`: what `score` said of these counts."""
        now = index_of(minute, self._newest, self.n_series, counts)
        self._shift.learn(minute, counts, scores.shift)
        self._burn.learn(minute, counts, scores.burn)
        self._recent.learn(now, counts)
        self._newest = now

    def arrays(self) -> Arrays:
        """Everything it remembers, as plain arrays with the series on the last axis."""
        recent = {f"recent.{name}": values for name, values in self._recent.arrays().items()}
        return self._shift.arrays() | self._burn.arrays() | recent | {"minute": np.array(self._newest, np.int64)}

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over what `arrays` of a detector with the same number of series and settings gave. Raises BadInput."""
        prefix = "recent."
        self._shift.load(arrays)
        self._burn.load(arrays)
        self._recent.load({name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)})
        self._newest = int(arrays["minute"])

    def select(self, rows: npt.NDArray[np.integer]) -> None:
        """Keep these series, in this order."""
        for part in (self._shift, self._burn, self._recent):
            part.select(rows)
        self.n_series = len(rows)

    def extend(self, n_new: int, families: npt.NDArray[np.integer] | None = None) -> None:
        """Add series that know nothing yet."""
        self._shift.extend(_families(families, n_new))
        for part in (self._burn, self._recent):
            part.extend(n_new)
        self.n_series += n_new


def _families(families: npt.NDArray[np.integer] | None, n_series: int) -> IntArray:
    if families is None:
        return np.full(n_series, ALONE, np.int64)
    found = np.asarray(families)
    if found.shape != (n_series,) or not np.issubdtype(found.dtype, np.integer):
        raise BadInput("families", f"expected {n_series} integers, got shape {found.shape} of {found.dtype}")
    if (found < ALONE).any():
        raise BadInput("families", f"expected -1 or more, got {found.min()}", int(found.argmin()))
    return found.astype(np.int64)
