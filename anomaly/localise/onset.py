"""When a cause began: the change point of its own series, not the minute of the alarm."""

import numpy as np

from anomaly.localise.model import FloatArray, Onset

UNCERTAIN_NATS = 2.0
"""Starts whose likelihood is at most this far below the best one are possible too: the usual 95% interval."""
LEVEL_DEGREE = 0.75
"""A minute belongs to the stretch when it rose by about this power of the last minute's growth, or more: calm minutes
between an earlier spike and now then count against reaching back to it."""


def onset(bad: FloatArray, expected: FloatArray) -> Onset | None:
    """The start of the elevated stretch that ends with the series: a cumulative sum test (Page, 1954), read backwards.

    bad, expected: (n_minutes,) bad events and what history makes one expect, the last minute being the one that is
    explained. Each minute's evidence is the Poisson log likelihood ratio of the raised against the expected mean; the
    start maximises its sum up to the last minute. None when the last minute is not raised.
    """
    if len(bad) == 0 or bad[-1] <= expected[-1]:
        return None
    measured = expected > 0
    log_level = LEVEL_DEGREE * np.log(bad[-1] / max(expected[-1], 1e-12))
    evidence = np.where(measured, bad * log_level - expected * np.expm1(log_level), 0.0)
    since = np.cumsum(evidence[::-1])[::-1]
    since[~measured] = -np.inf
    start = int(since.argmax())
    possible = np.flatnonzero(since >= max(since[start] - UNCERTAIN_NATS, 0.0))
    return Onset(minute=start, earliest=int(possible[0]), latest=int(possible[-1]))
