"""What the steps of a sink have done, added up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from history.sink import SinkStep


class Tally:
    """Sums over steps. `timed` belongs to the thread that steps, `status` to anybody."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._records = 0
        self._batches = 0
        self._recomputed = 0
        self._insert_s: float | None = None

    def timed(self, step: Callable[[], SinkStep]) -> SinkStep:
        """Take a step and count what it did."""
        began = self._monotonic()
        done = step()
        self._recomputed += done.recomputed_minutes
        if done.records:
            self._records += done.records
            self._batches += 1
            self._insert_s = self._monotonic() - began
        return done

    def status(self) -> dict[str, Any]:
        """`records` read in `batches` steps; `insert_s`: duration of the newest of them, reading and storing together,
        None before the first; `recomputed_minutes`."""
        return {
            "records": self._records,
            "batches": self._batches,
            "recomputed_minutes": self._recomputed,
            "insert_s": self._insert_s,
        }
