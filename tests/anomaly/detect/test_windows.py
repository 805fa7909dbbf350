"""Sliding sums against adding everything up."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.detect import Counts
from anomaly.detect.windows import COARSE_STEP, Windows

LENGTHS = (5, 30, 360, 720)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3000))
def test_sums_are_those_of_the_minutes_they_hold(seed, first):
    rng = np.random.default_rng(seed)
    windows = Windows(LENGTHS, 2)
    history = {}
    minute = first
    for _ in range(120):
        minute += int(rng.choice([1, 1, 1, 2, 7, 45, 400], p=[0.3, 0.3, 0.2, 0.1, 0.05, 0.04, 0.01]))
        total = rng.integers(0, 50, 2)
        counts = Counts.of(rng.integers(0, total + 1), total, frozen=rng.random(2) < 0.1)
        history[minute] = np.stack([counts.bad, counts.total, np.ones(2, np.int64)]) * counts.measured
        sums = windows.sums(minute, counts)
        for length in LENGTHS:
            begin = minute - length + 1
            if length > 360:  # whole half hours, and the one under way
                begin = (minute // COARSE_STEP - length // COARSE_STEP + 1) * COARSE_STEP
            expected = sum(row for m, row in history.items() if m >= begin)
            assert sums[length].tolist() == expected.tolist()
        windows.learn(minute, counts)
