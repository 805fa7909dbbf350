"""When a cause began: the change point of its own series, not the minute of the alarm."""

import numpy as np

from anomaly.localise.model import FloatArray, Onset

UNCERTAIN_NATS = 2.0
"""Starts whose likelihood is at most this far below the best one are possible too: the usual 95% interval."""


def onset(bad: FloatArray, expected: FloatArray) -> Onset | None:
    """The start of the elevated stretch that ends with the series.

    bad, expected: (n_minutes,) bad events and what history makes one expect, the last minute being the one that is
    explained. One step is assumed: as expected before it, raised by one factor since. The start maximises the Poisson
    likelihood ratio of that factor. None when no stretch up to the last minute is raised.
    """
    bad_since = np.cumsum(bad[::-1])[::-1]
    expected_since = np.maximum(np.cumsum(expected[::-1])[::-1], 1e-12)
    raised = bad_since > expected_since
    nats = np.zeros(len(bad))
    nats[raised] = bad_since[raised] * np.log(bad_since[raised] / expected_since[raised]) - (
        bad_since[raised] - expected_since[raised]
    )
    measured = expected > 0
    nats[~measured] = 0.0
    if not nats.any():
        return None
    start = int(nats.argmax())
    possible = np.flatnonzero(measured & (nats >= nats[start] - UNCERTAIN_NATS) & (nats > 0))
    return Onset(minute=start, earliest=int(possible[0]), latest=int(possible[-1]))
