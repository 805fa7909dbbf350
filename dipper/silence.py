"""Notices that something alive makes no progress. Time is an argument."""

from __future__ import annotations

from collections.abc import Hashable

SILENT_AFTER_MS = 45_000  # looked at every second or so, this is noticed and said within a minute


class Silence:
    """Watches one marker of progress: any value that changes when work gets done."""

    def __init__(self, after_ms: int = SILENT_AFTER_MS) -> None:
        self._after_ms = after_ms
        self._marker: Hashable = None
        self._since: int | None = None

    def look(self, marker: Hashable, now: int, *, expected: bool = True) -> int | None:
        """How long (ms) nothing has moved, once that is too long; None while all is well or nothing is `expected`."""
        if self._since is None or marker != self._marker or not expected:
            self._marker, self._since = marker, now
            return None
        still = now - self._since
        return still if still >= self._after_ms else None
