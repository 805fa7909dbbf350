"""Small detectors, and minutes to feed them."""

import numpy as np

from anomaly.detect import Counts, Detector

MINUTE_MS = 60_000
MONDAY = 1_704_067_200_000
"""2024-01-01T00:00Z."""


def at(minute):
    """ms UTC of a minute counted from MONDAY."""
    return MONDAY + minute * MINUTE_MS


def feed(detector, minutes, bad, total, first=0, **more):
    """Learn `minutes` equal minutes from number `first` on; the last scores."""
    scores = None
    for minute in range(first, first + minutes):
        counts = Counts.of(bad, total, **more)
        scores = detector.score(at(minute), counts)
        detector.learn(at(minute), counts, scores)
    return scores


def calm(n_series=1, minutes=300, bad=25, total=5_000, **more):
    """A detector that has seen nothing but the same minute."""
    detector = Detector(n_series)
    feed(detector, minutes, np.full(n_series, bad), np.full(n_series, total), **more)
    return detector


def same(one, other):
    """Whether two sets of saved arrays are equal to the last bit."""
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k], equal_nan=True) for k in one)
