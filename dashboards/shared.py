"""Answers kept for seconds and shared by all viewers: however many look, history is asked once."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from contracts.entities import Change
from contracts.releases import Release
from dashboards.context import Releases

VERDICT_SHARE_S = 60.0  # a verdict is made of steps of five minutes

_T = TypeVar("_T")


class Shared:
    """Answers kept for seconds. Viewers who ask for the same thing at once wait for one answer."""

    def __init__(self, monotonic: Callable[[], float], most: int = 64) -> None:
        self._monotonic, self._most = monotonic, most
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[threading.Lock, list[tuple[float, Any]]]] = OrderedDict()

    def get(self, key: Hashable, ttl_s: float, make: Callable[[], _T]) -> _T:
        """The answer made less than ttl_s ago, or a new one. What `make` raises is raised to each caller."""
        with self._lock:
            lock, kept = self._entries.setdefault(key, (threading.Lock(), []))
            self._entries.move_to_end(key)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)
        with lock:
            if not kept or self._monotonic() - kept[0][0] >= ttl_s:
                answer = make()
                kept[:] = [(self._monotonic(), answer)]
            result: _T = kept[0][1]
            return result


class SharedReleases:
    """context.Releases whose verdicts are shared. `monotonic`: seconds, only paces."""

    def __init__(self, source: Releases, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._answers = Shared(monotonic)

    def recent(self) -> Sequence[Change]:
        """Roll-outs of the last thirty days, newest first."""
        return self._answers.get("recent", VERDICT_SHARE_S, self._source.recent)

    def judge(self, change_id: str) -> Release:
        """One by the id of its change."""
        return self._answers.get(("judge", change_id), VERDICT_SHARE_S, lambda: self._source.judge(change_id))
