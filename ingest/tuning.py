"""What a process that runs the gateway sets once, before it serves."""

from __future__ import annotations

import ctypes
import gc

YOUNG_OBJECTS = 20_000  # a flush of a few hundred reports; Python's default is 700
MIDDLE_ROUNDS = 20
OLD_ROUNDS = 50

MALLOC_ARENAS = 2
MALLOC_MMAP_BYTES = 1 << 20
MALLOC_TRIM_BYTES = 4 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h


def tune_gc() -> None:
    """Let the cyclic collector look less often. Decoded reports are lists without cycles that die with their flush;
    looking through them took a fifth of the gateway's time (benchmarks/gateway.py)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, MIDDLE_ROUNDS, OLD_ROUNDS)


def tune_malloc() -> bool:
    """Let glibc give back what numpy frees: a few arenas instead of eight per core, and arrays of 1 MiB and more mapped
    one by one (glibc raises that border to 32 MiB as arrays come and go, and keeps the holes). After two minutes at
    10,000 slices a second (benchmarks/soak.py) a quarter of a gigabyte lay free in arenas, with this 50 to 90 MB.
    Returns whether all was set; another C library has no such knobs and needs none."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    knobs = {
        _M_ARENA_MAX: MALLOC_ARENAS,
        _M_MMAP_THRESHOLD: MALLOC_MMAP_BYTES,
        _M_TRIM_THRESHOLD: MALLOC_TRIM_BYTES,
    }
    done = [mallopt(knob, value) == 1 for knob, value in knobs.items()]  # each of them, also after one that failed
    return all(done)
