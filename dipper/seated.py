"""Work of which a cluster needs one: done by whoever holds the seat, by nobody else; the others stand by."""

from __future__ import annotations

import dataclasses
import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from contracts.kafka import KafkaSettings
from contracts.protocols import TopicPartition
from dipper.clock import wall_clock
from dipper.metrics import Reading
from dipper.parts import Base, ThreadPart, WatchSettings
from dipper.seat import Seat
from dipper.settings import ProcessSettings
from dipper.shell import Shell
from dipper.watch import Part, Watch
from dipper.worker import Worker

logger = logging.getLogger(__name__)

STEP_TIMEOUT_S = 0.25


class Work(Protocol):
    """What the holder of a seat has open."""

    def status(self, now: int) -> Mapping[str, Any]:
        """How it is."""

    def positions(self) -> Mapping[TopicPartition, int]:
        """Next offset of every input."""

    def close(self) -> None:
        """Let go of it."""


W = TypeVar("W", bound=Work)


class Seated(Generic[W]):
    """Call `apply_for` once, then `step` and the seat's own step each from a thread of its own.

    `open_work` takes up what the log and history hold; `run` does a step at a time in ms UTC. Work whose step failed is
    let go and opened anew at the next one, unless it `mends` itself. `every_s`: pause after a step. `settings`: what
    the work is opened with; when that changes, it is opened anew.
    """

    def __init__(
        self,
        name: str,
        open_work: Callable[[], W],
        run: Callable[[W, int], object],
        clock: Callable[[], int],
        *,
        every_s: float = 0.0,
        mends: bool = False,
        settings: Callable[[], object] = lambda: None,
    ) -> None:
        self.name = name
        self.paused = threading.Event()
        self._open_work = open_work
        self._run = run
        self._clock = clock
        self._every_s = every_s
        self._mends = mends
        self._settings = settings
        self._opened_with: object = None
        self._lock = threading.Lock()  # held for the length of a step: giving the seat up waits for its end
        self._work: W | None = None

    def apply_for(self, kafka: KafkaSettings, group: str, topic: str, client_id: str, **limits: Any) -> Seat:
        """Apply for the seat of a group on a topic; whoever calls closes it."""
        self.seat = Seat(kafka, group, topic, self.release, client_id=client_id, **limits)
        return self.seat

    def step(self) -> None:
        """A step of the work, if the seat is ours; else wait a moment. What the work raises."""
        with self._lock:
            if self.seat.held():
                self._step()
                pause_s = self._every_s
            else:
                self._drop()
                pause_s = STEP_TIMEOUT_S
        if pause_s:
            self.paused.wait(pause_s)

    def _step(self) -> None:
        """Opening may take long, so the step after it asks for the seat again."""
        settings = self._settings()
        if self._work is not None and settings != self._opened_with:
            logger.info("%s: settings changed", self.name)
            self._drop()
        if self._work is None:
            self._opened_with = settings
            self._work = self._open_work()
            logger.info("%s: goes on from what is stored", self.name)
            return
        try:
            self._run(self._work, self._clock())
        except BaseException:
            if not self._mends:
                self._drop()
            raise
        self.seat.offer(self._work.positions())

    def work(self) -> W | None:
        """What is open, while the seat is ours."""
        return self._work if self.seat.held() else None

    def release(self) -> None:
        """Stop: returns when the step under way has ended."""
        with self._lock:
            self._drop()

    def status(self) -> Mapping[str, Any] | None:
        """As the work tells it; None while this process stands by or takes up what is stored."""
        work = self.work()
        return None if work is None else work.status(self._clock())

    def _drop(self) -> None:
        if self._work is not None:
            self._work.close()
            self._work = None


class SeatPart(Base):
    """Who this process is among those that apply for its seat. `active`: the metric that says so, with its labels."""

    def __init__(self, seat: Seat, active: tuple[str, tuple[str, ...]]) -> None:
        super().__init__("group")
        self._seat = seat
        self._active = active

    def ready(self, now: int) -> list[str]:  # noqa: ARG002
        if self._seat.status().role == "away":
            return ["group: the brokers have not confirmed who works"]
        return []

    def facts(self, now: int) -> Mapping[str, Any]:  # noqa: ARG002
        return dataclasses.asdict(self._seat.status())

    def readings(self, now: int) -> Iterator[Reading]:  # noqa: ARG002
        name, labels = self._active
        yield name, labels, float(self._seat.status().role == "active")


class SeatedShell(Shell):
    """Threads for the group, the work and what else is to be done (`more`: name and step)."""

    def __init__(
        self,
        process: ProcessSettings,
        name: str,
        seated: Seated[Any],
        parts: Sequence[Part],
        limits: WatchSettings,
        active: tuple[str, tuple[str, ...]],
        more: Mapping[str, Callable[[], object]] | None = None,
    ) -> None:
        self._seated = seated
        chance = random.Random()
        steps = {"membership": lambda: seated.seat.step(STEP_TIMEOUT_S), seated.name: seated.step, **(more or {})}
        workers = [Worker(of, step, wall_clock, chance) for of, step in steps.items()]
        watched = [SeatPart(seated.seat, active), *parts, *(ThreadPart(worker, limits) for worker in workers)]
        super().__init__(process, Watch(name, watched, wall_clock, silent_after_ms=limits.silent_after_ms), workers)

    async def finish(self) -> None:
        """Threads end their step; the seat is left last, by whoever opened it, so that the next one finds it done."""
        self._seated.paused.set()
        await self.stop_workers()
        self._seated.release()
