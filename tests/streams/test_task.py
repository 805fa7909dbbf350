"""Tasks of one partition each: together they say what one runner says, whatever is delivered, lost or killed."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.columns import CELL_DIMENSIONS
from contracts.protocols import LogUnavailable, Record
from contracts.topics import QUALITY_CUBE, QUALITY_MINUTES, REJECTED, REPORTS, SLICES
from ingest.log.embedded import EmbeddedLog
from streams.decoding import Decoded, decode
from streams.headers import headers_of
from streams.local import LocalRunner
from streams.runner import OUTPUTS
from streams.settings import QualitySettings, SettingsError, StreamSettings
from streams.task import Overtaken, PartitionTask, TaskClosed
from tests.streams.builders import (
    MINUTE,
    MINUTE_KEYS,
    T0,
    Message,
    Slice,
    final,
    heartbeats,
    messages_of,
    report_row,
    slice_row,
)
from tests.streams.logs import PARTITIONS, append, fleet, outputs, read, record_of, tables

SETTINGS = StreamSettings(QualitySettings(prior_requests=10.0), poll_records=16)
OF_ALPHA = 0  # crc32(b"alpha") % 2
STRANGER = "delta"  # of the other partition
Sums = dict[tuple[Any, ...], list[int]]


@contextmanager
def opened(folder: Path) -> Iterator[EmbeddedLog]:
    with EmbeddedLog(folder, partitions=PARTITIONS, group_commit_ms=1, min_free_bytes=0) as log:
        yield log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    with opened(tmp_path / "log") as log:
        yield log


def delivery(log: EmbeddedLog, partition: int) -> list[Decoded]:
    """All records a task should get, in the order they were appended within each partition."""
    return [
        decode(r) for r in read(log, REPORTS.name, SLICES.name) if r.topic == REPORTS.name or r.partition == partition
    ]


def give(task: PartitionTask, records: Sequence[Decoded]) -> None:
    """Deliver records of both topics in their order, those of slices that follow each other together."""
    for topic, some in groupby((decoded.record for decoded in records), key=lambda record: record.topic):
        if topic == REPORTS.name:
            for record in some:
                task.take_headers([headers_of([record])])
        else:
            task.take(list(some))


def settle(task: PartitionTask) -> None:
    """Step until everything due is written."""
    deadline = time.monotonic() + 60
    while not task.step():
        while task.in_flight:
            assert time.monotonic() < deadline
            time.sleep(0)


def run_tasks(log: EmbeddedLog) -> None:
    for partition in range(PARTITIONS):
        task = PartitionTask(log, SETTINGS, partition)
        task.rebuild()
        settle(task)
        task.close()


def run_local(log: EmbeddedLog) -> None:
    runner = LocalRunner(log, SETTINGS)
    while runner.step(0.0):
        pass
    runner.close()


def summed(evidence: dict[tuple[Any, ...], dict[str, Any]]) -> Sums:
    """Requests and failures of each (minute, device) over its parts."""
    sums: Sums = {}
    for (minute, device, _), row in evidence.items():
        total = sums.setdefault((minute, device), [0, 0])
        total[0] += row["requests"]
        total[1] += row["failures"]
    return sums


def without(rows: dict[tuple[Any, ...], dict[str, Any]], name: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {key: {k: v for k, v in row.items() if k != name} for key, row in rows.items()}


@pytest.mark.parametrize("drops", [False, True])
def test_tasks_together_say_what_one_runner_says(tmp_path: Path, drops: bool) -> None:
    messages = [*fleet(20, 4, drops=drops), *heartbeats(T0 + 30 * MINUTE, PARTITIONS)]
    found = []
    for run in (run_local, run_tasks):
        with opened(tmp_path / run.__name__) as log:
            append(log, messages)
            run(log)
            found.append(outputs(log))
    (minutes, cube, evidence), (minutes_of_tasks, cube_of_tasks, evidence_of_tasks) = found
    assert len(minutes) > 60
    assert {row["coverage"] for row in minutes.values()} - {0.0, 1.0, None}
    if drops:  # a task spreads a box's drops over the customers it sees
        minutes, minutes_of_tasks = without(minutes, "coverage"), without(minutes_of_tasks, "coverage")
    assert minutes_of_tasks == minutes
    assert cube_of_tasks == cube
    assert summed(evidence_of_tasks) == summed(evidence)
    assert {part for _, _, part in evidence_of_tasks} == {0, 1}


SCRIPT_MINUTES = 12
Op = tuple[str, float, float]


@cache
def script() -> tuple[list[Message], tuple[Any, ...]]:
    """Messages of a fleet, and what tasks that were never disturbed wrote."""
    messages = [*heartbeats(T0, PARTITIONS), *fleet(SCRIPT_MINUTES, 3), *heartbeats(T0 + 30 * MINUTE, PARTITIONS)]
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as log:
        append(log, messages)
        run_tasks(log)
        return messages, outputs(log)


OPS = st.lists(
    st.tuples(
        st.sampled_from(["append", "slices", "reports", "step", "settle", "restart"]),
        st.floats(0, 1),
        st.floats(0, 1),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=12)
@given(ops=OPS)
def test_any_delivery_and_any_restart_lead_to_the_same_minutes(ops: list[Op]) -> None:
    messages, want = script()
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as log:
        appended = 0
        tasks = {p: started(log, p) for p in range(PARTITIONS)}
        for kind, begin, length in ops:
            if kind == "append":
                some = messages[appended : appended + int(length * len(messages) / 3)]
                append(log, some)
                appended += len(some)
            for partition, task in list(tasks.items()):
                if kind == "restart" and begin * PARTITIONS >= partition:
                    log.flush()  # what the killed one had handed over lands before another one starts
                    tasks[partition] = started(log, partition)
                else:
                    disturb(task, kind, delivery(log, partition), begin, length)
        append(log, messages[appended:])
        for partition, task in tasks.items():
            give(task, delivery(log, partition))
            settle(task)
        assert outputs(log, atomic=False) == want


def test_a_restart_that_reads_everything_at_once_repeats_nothing(log: EmbeddedLog) -> None:
    messages, want = script()
    for part in range(8):
        append(log, messages[len(messages) * part // 8 : len(messages) * (part + 1) // 8])
        run_tasks(log)  # its first look at the windows comes when all of them have ended
    assert outputs(log) == want


def started(log: EmbeddedLog, partition: int) -> PartitionTask:
    task = PartitionTask(log, SETTINGS, partition)
    task.rebuild()
    return task


def disturb(task: PartitionTask, kind: str, all_: list[Decoded], begin: float, length: float) -> None:
    if kind in ("slices", "reports"):  # any stretch: repeated, with a gap before it, out of order with the other topic
        topic = SLICES.name if kind == "slices" else REPORTS.name
        if kind == "slices" and task.wants_reports:
            return
        mine = [d for d in all_ if d.record.topic == topic]
        first = int(begin * len(mine))
        give(task, mine[first : first + 1 + int(length * 40)])
        task.step()
    elif kind == "step":
        task.step()
    elif kind == "settle" and not task.wants_reports:
        settle(task)


def test_a_restart_without_news_writes_nothing_and_reads_an_hour_not_everything(log: EmbeddedLog) -> None:
    append(log, [*fleet(150, 2), *heartbeats(T0 + 155 * MINUTE, PARTITIONS)])
    run_tasks(log)
    before = {topic: log.end_offsets(topic) for topic in OUTPUTS}
    task = started(log, OF_ALPHA)
    settle(task)
    assert {topic: log.end_offsets(topic) for topic in before} == before
    # 60 minutes of coverage, up to 5 of a report from the future, 5 until a minute is closed
    slices = [d.record for d in delivery(log, OF_ALPHA) if d.record.topic == SLICES.name]
    needed = [r for r in slices if r.timestamp_ms >= T0 + (155 - 72) * MINUTE]
    assert 0 < task.status(T0)["batches"] < 0.6 * len(delivery(log, OF_ALPHA))
    assert len(needed) < 0.6 * len(slices)


def test_a_partition_of_heartbeats_alone_starts_with_the_last_one_and_an_hour_of_reports(log: EmbeddedLog) -> None:
    idle = 1 - OF_ALPHA
    for minute in range(300):
        append(log, [Message(SLICES.name, idle, T0 + minute * MINUTE)])
        append(
            log, messages_of([], [(T0 + minute * MINUTE, report_row("d", "b", minute + 1, T0 + minute * MINUTE))], 2)
        )
    task = started(log, idle)
    assert task.status(T0 + 299 * MINUTE + 5_000)["watermark_lag_s"] == 25.0
    assert task.status(T0)["records"] == 1 + 66  # minutes 234 to 299: 60, and 5 for reports ahead of their time


def one_report() -> list[Message]:
    """A box with one report a minute for alpha in minutes 0 to 4, then time passes."""
    slices = [(T0 + m * MINUTE + 61_000, slice_row("d", "b", m + 1, 0, T0 + m * MINUTE, Slice())) for m in range(5)]
    headers = [
        (T0 + m * MINUTE + 61_000, report_row("d", "b", m + 1, T0 + m * MINUTE, end=T0 + (m + 1) * MINUTE))
        for m in range(5)
    ]
    return [*messages_of(slices, headers, PARTITIONS), *heartbeats(T0 + 9 * MINUTE, PARTITIONS)]


def test_slices_do_not_run_ahead_of_their_reports(log: EmbeddedLog) -> None:
    task = started(log, OF_ALPHA)
    append(log, one_report())
    records = delivery(log, OF_ALPHA)
    give(task, [d for d in records if d.record.topic == SLICES.name])
    assert not task.step()
    assert task.wants_reports
    assert read(log, QUALITY_MINUTES.name) == []
    give(task, [d for d in records if d.record.topic == REPORTS.name])
    settle(task)
    minutes = outputs(log)[0]
    assert [minutes[T0 + m * MINUTE, "alpha", "vod"]["coverage"] for m in range(5)] == [1.0] * 5


def test_reports_that_are_never_delivered_are_read_from_the_log(log: EmbeddedLog) -> None:
    task = started(log, OF_ALPHA)
    append(log, one_report())
    give(task, [d for d in delivery(log, OF_ALPHA) if d.record.topic == SLICES.name])
    settle(task)
    assert {row["coverage"] for (m, _, _), row in outputs(log)[0].items() if m <= T0 + 4 * MINUTE} == {1.0}


class Failing:
    """A log whose submits fail on order: before they write, or after, as when an acknowledgement is lost."""

    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log
        self.orders: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def submit(self, records: Sequence[Record]) -> Future[list[tuple[int, int]]]:
        order = self.orders.pop() if self.orders else "work"
        if order == "refuse":
            raise LogUnavailable("no space for now")
        future = self._log.submit(records)
        if order == "work":
            return future
        future.result()
        lost: Future[list[tuple[int, int]]] = Future()
        lost.set_exception(LogUnavailable("no acknowledgement came"))
        return lost


def test_outages_of_the_log_neither_lose_nor_repeat_a_minute(tmp_path: Path) -> None:
    messages, want = script()
    chance = random.Random(5)
    with opened(tmp_path / "log") as log:
        append(log, messages)
        failures = 0
        for partition in range(PARTITIONS):
            failing = Failing(log)
            task = PartitionTask(failing, SETTINGS, partition)
            while True:
                failing.orders = [chance.choice(["work", "refuse", "lose"])]
                try:
                    task.rebuild()
                    settle(task)
                    break
                except LogUnavailable:
                    failures += 1
        assert failures > 5
        found = tables(log, QUALITY_MINUTES.name)
        names = [tuple(r[k] for k in (*MINUTE_KEYS, "revision")) for _, b in found for r in b.to_pylist()]
        assert len(names) == len(set(names))
        assert final(found, QUALITY_MINUTES.name, MINUTE_KEYS) == want[0]


def test_a_worker_that_lost_its_partition_stops_at_the_new_owners_first_minute(log: EmbeddedLog) -> None:
    messages, want = script()
    third = len(messages) // 3
    append(log, messages[:third])
    zombie = started(log, OF_ALPHA)
    settle(zombie)
    owner = started(log, OF_ALPHA)
    for part in (messages[third:-third], messages[-third:]):
        append(log, part)
        give(owner, delivery(log, OF_ALPHA))
        settle(owner)
    ends = log.end_offsets(QUALITY_MINUTES.name)
    give(zombie, delivery(log, OF_ALPHA))
    with pytest.raises(Overtaken, match="another worker"):
        settle(zombie)
    assert log.end_offsets(QUALITY_MINUTES.name) == ends
    settle(started(log, OF_ALPHA))
    settle(started(log, 1 - OF_ALPHA))
    assert outputs(log, atomic=False)[0] == want[0]


def test_a_closed_task_writes_nothing(log: EmbeddedLog) -> None:
    append(log, one_report())
    task = PartitionTask(log, SETTINGS, OF_ALPHA)
    task.close()
    with pytest.raises(TaskClosed):
        task.rebuild()
    assert read(log, QUALITY_MINUTES.name) == []


def test_poison_is_refused_once_and_the_task_goes_on(log: EmbeddedLog) -> None:
    stranger = slice_row("d", "b", 9, 0, T0, Slice(customer=STRANGER))
    assert messages_of([(T0, stranger)], [], PARTITIONS)[0].partition != OF_ALPHA
    log.submit(
        [
            Record(SLICES.name, b"alpha", b"not arrow", T0, OF_ALPHA),
            Record(REPORTS.name, b"d", b"not arrow either", T0, 0),
            record_of(Message(SLICES.name, OF_ALPHA, T0, (stranger,))),
        ]
    ).result()
    append(log, one_report())
    run_tasks(log)
    rows = [row for _, b in tables(log, REJECTED.name) for row in b.to_pylist()]
    assert sorted((r["id"], r["reason"]) for r in rows) == [
        (f"{REPORTS.name}:0:0", "malformed_batch"),
        (f"{SLICES.name}:{OF_ALPHA}:0", "malformed_batch"),
        (f"{SLICES.name}:{OF_ALPHA}:1", "malformed_batch"),
    ]
    assert f"customers of partition {OF_ALPHA} of 2" in " ".join(r["detail"] for r in rows)
    assert outputs(log)[0][T0, "alpha", "vod"]["requests"] == 1


def test_what_nobody_can_read_costs_its_neighbours_nothing(log: EmbeddedLog) -> None:
    messages, want = script()
    negative = slice_row("d", "b", 9, 0, T0, Slice(counts={"requests": -1}))
    places = (5, 40, 41, 60)
    for begin, end in pairwise((0, *places, len(messages))):
        append(log, messages[begin:end])
        if end in places:
            at = messages[end - 1].timestamp_ms
            log.submit(
                [
                    Record(SLICES.name, b"alpha", b"not arrow", at, OF_ALPHA),
                    record_of(Message(SLICES.name, OF_ALPHA, at, (negative,))),
                ]
            ).result()
    run_tasks(log)
    rows = [row for _, b in tables(log, REJECTED.name) for row in b.to_pylist()]
    assert len({row["id"] for row in rows}) == len(rows) == 2 * len(places)
    assert outputs(log) == want


class Uneven:
    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def partitions(self, topic: str) -> int:
        return 3 if topic == QUALITY_CUBE.name else self._log.partitions(topic)


def test_topics_with_different_partition_counts_are_refused_by_name(log: EmbeddedLog) -> None:
    with pytest.raises(SettingsError, match=r"telemetry\.slices 2, .*quality\.cube 3"):
        PartitionTask(Uneven(log), SETTINGS, 0)
    with pytest.raises(SettingsError, match=r"expected 0\.\.1, got 2"):
        PartitionTask(log, SETTINGS, 2)


def test_the_cube_carries_every_dimension_but_the_device(log: EmbeddedLog) -> None:
    append(log, one_report())
    run_tasks(log)
    cells = outputs(log)[1]
    assert {len(key) for key in cells} == {1 + len(CELL_DIMENSIONS)}
