"""Progress on long work: a bar on a terminal, a line per tenth elsewhere. Written to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

BAR_WIDTH = 30


class Progress:
    """Says how far a task of known size is. `total` in the task's own unit; `clock` in s."""

    def __init__(
        self,
        label: str,
        total: float,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label = label
        self._total = total
        self._stream = stream or sys.stderr
        self._clock = clock
        self._started = clock()
        self._last_tenth = -1
        self._bar = self._stream.isatty()

    def update(self, done: float, note: str = "") -> None:
        """Show that `done` of the total is done."""
        share = min(1.0, done / self._total) if self._total else 1.0
        elapsed_s = self._clock() - self._started
        left = f", about {elapsed_s * (1 - share) / share:.0f} s left" if 0 < share < 1 else ""
        text = f"{self._label} {share:4.0%} {note} ({elapsed_s:.0f} s{left})"
        if self._bar:
            filled = round(BAR_WIDTH * share)
            self._stream.write(f"\r\033[K[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {text}")
            self._stream.flush()
        elif int(share * 10) > self._last_tenth:
            self._last_tenth = int(share * 10)
            self._stream.write(text + "\n")

    def finish(self) -> None:
        """End the bar's line."""
        if self._bar:
            self._stream.write("\n")
            self._stream.flush()
