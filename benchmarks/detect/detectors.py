"""Alarms of our detector, and of what people use otherwise, on one stream."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from anomaly.detect import WORKBOOK_RULES, Counts, Detector, DetectSettings, Verdict
from benchmarks.detect.streams import START, Stream

Bools = npt.NDArray[np.bool_]
MINUTE_MS = 60_000


def ours(stream: Stream, settings: DetectSettings | None = None) -> Bools:
    """Minutes whose verdict is a dip; a frozen minute holds the verdict before it."""
    minutes, customers, measures = stream.bad.shape
    n = customers * measures
    detector = Detector(n, settings or DetectSettings())
    bad, total = stream.bad.reshape(minutes, n), stream.total.reshape(minutes, n)
    frozen = np.repeat(stream.frozen, measures, axis=1)
    allowed = stream.allowed.reshape(n)
    alarms = np.zeros((minutes, n), np.bool_)
    held = np.zeros(n, np.bool_)
    for minute in range(minutes):
        counts = Counts.of(bad[minute], total[minute], allowed, frozen[minute])
        now = (START + minute) * MINUTE_MS
        scores = detector.score(now, counts)
        detector.learn(now, counts, scores)
        held = np.where(scores.verdict == Verdict.FROZEN, held, scores.verdict == Verdict.DIP)
        alarms[minute] = held
    return alarms.reshape(stream.bad.shape)


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


def _sliding(counts: npt.NDArray[np.int64], minutes: int) -> npt.NDArray[np.int64]:
    sums = np.cumsum(counts, axis=0)
    sums[minutes:] = sums[minutes:] - sums[:-minutes].copy()
    return sums
