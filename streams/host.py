"""The tasks of one worker: which partitions it has, who feeds them, who steps them, and how it says how they are.

Three threads. One steps running tasks, so that the shell's event loop is never blocked by arithmetic. One rebuilds new
tasks, one after the other, so that running ones go on meanwhile. One reads telemetry.reports once for all tasks.

Records are delivered by `offer`, which refuses when too much waits. A task that is rebuilt reads the log itself, so of
what is delivered meanwhile only the last record is kept: it shows the task how far it must still read.

Failures. An outage of the log is waited out, with growing, jittered pauses. Any other exception gives the task up: a
new one is rebuilt from the log. `failures_before_end` of them in a row, and `failure` says that the process must end.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from itertools import islice
from typing import Any, TypeVar

from contracts.protocols import Log, LogReader, LogUnavailable, StoredRecord
from contracts.times import SECOND_MS
from contracts.topics import REPORTS, SLICES
from streams.headers import HeaderHistory, Headers, blocks_of
from streams.settings import StreamSettings
from streams.slots import Slot, totals
from streams.task import Overtaken, PartitionTask, TaskClosed, check_partitions

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

IDLE_WAIT_S = 0.5
BUSY_WAIT_S = 0.02  # while an acknowledgement or reports are awaited
MONITOR_EVERY_S = 5.0
CHECK_AFTER_S = 2.0
FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 30.0


class TaskHost:
    """Thread-safe. `clock`: now in ms UTC. `failure`: a sentence once the process must end."""

    def __init__(
        self, log: Log, settings: StreamSettings, *, clock: Callable[[], int], chance: random.Random | None = None
    ) -> None:
        self.partitions = check_partitions(log)
        self.failure: str | None = None
        self._log = log
        self._settings = settings
        self._clock = clock
        self._chance = chance or random.Random()
        self._history = HeaderHistory(log)
        self._slots: dict[int, Slot] = {}
        self._held_bytes = 0
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._started_ms = clock()
        self._asked_ms: int | None = None  # when partitions were last assigned
        self._ends: list[int] | None = None
        self._silence: str | None = None
        jobs = {"steps": self._step_all, "rebuilds": self._rebuild_all, "reports": self._read_reports}
        jobs["monitor"] = self._monitor
        self._threads = [threading.Thread(target=job, name=f"tasks-{name}", daemon=True) for name, job in jobs.items()]

    # For the shell

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def close(self, timeout_s: float = 10.0) -> None:
        """Give up all tasks; what they have not written is rebuilt by whoever comes next. What they have written is
        acknowledged when this returns, or was not within `handover_s`."""
        self.hold()
        deadline = time.monotonic() + self._settings.worker.handover_s
        while self.in_flight and time.monotonic() < deadline:
            self._stopping.wait(BUSY_WAIT_S)
        self.assign(())
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def assign(self, partitions: Collection[int]) -> None:
        """These partitions of telemetry.slices, and no others, are this worker's from now on."""
        now = self._clock()
        with self._changed:
            self._asked_ms = now
            for partition in [p for p in self._slots if p not in partitions]:
                self._drop(self._slots.pop(partition))
            for partition in partitions:
                slot = self._slots.setdefault(partition, Slot(partition, now))
                slot.held = False
                slot.assigned_ms = now
                slot.check_at_s = time.monotonic() + CHECK_AFTER_S
                if slot.task is not None:
                    slot.task.release()
            self._changed.notify_all()
        logger.info("partitions of %s now here: %s", SLICES.name, sorted(partitions) or "none")

    def hold(self) -> None:
        """Nobody knows whose the partitions are: write nothing until `assign`."""
        with self._changed:
            for slot in self._slots.values():
                slot.held = True
                if slot.task is not None:
                    slot.task.hold()

    @property
    def in_flight(self) -> bool:
        """Whether the log has yet to acknowledge something that was written."""
        with self._changed:
            return any(slot.task is not None and slot.task.in_flight for slot in self._slots.values())

    def offer(self, record: StoredRecord) -> bool:
        """Deliver a record of telemetry.slices. False: no room, offer it again later. One of another worker's
        partition is let go."""
        with self._changed:
            slot = self._slots.get(record.partition)
            if slot is None:
                return True
            slot.delivered_ms = self._clock()
            if not slot.rebuilt:
                self._empty(slot)
            elif self._held_bytes >= self._settings.worker.buffer_bytes:
                return False
            slot.inbox.append(record)
            self._held_bytes += len(record.value)
            self._changed.notify_all()
            return True

    # Threads

    def _step_all(self) -> None:
        while not self._stopping.is_set():
            with self._changed:
                slots = [s for s in self._slots.values() if s.rebuilt]
            waits = [self._step(slot) for slot in slots if time.monotonic() >= slot.not_before_s]
            with self._changed:
                if not any(wait == 0 for wait in waits) and not self._stopping.is_set():
                    self._changed.wait(min(waits, default=IDLE_WAIT_S))

    def _step(self, slot: Slot) -> float:
        """Let a task take what is there and write what is due; returns how long it can wait for the next time."""
        task = slot.task
        assert task is not None
        began = time.monotonic()
        reports = self._first(slot.reports)
        slices: list[StoredRecord] = []
        try:
            if slot.read_to is not None:
                task.read_to(slot.read_to)
                slot.read_to = None
            task.take_headers(reports)
            self._take_off(slot.reports, reports)
            if not task.wants_reports:
                slices = self._first(slot.inbox)
                task.take(slices)
                self._release(slot, slices)
            done = task.step()
        except TaskClosed:
            return IDLE_WAIT_S
        except Exception as error:
            self._fail(slot, error)
            return BUSY_WAIT_S
        self._succeed(slot)
        slot.step_ms = (time.monotonic() - began) * SECOND_MS
        if slices or reports:
            return 0
        return IDLE_WAIT_S if done else BUSY_WAIT_S

    def _rebuild_all(self) -> None:
        while not self._stopping.is_set():
            with self._changed:
                due = [s for s in self._slots.values() if not s.rebuilt and time.monotonic() >= s.not_before_s]
                if not due:
                    waiting = any(not s.rebuilt for s in self._slots.values())
                    self._changed.wait(BUSY_WAIT_S * 5)
            if not due:
                if not waiting:
                    self._history.forget()
                continue
            self._rebuild(min(due, key=lambda slot: (slot.failures, slot.partition)))

    def _rebuild(self, slot: Slot) -> None:
        began = time.monotonic()
        try:
            if slot.task is None:
                task = PartitionTask(self._log, self._settings, slot.partition, self._history)
                with self._changed:
                    slot.task = task
                    if slot.closed:
                        task.close()
                    if slot.held:
                        task.hold()
            slot.task.rebuild()
        except TaskClosed:
            return
        except Exception as error:
            self._fail(slot, error)
            return
        with self._changed:
            slot.rebuilt = True
            self._changed.notify_all()
        self._succeed(slot)
        logger.info("partition %d: rebuilt in %.1f s", slot.partition, time.monotonic() - began)

    def _read_reports(self) -> None:
        reader: LogReader | None = None
        failures = 0
        while not self._stopping.is_set():
            try:
                if reader is None:
                    ends = self._log.end_offsets(REPORTS.name)
                    reader = self._log.reader({(REPORTS.name, p): end for p, end in enumerate(ends)})
                self._share(list(blocks_of(reader.poll(self._settings.poll_records, IDLE_WAIT_S))))
                failures = 0
            except Exception as error:
                failures += 1
                _log_failure(f"reading {REPORTS.name}", error, failures)
                _close(reader)
                reader = None
                self._stopping.wait(self._backoff_s(failures))
        _close(reader)

    def _share(self, reports: list[Headers]) -> None:
        if not reports:
            return
        with self._changed:
            for slot in self._slots.values():
                slot.reports.extend(reports)
            self._changed.notify_all()

    def _monitor(self) -> None:
        while not self._stopping.wait(MONITOR_EVERY_S):
            try:
                self._ends = self._log.end_offsets(SLICES.name)
                self._check_delivery(self._ends)
            except Exception as error:
                self._ends = None
                logger.debug("ends of %s: %s", SLICES.name, error)  # the tasks report outages
            silence = self.silence(self._clock())
            if silence is not None:
                logger.warning("this worker is silent: %s", silence)
            elif self._silence is not None:
                logger.info("this worker works again")
            self._silence = silence

    def _check_delivery(self, ends: list[int]) -> None:
        """Once after each assignment. A consumer without a committed offset begins at the end, as it is when it gets
        to ask: what came before that, and after a task was rebuilt, nobody delivers until the next record comes."""
        with self._changed:
            for slot in self._slots.values():
                if slot.rebuilt and slot.check_at_s is not None and time.monotonic() >= slot.check_at_s:
                    slot.check_at_s = None
                    slot.read_to = ends[slot.partition]

    # Slots

    def _drop(self, slot: Slot) -> None:
        self._empty(slot)
        slot.closed = True
        slot.rebuilt = False
        if slot.task is not None:
            slot.task.close()

    def _empty(self, slot: Slot) -> None:
        self._held_bytes -= sum(len(r.value) for r in slot.inbox)
        slot.inbox.clear()

    def _release(self, slot: Slot, taken: list[StoredRecord]) -> None:
        with self._changed:
            if slot.closed:
                return
            self._held_bytes -= sum(len(r.value) for r in taken)
            self._take_off(slot.inbox, taken)

    def _first(self, queue: deque[_T]) -> list[_T]:
        """What a step takes from a queue, which others add to meanwhile. It leaves the queue when it was taken well."""
        with self._changed:
            return list(islice(queue, self._settings.poll_records))

    def _take_off(self, queue: deque[Any], taken: list[Any]) -> None:
        with self._changed:
            for item in taken:
                if queue and queue[0] is item:  # a full queue of reports drops its oldest
                    queue.popleft()

    def _succeed(self, slot: Slot) -> None:
        if slot.error is not None:
            logger.info("partition %d: works again after %d failures", slot.partition, slot.failures)
        slot.failures = slot.crashes = 0
        slot.error = None
        slot.stepped_ms = self._clock()

    def _fail(self, slot: Slot, error: Exception) -> None:
        slot.failures += 1
        slot.error = f"{type(error).__name__}: {error}"
        slot.not_before_s = time.monotonic() + self._backoff_s(slot.failures)
        _log_failure(f"partition {slot.partition}", error, slot.failures)
        if isinstance(error, LogUnavailable):
            return
        with self._changed:
            slot.rebuilt = False
            slot.task = None
        if isinstance(error, Overtaken):
            return
        slot.crashes += 1
        if slot.crashes >= self._settings.worker.failures_before_end:
            self.failure = (
                f"partition {slot.partition} of {SLICES.name} failed {slot.crashes} times in a row, last with "
                f"{slot.error}; this worker ends so that its supervisor starts it anew"
            )

    def _backoff_s(self, failures: int) -> float:
        return self._chance.uniform(0, min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(failures - 1, 16)))

    # How it is

    def silence(self, now: int) -> str | None:
        """Why this worker must be called silent, in words; None while it works."""
        limit_s = self._settings.worker.silent_after_s
        with self._changed:
            slots = list(self._slots.values())
            assigned = self._asked_ms
        if assigned is None:
            waited_s = (now - self._started_ms) / SECOND_MS
            return f"no partitions were assigned for {waited_s:.0f} s" if waited_s >= limit_s else None
        for slot in slots:
            heard_s = (now - max(slot.assigned_ms, slot.delivered_ms or 0)) / SECOND_MS
            if heard_s >= limit_s:
                return f"nothing came of partition {slot.partition} for {heard_s:.0f} s, {self._whose_fault(slot)}"
            worked_s = (now - max(slot.assigned_ms, slot.stepped_ms or 0)) / SECOND_MS
            if slot.rebuilt and worked_s >= limit_s:
                return f"partition {slot.partition} was not worked on for {worked_s:.0f} s: {slot.error or 'stuck'}"
        return None

    def _whose_fault(self, slot: Slot) -> str:
        lag = slot.lag(self._ends)
        if lag is None:
            return "and Kafka does not say whether there is anything"
        return f"although {lag} records wait" if lag else "not even a gateway's heartbeat: do gateways run?"

    def status(self, now: int) -> dict[str, Any]:
        """`partitions`: one dictionary each, with `state` (rebuilding, running, retrying), `lag_records` (None:
        unknown), `last_step_ms` and what PartitionTask.status tells. `totals`: sums over them, and the largest
        `watermark_lag_s`. `silent` with `silent_reason`; `silent_for_s`: since anything was delivered or assigned;
        `ready`: has its partitions, all running, and is not silent."""
        with self._changed:
            slots = sorted(self._slots.values(), key=lambda slot: slot.partition)
            held_bytes, assigned = self._held_bytes, self._asked_ms
        rows = [slot.status(now, self._ends) for slot in slots]
        silence = self.silence(now)
        heard = max(self._started_ms, assigned or 0, *(s.delivered_ms or 0 for s in slots))
        return {
            "partitions": rows,
            "totals": totals(rows),
            "held_bytes": held_bytes,
            "assigned": assigned is not None,
            "silent": silence is not None,
            "silent_reason": silence,
            "silent_for_s": max(0.0, (now - heard) / SECOND_MS),
            "ready": assigned is not None and silence is None and all(r["state"] == "running" for r in rows),
            "failure": self.failure,
        }


def _log_failure(what: str, error: Exception, failures: int) -> None:
    if isinstance(error, (LogUnavailable, Overtaken)):
        logger.warning("%s: %s (failure %d in a row, will retry)", what, error, failures)
    else:
        logger.error("%s: unexpected failure %d in a row", what, failures, exc_info=error)


def _close(reader: LogReader | None) -> None:
    if reader is not None:
        try:
            reader.close()
        except Exception as error:
            logger.debug("closing a reader: %s", error)
