"""The sink of a cluster: history.Sink while this process holds the seat, nothing while it stands by."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from contracts.protocols import Log, Store
from contracts.times import MINUTE_MS
from dipper.metrics import NO_LABELS
from dipper.parts import SinkPart, WatchSettings
from dipper.report_operations import Settler
from dipper.seated import STEP_TIMEOUT_S, Seated, SeatedShell
from dipper.settings import ProcessSettings
from dipper.tally import Tally
from dipper.watch import Part
from history.maintenance import Retention, expire
from history.sink import Sink, SinkSettings

logger = logging.getLogger(__name__)

GROUP = "dipper-sink"
KEEP_EVERY_MS = 10 * MINUTE_MS


class HistoryWriter(Seated[Sink]):
    """As of Seated, and `keep`, for a thread of its own."""

    def __init__(
        self, log: Log, store: Store, settings: SinkSettings, retention: Retention, clock: Callable[[], int]
    ) -> None:
        tally = Tally()
        super().__init__(
            "sink",
            lambda: Sink(log, store, settings),
            lambda sink, now: tally.timed(lambda: sink.step(now, STEP_TIMEOUT_S)),
            clock,
            mends=True,
        )
        self._tally = tally
        self._store = store
        self._retention = retention
        self._last_kept_ms = 0
        self._settler = Settler(store)

    def keep(self) -> None:
        """Retention and service levels, now and then, by whoever works."""
        now = self._clock()
        sink = self.work()
        if sink is not None:
            self._settler.step(now, lambda: sink.status(now))
        if self.seat.held() and now - self._last_kept_ms >= KEEP_EVERY_MS:
            dropped = expire(self._store, now, self._retention)
            self._last_kept_ms = now
            if any(dropped.values()):
                logger.info("retention: %s", {name: n for name, n in dropped.items() if n})
        self.paused.wait(1.0)

    def status(self) -> Mapping[str, Any] | None:
        """As Sink.status with the sums of its steps; None while this one stands by."""
        sink = self.work()
        if sink is None:
            return None
        return {**sink.status(self._clock()), **self._tally.status(), "positions": sum(sink.positions().values())}


class WriterShell(SeatedShell):
    """Three threads: the group, the sink, retention."""

    def __init__(
        self, process: ProcessSettings, writer: HistoryWriter, needs: Sequence[Part], limits: WatchSettings
    ) -> None:
        parts = [SinkPart("history", writer.status, limits), *needs]
        active = ("dipper_sink_active", NO_LABELS)
        super().__init__(process, "sink", writer, parts, limits, active, {"keeper": writer.keep})
