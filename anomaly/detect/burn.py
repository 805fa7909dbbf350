"""Burn rate against the objective over several windows, sure of itself: with a binomial bound for each window."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.detect.memory import Arrays
from anomaly.detect.model import BoolArray, Counts, FloatArray, IntArray, index_of
from anomaly.detect.settings import BurnSettings
from anomaly.detect.special import lower_bound, tail
from anomaly.detect.windows import BAD, MEASURED, TOTAL, Windows


@dataclass(frozen=True, slots=True)
class BurnScores:
    """Of one minute, for R rules."""

    minute: int
    long: IntArray
    """(R, 3, n): bad, total, measured minutes of each rule's long window."""
    short: IntArray
    """(R, 3, n) of its short window."""
    p: FloatArray
    """(n,): chance of such counts if the objective burned exactly at a rule's factor, the smallest of all rules, times
    their number; 1 where no rule's ratios are exceeded, NaN where none can be applied."""
    rule: IntArray
    """(n,): the rule with the smallest p, -1 where no rule's ratios are exceeded."""
    dispersion: FloatArray
    """(n,): what the counts were divided by."""

    def lower(self, series: int, confidence: float) -> float | None:
        """Lower bound of the bad ratio in the long window of the series' rule; None without one. Asked for where it is
        shown only: its bisection takes longer than all verdicts of a minute."""
        rule = int(self.rule[series])
        if rule < 0:
            return None
        bad, total, _ = (self.long[rule, :, series] / self.dispersion[series])[:, None]
        return float(lower_bound(bad, total, confidence)[0])


class BurnRate:
    """Detector of objectives that burn too fast."""

    def __init__(self, n_series: int, settings: BurnSettings) -> None:
        self._settings = settings
        lengths = {m for rule in settings.rules for m in (rule.long_minutes, rule.short_minutes)}
        self._windows = Windows(tuple(sorted(lengths)), n_series)
        self._n_series = n_series
        self._newest = -1

    def score(self, minute: int, counts: Counts, dispersion: FloatArray | None = None) -> BurnScores:
        """Burn rates with this minute (its start, ms UTC) included.

        dispersion: (n,), variance of the bad events over that of independent trials (1 if left out). Counts are
        divided by it, which leaves the ratio and widens the bounds as if there were that many fewer trials.
        """
        now = index_of(minute, self._newest, self._n_series, counts)
        sums = self._windows.sums(now, counts)
        rules = self._settings.rules
        long = np.stack([sums[rule.long_minutes] for rule in rules])
        short = np.stack([sums[rule.short_minutes] for rule in rules])
        factor = np.ones(len(counts)) if dispersion is None else np.maximum(dispersion, 1.0)
        judged = ~counts.frozen & ~np.isnan(counts.allowed)
        chances = np.full((len(rules), len(counts)), np.nan)
        for k, rule in enumerate(rules):
            limit = np.where(judged, rule.factor * counts.allowed, 1.0)
            warm = (
                judged
                & (long[k, MEASURED] >= self._settings.measured_share * rule.long_minutes)
                & (short[k, MEASURED] >= self._settings.measured_share * rule.short_minutes)
            )
            over = warm & (short[k, BAD] >= self._settings.min_bad) & _above(long[k], limit) & _above(short[k], limit)
            chances[k, warm] = 1.0
            if over.any():
                chances[k, over] = np.maximum(_tail(long[k], limit, factor, over), _tail(short[k], limit, factor, over))
        return self._summed_up(minute, long, short, chances, factor)

    def _summed_up(
        self, minute: int, long: IntArray, short: IntArray, chances: FloatArray, factor: FloatArray
    ) -> BurnScores:
        unknown = np.asarray(np.isnan(chances).all(axis=0))
        filled = np.where(np.isnan(chances), 1.0, chances)
        least = filled.argmin(axis=0)
        smallest = filled.min(axis=0)
        rule = np.where(smallest < 1.0, least, -1)
        p = np.where(unknown, np.nan, np.minimum(len(filled) * smallest, 1.0))
        return BurnScores(minute, long, short, p, rule, factor)

    def learn(self, minute: int, counts: Counts, scores: BurnScores) -> None:  # noqa: ARG002 - the contract's shape
        """Let the windows move on."""
        now = index_of(minute, self._newest, self._n_series, counts)
        self._windows.learn(now, counts)
        self._newest = now

    def arrays(self) -> Arrays:
        return self._windows.arrays() | {"burn.minute": np.array(self._newest, np.int64)}

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self._windows.load(arrays)
        self._newest = int(arrays["burn.minute"])

    def select(self, rows: npt.NDArray[np.integer]) -> None:
        self._windows.select(rows)
        self._n_series = len(rows)

    def extend(self, n_new: int) -> None:
        self._windows.extend(n_new)
        self._n_series += n_new


def _above(window: IntArray, limit: FloatArray) -> BoolArray:
    above: BoolArray = (limit < 1) & (window[BAD] > limit * window[TOTAL])
    return above


def _tail(window: IntArray, limit: FloatArray, factor: FloatArray, over: BoolArray) -> FloatArray:
    return tail(window[BAD, over] / factor[over], window[TOTAL, over] / factor[over], limit[over])
