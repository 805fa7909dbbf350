"""Alarms of our detector, and of what people use otherwise, on one stream."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from anomaly.detect import WORKBOOK_RULES, Counts, Detector, DetectSettings, Verdict
from benchmarks.detect.streams import MEASURES, START, Stream

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
MINUTE_MS = 60_000


class Fleets(Detector):
    """Several fleets of as many series side by side, each judged for itself: the time of a minute is mostly that of
    calling numpy, so ten fleets cost little more than one."""

    def __init__(self, n_fleets: int, n_series: int, settings: DetectSettings) -> None:
        families = np.arange(n_fleets)[:, None] * len(MEASURES) + np.arange(n_series) % len(MEASURES)
        super().__init__(n_fleets * n_series, settings, families.ravel())
        self._fleets = [slice(k * n_series, (k + 1) * n_series) for k in range(n_fleets)]

    def discover(self, p: Floats) -> tuple[float, Bools, float]:
        judged = [super(Fleets, self).discover(p[:, fleet]) for fleet in self._fleets]
        return judged[0][0], np.concatenate([found for _, found, _ in judged], axis=1), judged[0][2]


def ours(streams: Sequence[Stream], settings: DetectSettings | None = None) -> list[Bools]:
    """Per stream the minutes whose verdict is a dip; a frozen minute holds the verdict before it."""
    minutes, customers, measures = streams[0].bad.shape
    n = customers * measures
    detector = Fleets(len(streams), n, settings or DetectSettings())
    frozen = np.concatenate([np.repeat(s.frozen, measures, axis=1) for s in streams], axis=1)
    allowed = np.concatenate([s.allowed.reshape(n) for s in streams])
    alarms = np.zeros((minutes, len(streams) * n), np.bool_)
    held = np.zeros(len(streams) * n, np.bool_)
    for minute in range(minutes):
        bad = np.concatenate([s.bad[minute].reshape(n) for s in streams])
        total = np.concatenate([s.total[minute].reshape(n) for s in streams])
        counts = Counts.of(bad, total, allowed, frozen[minute])
        now = (START + minute) * MINUTE_MS
        scores = detector.score(now, counts)
        detector.learn(now, counts, scores)
        held = np.where(scores.verdict == Verdict.FROZEN, held, scores.verdict == Verdict.DIP)
        alarms[minute] = held
    return [alarms[:, k * n : (k + 1) * n].reshape(minutes, customers, measures) for k in range(len(streams))]


def workbook(stream: Stream) -> Bools:
    """The SRE workbook's rules as they stand: both windows above the factor, nothing else."""
    alarms = np.zeros(stream.bad.shape, np.bool_)
    for rule in WORKBOOK_RULES:
        limit = rule.factor * stream.allowed
        alarms |= (_ratio(stream, rule.long_minutes) > limit) & (_ratio(stream, rule.short_minutes) > limit)
    return alarms


def static(stream: Stream, times: float) -> Bools:
    """The last five minutes above `times` what the objective allows."""
    return np.asarray(_ratio(stream, 5) > times * stream.allowed)


def _ratio(stream: Stream, minutes: int) -> npt.NDArray[np.float64]:
    """(minutes, customers, measures): bad of total over the last minutes, without frozen ones; NaN of nothing."""
    measured = ~stream.frozen[:, :, None]
    bad, total = (_sliding(counts * measured, minutes) for counts in (stream.bad, stream.total))
    with np.errstate(invalid="ignore"):
        return np.where(total > 0, bad / np.maximum(total, 1), np.nan)


def _sliding(counts: npt.NDArray[np.int32], minutes: int) -> npt.NDArray[np.int64]:
    sums = np.cumsum(counts, axis=0, dtype=np.int64)
    sums[minutes:] = sums[minutes:] - sums[:-minutes].copy()
    return sums
