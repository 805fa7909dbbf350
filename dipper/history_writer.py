"""The sink of a cluster: history.Sink while this process holds the seat, nothing while it stands by."""

from __future__ import annotations

import dataclasses
import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from contracts.kafka import KafkaSettings
from contracts.protocols import Log, Store
from contracts.times import MINUTE_MS
from contracts.topics import SLICES
from dipper.clock import wall_clock
from dipper.metrics import NO_LABELS, Reading
from dipper.parts import Base, SinkPart, ThreadPart, WatchSettings
from dipper.report_operations import Settler
from dipper.seat import Seat
from dipper.settings import ProcessSettings
from dipper.shell import Shell
from dipper.tally import Tally
from dipper.watch import Part, Watch
from dipper.worker import Worker
from history.maintenance import Retention, expire
from history.sink import Sink, SinkSettings

logger = logging.getLogger(__name__)

GROUP = "dipper-sink"
STEP_TIMEOUT_S = 0.25
KEEP_EVERY_MS = 10 * MINUTE_MS


class HistoryWriter:
    """Call `apply_for` once, then `step`, `keep` and the seat's own step each from a thread of its own."""

    def __init__(
        self, log: Log, store: Store, settings: SinkSettings, retention: Retention, clock: Callable[[], int]
    ) -> None:
        self._log = log
        self._store = store
        self._settings = settings
        self._retention = retention
        self._clock = clock
        self._lock = threading.Lock()  # held for the length of a step: giving the seat up waits for its end
        self._sink: Sink | None = None
        self._tally = Tally()
        self._last_kept_ms = 0
        self._settler = Settler(store)
        self.paused = threading.Event()

    def apply_for(self, kafka: KafkaSettings, client_id: str, **limits: Any) -> Seat:
        """Apply for the seat; whoever calls closes it."""
        self.seat = Seat(kafka, GROUP, SLICES.name, self.release, client_id=client_id, **limits)
        return self.seat

    def step(self) -> None:
        """A step of the sink, if the seat is ours; else wait a moment. Raises LogError, StoreError."""
        with self._lock:
            if self.seat.held():
                now = self._clock()
                if self._sink is None:
                    self._sink = Sink(self._log, self._store, self._settings)
                    logger.info("sink: goes on from what history holds")
                sink = self._sink
                self._tally.timed(lambda: sink.step(now, STEP_TIMEOUT_S))
                self.seat.offer(sink.positions())
                return
            self._drop()
        self.paused.wait(STEP_TIMEOUT_S)

    def keep(self) -> None:
        """Retention and service levels, now and then, by whoever works."""
        now = self._clock()
        sink = self._sink
        if self.seat.held() and sink is not None:
            self._settler.step(now, lambda: sink.status(now))
        if self.seat.held() and now - self._last_kept_ms >= KEEP_EVERY_MS:
            dropped = expire(self._store, now, self._retention)
            self._last_kept_ms = now
            if any(dropped.values()):
                logger.info("retention: %s", {name: n for name, n in dropped.items() if n})
        self.paused.wait(1.0)

    def release(self) -> None:
        """Stop: returns when the step under way has ended."""
        with self._lock:
            self._drop()

    def status(self) -> Mapping[str, Any] | None:
        """As Sink.status with the sums of its steps; None while this one stands by."""
        sink = self._sink
        if sink is None or not self.seat.held():
            return None
        return {**sink.status(self._clock()), **self._tally.status(), "positions": sum(sink.positions().values())}

    def _drop(self) -> None:
        if self._sink is not None:
            self._sink.close()
            self._sink = None


class SeatPart(Base):
    """Who this process is among the sinks."""

    def __init__(self, seat: Seat) -> None:
        super().__init__("group")
        self._seat = seat

    def ready(self, now: int) -> list[str]:  # noqa: ARG002
        if self._seat.status().role == "away":
            return ["group: the brokers have not confirmed who works"]
        return []

    def facts(self, now: int) -> Mapping[str, Any]:  # noqa: ARG002
        return dataclasses.asdict(self._seat.status())

    def readings(self, now: int) -> Iterator[Reading]:  # noqa: ARG002
        yield "dipper_sink_active", NO_LABELS, float(self._seat.status().role == "active")


class WriterShell(Shell):
    """Three threads: the group, the sink, retention."""

    def __init__(
        self, process: ProcessSettings, writer: HistoryWriter, needs: Sequence[Part], limits: WatchSettings
    ) -> None:
        self._writer = writer
        chance = random.Random()
        workers = [
            Worker("membership", lambda: writer.seat.step(STEP_TIMEOUT_S), wall_clock, chance),
            Worker("sink", writer.step, wall_clock, chance),
            Worker("keeper", writer.keep, wall_clock, chance),
        ]
        parts: list[Part] = [
            SeatPart(writer.seat),
            SinkPart("history", writer.status, limits),
            *(ThreadPart(worker, limits) for worker in workers),
            *needs,
        ]
        super().__init__(process, Watch("sink", parts, wall_clock, silent_after_ms=limits.silent_after_ms), workers)

    async def finish(self) -> None:
        """Threads end their step; the seat is left last, by whoever opened it, so that the next one finds it done."""
        self._writer.paused.set()
        await self.stop_workers()
        self._writer.release()
