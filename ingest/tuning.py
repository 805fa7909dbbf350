"""What a process that runs the gateway sets once, before it serves."""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 20_000  # a flush of a few hundred reports; Python's default is 700
MIDDLE_ROUNDS = 20
OLD_ROUNDS = 50


def tune_gc() -> None:
    """Let the cyclic collector look less often. Decoded reports are lists without cycles that die with their flush;
    looking through them took a fifth of the gateway's time (benchmarks/gateway.py)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, MIDDLE_ROUNDS, OLD_ROUNDS)
