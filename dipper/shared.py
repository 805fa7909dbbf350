"""One answer for everybody who asks within a moment, brought by a thread beside: whoever asks never waits for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

SHARE_S = 1.0  # one look at a part serves health, progress and metrics of a moment
PATIENCE_S = 1.0
OVERDUE_S = 10.0


class Shared:
    """What `ask` answers, asked at most every `share_s`. A call waits `patience_s` for a new answer; while that takes
    longer, the last one serves, and from `overdue_s` on TimeoutError. What `ask` raises is raised to all who ask."""

    def __init__(
        self,
        ask: Callable[[], Any],
        share_s: float = SHARE_S,
        *,
        patience_s: float = PATIENCE_S,
        overdue_s: float = OVERDUE_S,
    ) -> None:
        self._ask = ask
        self._share_s = share_s
        self._patience_s = patience_s
        self._overdue_s = overdue_s
        self._lock = threading.Lock()
        self._last: _Answer | None = None
        self._coming: _Answer | None = None

    def __call__(self) -> Any:
        """The answer of a moment ago, or a new one."""
        with self._lock:
            now = time.monotonic()
            if self._coming is None and (self._last is None or now - self._last.asked_at >= self._share_s):
                self._coming = _Answer(now)
                threading.Thread(target=self._bring, args=(self._coming,), name="answer", daemon=True).start()
            coming, last = self._coming, self._last
        if coming is None:
            assert last is not None
            return last.get()
        if coming.there.wait(max(0.0, coming.asked_at + self._patience_s - now)):
            return coming.get()
        waited_s = time.monotonic() - coming.asked_at
        if last is None or waited_s >= self._overdue_s:
            raise TimeoutError(f"no answer for {waited_s:.0f} s")
        return last.get()

    def _bring(self, answer: _Answer) -> None:
        answer.fetch(self._ask)
        with self._lock:
            self._last, self._coming = answer, None
        answer.there.set()


class _Answer:
    """A value or an error, once `there`."""

    def __init__(self, asked_at: float) -> None:
        self.asked_at = asked_at
        self.there = threading.Event()
        self._value: Any = None
        self._error: Exception | None = None

    def fetch(self, ask: Callable[[], Any]) -> None:
        try:
            self._value = ask()
        except Exception as error:
            self._error = error

    def get(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value
