"""Clocks: the only place where Dipper reads the time of day. Everything else takes `now` as an argument."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A source of milliseconds UTC."""

    def __call__(self) -> int: ...


def wall_clock() -> int:
    """Milliseconds UTC by this machine."""
    return time.time_ns() // 1_000_000


class SettableClock:
    """A clock that stands where it was set, for simulated time; `follow_wall` lets it go on with the wall clock."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._follows_wall = False

    def __call__(self) -> int:
        return wall_clock() if self._follows_wall else self._now_ms

    def set(self, now_ms: int) -> None:
        """Move on to a time; time never runs backwards."""
        if now_ms < self._now_ms:
            raise ValueError(f"clock: expected a time at or after {self._now_ms}, got {now_ms}")
        self._now_ms = now_ms

    def follow_wall(self) -> None:
        """From now on answer the wall clock."""
        self._follows_wall = True
