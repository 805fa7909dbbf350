"""The tasks of a worker on the embedded log: threads, handover, outages, and what it says about itself."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from contracts.protocols import LogUnavailable, Record, StoredRecord
from contracts.topics import QUALITY_MINUTES, SLICES
from ingest.log.embedded import EmbeddedLog
from streams.host import TaskHost
from streams.settings import QualitySettings, StreamSettings, WorkerSettings
from tests.streams.builders import MINUTE, T0, Message, heartbeats
from tests.streams.logs import PARTITIONS, append, fleet, outputs, read
from tests.streams.test_task import opened, script

SETTINGS = StreamSettings(QualitySettings(prior_requests=10.0), WorkerSettings(handover_s=2.0), poll_records=16)
NOW = T0 + 31 * MINUTE


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    with opened(tmp_path / "log") as log:
        yield log


class Clock:
    """Time that stands still until it is set."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def host_of(log: Any, clock: Callable[[], int] | None = None, settings: StreamSettings = SETTINGS) -> TaskHost:
    host = TaskHost(log, settings, clock=clock or Clock(), chance=random.Random(3))
    host.start()
    return host


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def caught_up(host: TaskHost, log: EmbeddedLog) -> bool:
    ends = log.end_offsets(SLICES.name)
    rows = host.status(NOW)["partitions"]
    slots = host._slots.values()
    offsets = {slot.partition: slot.task.next_offset for slot in slots if slot.task is not None}
    idle = not host.in_flight and all(r["state"] == "running" for r in rows)
    return idle and all(offsets.get(r["partition"]) == ends[r["partition"]] for r in rows)


def deliver(host: TaskHost, records: Sequence[StoredRecord]) -> None:
    for record in records:
        wait_until(lambda record=record: host.offer(record), "room")


def slices_of(log: EmbeddedLog, *partitions: int) -> list[StoredRecord]:
    return [r for r in read(log, SLICES.name) if r.partition in partitions]


def test_partitions_that_move_between_workers_leave_the_minutes_one_worker_would(log: EmbeddedLog) -> None:
    messages, want = script()
    chance = random.Random(8)
    first, second = host_of(log), host_of(log)
    appended = 0
    for round_ in range(6):
        first.hold()
        second.hold()
        wait_until(lambda: not first.in_flight and not second.in_flight, "acknowledgements")
        mine = [p for p in range(PARTITIONS) if chance.random() < 0.5]
        theirs = [p for p in range(PARTITIONS) if p not in mine]
        first.assign(mine)
        second.assign(theirs)
        upto = len(messages) * (round_ + 1) // 6
        append(log, messages[appended:upto])
        appended = upto
        # As after an eager rebalance: from some way back, and not all of it.
        for host, partitions in ((first, mine), (second, theirs)):
            records = slices_of(log, *partitions)
            deliver(host, records[chance.randrange(len(records)) if records else 0 :])
            deliver(host, records[-3:])
    wait_until(lambda: caught_up(first, log) and caught_up(second, log), "the end")
    wait_until(lambda: outputs(log, atomic=False)[0] == want[0], "all minutes")
    first.close()
    second.close()
    assert outputs(log, atomic=False) == want


def test_a_worker_that_lost_a_partition_writes_nothing_for_it(log: EmbeddedLog) -> None:
    host = host_of(log)
    host.assign([0, 1])
    wait_until(lambda: caught_up(host, log), "rebuilt")
    host.assign([])
    append(log, [*fleet(5, 3), *heartbeats(T0 + 20 * MINUTE, PARTITIONS)])
    deliver(host, slices_of(log, 0, 1))
    host.close()
    assert read(log, QUALITY_MINUTES.name) == []
    assert host.status(NOW)["partitions"] == []


def test_what_a_new_assignment_leaves_undelivered_is_read_all_the_same(log: EmbeddedLog) -> None:
    host = host_of(log)
    host.assign([0, 1])
    wait_until(lambda: caught_up(host, log), "rebuilt")
    append(log, script()[0])  # and nothing is delivered
    wait_until(lambda: caught_up(host, log), "read from the log")
    wait_until(lambda: outputs(log)[0] == script()[1][0], "all minutes")
    assert host.status(NOW)["totals"]["reread"] > 0
    host.close()


class Joined(deque[StoredRecord]):
    """An inbox that gets a record while somebody looks at its first, unless that is forbidden meanwhile."""

    def __init__(self, join: Callable[[], object]) -> None:
        super().__init__()
        self._join: Callable[[], object] | None = join

    def __iter__(self) -> Iterator[StoredRecord]:
        for record in super().__iter__():
            if self._join is not None:
                joining, self._join = threading.Thread(target=self._join), None
                joining.start()
                joining.join(0.3)  # one that waits for its turn is not done by then
            yield record


def test_records_that_come_while_a_step_takes_others_disturb_nobody(
    log: EmbeddedLog, caplog: pytest.LogCaptureFixture
) -> None:
    host = host_of(log)
    host.assign([0])
    wait_until(lambda: caught_up(host, log), "rebuilt")
    append(log, [*fleet(5, 3), *heartbeats(T0 + 20 * MINUTE, PARTITIONS)])
    first, second, *others = slices_of(log, 0)
    host._slots[0].inbox = Joined(lambda: host.offer(second))
    with caplog.at_level(logging.ERROR):
        deliver(host, [first])
        wait_until(lambda: host._slots[0].inbox._join is None and not host._slots[0].inbox, "both are taken")
        deliver(host, others)
        wait_until(lambda: caught_up(host, log), "the end")
    host.close()
    assert not caplog.records


class Unwell:
    """A log that answers no question about its ends while `away`, and fails submits in ways nobody expects."""

    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log
        self.away = False
        self.broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def end_offsets(self, topic: str) -> list[int]:
        if self.away:
            raise LogUnavailable("nobody answers")
        return self._log.end_offsets(topic)

    def submit(self, records: Sequence[Record]) -> Future[list[tuple[int, int]]]:
        if self.broken:
            raise RuntimeError("nobody expected this")
        return self._log.submit(records)


def test_an_outage_is_waited_out(log: EmbeddedLog) -> None:
    messages, want = script()
    unwell = Unwell(log)
    unwell.away = True
    append(log, messages)
    host = host_of(unwell)
    host.assign([0, 1])
    wait_until(lambda: all(r["state"] == "retrying" for r in host.status(NOW)["partitions"]), "retrying")
    assert "nobody answers" in host.status(NOW)["partitions"][0]["error"]
    assert not host.status(NOW)["ready"]
    unwell.away = False
    wait_until(lambda: outputs(log)[0] == want[0], "all minutes")
    assert host.failure is None
    host.close()


def test_a_task_that_keeps_failing_ends_the_worker_with_a_sentence(log: EmbeddedLog) -> None:
    unwell = Unwell(log)
    unwell.broken = True
    append(log, script()[0])
    settings = StreamSettings(SETTINGS.quality, WorkerSettings(failures_before_end=3))
    host = host_of(unwell, settings=settings)
    host.assign([0])
    wait_until(lambda: host.failure is not None, "failure")
    assert "partition 0 of telemetry.slices failed 3 times in a row" in str(host.failure)
    assert "nobody expected this" in str(host.failure)
    host.close()


def test_a_worker_without_assignment_says_that_it_is_silent(log: EmbeddedLog) -> None:
    clock = Clock()
    host = host_of(log, clock)
    assert not host.status(NOW + 59_000)["silent"]
    told = host.status(NOW + 60_000)
    assert told["silent_reason"] == "no partitions were assigned for 60 s"
    assert not told["ready"]
    host.assign([])  # more workers than partitions: nothing to do, and nothing wrong
    assert host.status(NOW + 600_000)["ready"]
    host.close()


def test_a_partition_without_heartbeats_makes_the_worker_silent(log: EmbeddedLog) -> None:
    append(log, heartbeats(NOW, PARTITIONS))
    host = host_of(log)
    host.assign([0, 1])
    wait_until(lambda: caught_up(host, log), "rebuilt")
    assert host.status(NOW)["ready"]
    host._clock.now = NOW + 30_000  # type: ignore[attr-defined]
    deliver(host, slices_of(log, 1))
    wait_until(lambda: host.status(NOW)["totals"]["skipped"] > 0, "a step")
    assert not host.status(NOW + 59_000)["silent"]
    told = host.status(NOW + 61_000)
    assert told["silent"]
    assert "nothing came of partition 0 for 61 s" in told["silent_reason"]
    assert not told["ready"]
    assert told["silent_for_s"] == 31.0
    host.close()


def test_delivery_waits_when_too_much_is_held(log: EmbeddedLog) -> None:
    append(log, heartbeats(T0, PARTITIONS))
    settings = StreamSettings(SETTINGS.quality, WorkerSettings(buffer_bytes=1))
    unwell = Unwell(log)
    host = host_of(unwell, settings=settings)
    host.assign([0])
    wait_until(lambda: caught_up(host, log), "rebuilt")
    unwell.away = unwell.broken = True
    append(log, [*fleet(3, 2), Message(SLICES.name, 0, T0 + 9 * MINUTE)])
    records = [r for r in slices_of(log, 0) if r.value]
    assert any(not host.offer(record) for record in records[1:])
    assert host.status(NOW)["held_bytes"] >= 1
    unwell.away = unwell.broken = False
    deliver(host, records)
    wait_until(lambda: host.status(NOW)["held_bytes"] == 0, "taken")
    host.close()
