"""A shift against what is usual: cumulative sums of log likelihood ratios, one per size of shift.

Each minute is asked: do these counts look like usual, or like usual plus 0.3% of all requests? The answers, in nats,
are added up, and the sum starts anew whenever it would fall below 0 (Page, 1954; Lorden, 1971). Counts are negative
binomial with the dispersion of their series over the horizon of the scale. If nothing shifted, the chance that such a
sum stands at w or above is at most exp(-w) (Lundberg's inequality), which makes a p-value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.detect.common import Common, Minute
from anomaly.detect.dispersion import Dispersion, reach_of
from anomaly.detect.memory import Arrays, Field, Memory
from anomaly.detect.model import MINUTE_MS, Baseline, BoolArray, Counts, FloatArray, IntArray, index_of
from anomaly.detect.season import LEAST_RATIO, MOST_RATIO, Expectation, Season
from anomaly.detect.settings import DetectSettings

BAD, TOTAL, EXPECTED = range(3)
LEAST_EXTRA = 1e-6
"""Dispersion is taken to be at least this much above 1: a negative binomial with less is a Poisson to all digits."""
MOST_SHIFTED = 0.99


@dataclass(frozen=True, slots=True)
class ShiftScores:
    """Of one minute. (n,) unless said otherwise."""

    minute: int
    expected: Expectation
    dispersion: FloatArray
    """(n_horizons, n): variance of the bad events over that of independent trials."""
    evidence: FloatArray
    """(n_scales, n) nats, with this minute."""
    begun: IntArray
    """(n_scales, n): minute since the epoch in which each sum left 0; of a sum at 0, the next minute."""
    since: FloatArray
    """(n_scales, 3, n): bad, total and expected bad since then."""
    best: IntArray
    """The scale with most evidence; of equals the largest."""
    p: FloatArray
    """Chance of so much evidence when nothing shifted; NaN when warming up, frozen or without traffic."""
    dip: BoolArray
    """Whether it is a dip: as `p` alone says, until all series of the minute have been looked at together."""

    def of_best(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(n,) of (n_scales, n): the values of each series' best scale."""
        picked: npt.NDArray[Any] = np.take_along_axis(values, self.best[None, :], axis=0)[0]
        return picked

    @property
    def onset(self) -> IntArray:
        """(n,) ms UTC: where the best sum began."""
        return self.of_best(self.begun) * MINUTE_MS


class Shift:
    """Detector of shifts, slight ones that last and severe ones at once."""

    def __init__(self, families: IntArray, of: DetectSettings, limit: float) -> None:
        """families: (n,), see `Common`; limit: the p up to which a series alone counts as a dip."""
        settings, n_series = of.shift, len(families)
        self._settings = settings
        self._limit = limit
        self._season = Season(of.season, n_series)
        self._common = Common(of.common, families)
        self._clip_sigmas = of.season.clip_sigmas
        self._dispersion = Dispersion(of.dispersion, n_series)
        self._horizon_of = [of.dispersion.horizons.index(scale.horizon) for scale in settings.scales]
        n_scales = len(settings.scales)
        self._keep = np.array([1 - 1 / scale.memory_minutes for scale in settings.scales])
        self._memory = Memory(
            {
                "evidence": Field((n_scales,)),
                "begun": Field((n_scales,), 0, np.int64),
                "since": Field((n_scales, 3)),
                "measured": Field((), -1, np.int64),
                "dip_since": Field((), -1, np.int64),
            },
            n_series,
        )

    def score(self, minute: int, counts: Counts) -> ShiftScores:
        """Evidence for a shift, this minute (its start, ms UTC) included."""
        now = index_of(minute, self._memory.minute, self._memory.n_series, counts)
        bad, total = counts.bad.astype(float), counts.total.astype(float)
        usual = self._season.overall()
        calm = self._dispersion.factors(total, usual)
        expected = self._season.expect(now, calm[-1])
        known = counts.measured & (expected.baseline != Baseline.NONE)
        common = self._common.factor(Minute(bad, total, expected.ratio, known))
        together = np.clip(expected.ratio * common, LEAST_RATIO, MOST_RATIO)
        expected = replace(expected, ratio=together, common=common)
        ratio = np.where(known, expected.ratio, usual)
        dispersion = self._dispersion.factors(total, ratio)
        gone = now - self._memory["measured"] > self._settings.max_gap_minutes
        held = np.where(gone, 0.0, self._memory["evidence"])
        faded = held * self._keep[:, None]
        scatter = self._dispersion.scatter(total, ratio)
        gains = np.stack(
            [
                gain(bad, total, ratio, self._shifted(k, ratio, scatter), dispersion[self._horizon_of[k]])
                for k in range(len(self._settings.scales))
            ]
        )
        gains = np.minimum(gains, self._settings.most_per_minute)
        evidence = np.where(known, np.clip(faded + gains, 0.0, self._settings.most_evidence), held)
        begun = np.where(held > 0, self._memory["begun"], now)
        begun = np.where(evidence > 0, begun, now + 1)
        step = np.stack([bad, total, total * ratio]) * known
        since = (self._memory["since"] * (held > 0)[:, None] + step) * (evidence > 0)[:, None]
        best = evidence.argmax(axis=0)
        scores = ShiftScores(
            minute, expected, dispersion, evidence, begun, since, best, np.full(len(counts), np.nan), known
        )
        return self._judged(scores, known)

    def _judged(self, scores: ShiftScores, known: BoolArray) -> ShiftScores:
        most = scores.of_best(scores.evidence)
        chance = np.minimum(len(self._settings.scales) * np.exp(-most), 1.0)
        excess = scores.of_best(scores.since[:, BAD]) - scores.of_best(scores.since[:, EXPECTED])
        p = np.where(known, np.where(excess >= self._settings.min_excess, chance, 1.0), np.nan)
        return ShiftScores(
            scores.minute,
            scores.expected,
            scores.dispersion,
            scores.evidence,
            scores.begun,
            scores.since,
            scores.best,
            p,
            self.lasting(scores) | (known & (p <= self._limit)),
        )

    def lasting(self, scores: ShiftScores) -> BoolArray:
        """(n,): in a dip before this minute, and not out of it with this minute."""
        lasting: BoolArray = (self._memory["dip_since"] >= 0) & (
            scores.of_best(scores.evidence) >= self._settings.release
        )
        return lasting

    def learn(self, minute: int, counts: Counts, scores: ShiftScores) -> None:
        """Move on. What is in a dip teaches little; minutes far out teach as if they were less so."""
        now = index_of(minute, self._memory.minute, self._memory.n_series, counts)
        measured = counts.measured.astype(float)
        dip_since = np.where(scores.dip, np.where(self._memory["dip_since"] >= 0, self._memory["dip_since"], now), -1)
        settings = self._settings
        doubtful = scores.evidence.max(axis=0) >= settings.doubt
        taught = measured * np.where(scores.dip, settings.dip_lesson, 1.0)
        followed = measured * np.select([scores.dip, doubtful], [settings.dip_weight, settings.doubt_weight], 1.0)
        bad, total = counts.bad.astype(float), counts.total.astype(float)
        ratio = scores.expected.ratio
        usual = np.where(np.isnan(ratio), 0.0, ratio)
        reach = reach_of(total * usual * (1 - usual), scores.dispersion[0], self._clip_sigmas)
        plausible = np.clip(bad, total * usual - reach, total * usual + reach)
        plausible = np.where(np.isnan(ratio), bad, plausible)
        known = counts.measured & ~np.isnan(ratio)
        self._common.learn(Minute(bad, total, ratio / scores.expected.common, known))
        self._dispersion.learn(now, bad, total, ratio, taught)
        self._season.learn(now, plausible, total, scores.expected, taught, followed)
        self._memory["evidence"] = scores.evidence
        self._memory["begun"] = scores.begun
        self._memory["since"] = scores.since
        self._memory["measured"] = np.where(counts.measured, now, self._memory["measured"])
        self._memory["dip_since"] = dip_since
        self._memory.minute = now

    def _shifted(self, scale: int, ratio: FloatArray, scatter: FloatArray) -> FloatArray:
        least = np.maximum(self._settings.least_relative, self._settings.least_scatters * scatter)
        added = np.maximum(self._settings.scales[scale].added_ratio, least * ratio)
        return np.minimum(ratio + added, MOST_SHIFTED)

    def _parts(self) -> dict[str, Memory]:
        return {
            "shift": self._memory,
            "season": self._season.memory,
            "dispersion": self._dispersion.memory,
            "common": self._common.memory,
        }

    def arrays(self) -> Arrays:
        return {name: array for prefix, part in self._parts().items() for name, array in part.arrays(prefix).items()}

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        for prefix, part in self._parts().items():
            part.load(prefix, arrays)

    def select(self, rows: npt.NDArray[np.integer]) -> None:
        for part in (self._memory, self._season.memory, self._dispersion.memory, self._common):
            part.select(rows)

    def extend(self, families: IntArray) -> None:
        for part in (self._memory, self._season.memory, self._dispersion.memory):
            part.extend(len(families))
        self._common.extend(families)


def gain(
    bad: FloatArray, total: FloatArray, ratio: FloatArray, shifted: FloatArray, dispersion: FloatArray
) -> FloatArray:
    """Log likelihood ratio, in nats, of `shifted` against `ratio`, all (n,); 0 without traffic.

    Negative binomial counts of mean m and variance m dispersion (when usual): with shape r = m / (dispersion - 1),
    the ratio of the likelihoods of the means m and s is bad ln(s/m) - (bad + r) ln((r + s) / (r + m)).
    """
    some = np.maximum(total, 1.0)
    usual, raised = some * ratio, some * shifted
    shape = usual / np.maximum(dispersion - 1, LEAST_EXTRA)
    nats = bad * np.log(raised / usual) - (bad + shape) * np.log1p((raised - usual) / (shape + usual))
    return np.where(total > 0, nats, 0.0)
