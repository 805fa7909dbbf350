"""Watches a cluster from outside, as a page would: how old the newest queryable interval is, how late the streams."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from contracts.protocols import Store, StoreError
from contracts.times import WATERMARK_DELAY_MS
from history import open_store
from history.queries import freshness
from simulator.sender import wall_ms
from tests.e2e.cluster import Cluster, ClusterError

SAMPLE_EVERY_S = 0.5
KEPT = 2_000
LASTING_MS = 11_000  # a round of reports and a little
SLACK_S = 5.0  # while it lasts: the newest interval is up to 10 s old before the next one begins
FRESH_S = 15.0
STREAM_FRESH_S = WATERMARK_DELAY_MS / 1_000 + FRESH_S  # a watermark stays behind the clock by design
WATERMARK_DELAY, ASSIGNED = "dipper_watermark_delay_seconds", "dipper_assigned_partitions"


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. `newest_end`: end of the newest interval that queries return, ms UTC; `stream_delay_s`: the furthest
    watermark behind the clock. None: nobody answered. `ready`: every member that should run is."""

    at_ms: int
    newest_end: int | None
    stream_delay_s: float | None
    ready: bool

    @property
    def freshness_s(self) -> float | None:
        """Age of the newest queryable interval."""
        return None if self.newest_end is None else (self.at_ms - self.newest_end) / 1_000

    def good(self, slack_s: float = 0.0) -> bool:
        """Whether history and streams are fresh and everybody is there."""
        history, stream = self.freshness_s, self.stream_delay_s
        if not self.ready or history is None or stream is None:
            return False
        return history < FRESH_S + slack_s and stream < STREAM_FRESH_S + slack_s


class Watch:
    """Samples in a thread, in a `with` block. `samples`: those of the last minutes, oldest first."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._store: Any = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.samples: deque[Sample] = deque(maxlen=KEPT)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        if self._store is not None:
            self._store.close()

    def wait_good(self, since_ms: int, deadline_s: float) -> float | None:
        """Seconds from a moment until everybody was there, data newer than that moment could be queried and was fresh
        again, and stayed so for a round of reports; None at the deadline. Raises ClusterError when nobody looks."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            if not self._thread.is_alive():
                raise ClusterError("the watch ended; its reason stands above")
            found = lasting(list(self.samples), since_ms)
            if found is not None:
                return (found - since_ms) / 1_000
            time.sleep(SAMPLE_EVERY_S)
        return None

    def last(self) -> str:
        """The newest look, in words."""
        if not self.samples:
            return "nothing seen yet"
        s = self.samples[-1]
        ready = "all ready" if s.ready else "not all ready"
        return f"history {_age(s.freshness_s)}, streams {_age(s.stream_delay_s)}, {ready}"

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            newest = self._newest_end()
            delay = self._stream_delay_s()
            ready = all(m.running and m.ready() for m in self._cluster.wanted())
            self.samples.append(Sample(wall_ms(), newest, delay, ready))
            self._stop.wait(max(0.05, SAMPLE_EVERY_S - (time.monotonic() - began)))

    def _stream_delay_s(self) -> float | None:
        """Of the slowest worker; None while not every partition is in somebody's hands."""
        told = [m.metrics() for m in self._cluster.of("worker") if m.running]
        if sum(metrics.get(ASSIGNED, 0) for metrics in told) != self._cluster.partitions:
            return None
        delays = [metrics.get(WATERMARK_DELAY) for metrics in told if metrics.get(ASSIGNED)]
        return None if None in delays else max(d for d in delays if d is not None)

    def _newest_end(self) -> int | None:
        try:
            if self._store is None:
                self._store = open_store(self._cluster.engine.url)
            return freshness(self._store).newest_end
        except (StoreError, OSError, ClusterError):
            with contextlib.suppress(Exception):
                if self._store is not None:
                    self._store.close()
            self._store = None
            return None


def lasting(samples: Sequence[Sample], since_ms: int) -> int | None:
    """When the first good stretch after a moment began that lasted LASTING_MS and has data from after that moment."""
    began: int | None = None
    for sample in samples:
        if sample.at_ms <= since_ms or sample.newest_end is None or sample.newest_end <= since_ms:
            continue
        if began is None:
            began = sample.at_ms if sample.good() else None
        elif not sample.good(SLACK_S):
            began = None
        elif sample.at_ms - began >= LASTING_MS:
            return began
    return None


def _age(seconds: float | None) -> str:
    return "no answer" if seconds is None else f"{seconds:.1f} s behind"


def wait_for_store(url: str, deadline_s: float = 60.0) -> Store:
    """A connection to the engine, which may be coming up. Raises ClusterError."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            store: Store = open_store(url)
            return store
        except (StoreError, OSError) as error:
            if time.monotonic() > end:
                raise ClusterError(f"the engine does not answer: {error}") from None
            time.sleep(0.5)
