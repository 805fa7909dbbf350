"""A task that starts again: short reading from a checkpoint, and what is told stays what an undisturbed one tells."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.protocols import Record
from contracts.topics import QUALITY_MEMORY, QUALITY_MINUTES, REPORTS, SLICES
from ingest.log.embedded import EmbeddedLog
from streams.memory import CHECKPOINT_HEADER, Checkpoint, ClosedMinute, memory_batch, read_memory
from streams.reach import Start
from streams.settings import QualitySettings, StreamSettings
from streams.task import PartitionTask
from tests.streams.builders import MINUTE, T0, Message, Slice, heartbeats, messages_of, report_row, slice_row
from tests.streams.logs import PARTITIONS, append, fleet, outputs, read
from tests.streams.test_task import OF_ALPHA, opened, run_tasks, settle

# So few rows a message that the minutes of one look are several records.
SETTINGS = StreamSettings(QualitySettings(prior_requests=10.0, rows_per_message=2), poll_records=16)
HOUR = 66  # minutes that were told before anything goes wrong
REST = 14
POINT = Checkpoint(1, 2, 3, 4, (Start(5, 6), Start(7, 8)))


class Died(Exception):
    """A process that is killed while it writes."""


class Mortal:
    """A log whose writer dies with its n-th submit, of which the first records still get through."""

    def __init__(self, log: EmbeddedLog, submits: int, share: float) -> None:
        self._log = log
        self._left = submits
        self._share = share

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def submit(self, records: Sequence[Record]) -> Future[list[tuple[int, int]]]:
        self._left -= 1
        if self._left:
            done = self._log.submit(records)
            done.result()  # acknowledged at once, so that every look at the windows gets a submit of its own
            return done
        first = records[: round(self._share * len(records))]
        if first:
            self._log.submit(first).result()
        raise Died


@dataclass(frozen=True)
class Past:
    """A log folder with the first HOUR minutes told, the messages that follow, and what should be told in the end.
    `later`: heartbeats after that. A task compares open minutes and late requests with what a dead one told only once
    time has come further than the dead one had seen."""

    folder: Path
    rest: list[Message]
    later: list[Message]
    want: tuple[Any, ...]


@pytest.fixture(scope="module")
def past() -> Iterator[Past]:
    messages = [*heartbeats(T0, PARTITIONS), *fleet(HOUR + REST, 2), *heartbeats(T0 + 130 * MINUTE, PARTITIONS)]
    later = heartbeats(T0 + 131 * MINUTE, PARTITIONS)
    cut = next(i for i, m in enumerate(messages[2:], 2) if m.timestamp_ms >= T0 + HOUR * MINUTE)
    with tempfile.TemporaryDirectory() as folder:
        with opened(Path(folder) / "whole") as log:
            append(log, [*messages, *later])
            run_tasks(log)
            want = outputs(log)
        with opened(Path(folder) / "past") as log:
            tasks = [PartitionTask(log, SETTINGS, partition) for partition in range(PARTITIONS)]
            for begin in range(0, cut, 8):
                append(log, messages[begin : min(cut, begin + 8)])
                for task in tasks:
                    live(task, log)
        yield Past(Path(folder) / "past", messages[cut:], later, want)


@contextmanager
def copy_of(past: Past) -> Iterator[EmbeddedLog]:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(past.folder, Path(folder) / "log")
        with opened(Path(folder) / "log") as log:
            yield log


def live(task: PartitionTask, log: EmbeddedLog) -> PartitionTask:
    """Read all there is, and write what is due."""
    if task.next_offset is None:
        task.rebuild()
    else:
        task.read_to(log.end_offsets(SLICES.name)[task.partition])
    settle(task)
    return task


LIVES = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9), st.floats(0, 1)), min_size=1, max_size=8)


@settings(max_examples=3, deadline=None)
@given(lives=LIVES)
def test_writers_that_die_within_any_write_leave_what_one_that_lives_would(past: Past, lives: list[Any]) -> None:
    die_and_compare(past, lives)


@pytest.mark.verify
@settings(max_examples=40, deadline=None)
@given(lives=LIVES)
def test_writers_that_die_within_any_write_leave_what_one_that_lives_would_again_and_again(
    past: Past, lives: list[Any]
) -> None:
    die_and_compare(past, lives)


def die_and_compare(past: Past, lives: list[Any]) -> None:
    """`lives`: how often each reads on, with which submit it dies, and what share of that gets through."""
    with copy_of(past) as log:
        at = 0
        for pieces, submits, share in lives:
            for partition in range(PARTITIONS):
                task = PartitionTask(Mortal(log, submits, share), SETTINGS, partition)
                try:
                    live(task, log)
                    assert task._resumed is not None
                    for piece in range(pieces):
                        some = past.rest[at : at + 5 + piece]
                        at += len(some)
                        append(log, some)
                        live(task, log)
                except Died:
                    continue
        append(log, past.rest[at:])
        for partition in range(PARTITIONS):
            assert live(PartitionTask(log, SETTINGS, partition), log)._resumed is not None
        append(log, past.later)
        for partition in range(PARTITIONS):
            live(PartitionTask(log, SETTINGS, partition), log)
        assert outputs(log, atomic=False) == past.want


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_late_requests_of_a_look_that_was_cut_short_are_told_by_the_next(past: Past, share: float) -> None:
    """The last look leads over so many minutes that late requests which came before it are too late after it; it dies
    with some of its minutes written."""
    told = T0 + 20 * MINUTE
    late = slice_row("d", "b", 1, 0, told, Slice(customer="alpha", counts={"requests": 5}))
    with copy_of(past) as log:
        append(log, [*messages_of([(T0 + HOUR * MINUTE, late)], [], PARTITIONS), *past.rest])
        for partition in range(PARTITIONS):
            task = PartitionTask(Mortal(log, 3, share), SETTINGS, partition)
            with pytest.raises(Died):
                live(task, log)
            assert task._minutes  # it died while it wrote these
        tasks = [live(PartitionTask(log, SETTINGS, partition), log) for partition in range(PARTITIONS)]
        append(log, past.later)
        for task in tasks:
            live(task, log)
        (minutes, *others), (want, *other_wants) = outputs(log, atomic=False), past.want
        assert others == other_wants
        key = (told, "alpha", "vod")
        assert minutes == {**want, key: {**want[key], "late_requests": want[key]["late_requests"] + 5}}


def test_a_restart_reads_what_was_open_and_not_the_hour(past: Past) -> None:
    with copy_of(past) as log:
        told = log.end_offsets(QUALITY_MINUTES.name)
        for partition in range(PARTITIONS):
            task = live(PartitionTask(log, SETTINGS, partition), log)
            point = task._resumed
            assert point is not None
            newest = max(r.timestamp_ms for r in read(log, SLICES.name) if r.partition == partition)
            assert newest - point.first_open <= 5 * MINUTE  # 2 of lateness, 20 s of delay, the steps between
            mine = [
                r
                for r in read(log, SLICES.name, REPORTS.name)
                if (r.topic, r.partition) != (SLICES.name, 1 - partition)
            ]
            short = [r for r in mine if r.timestamp_ms >= point.first_open]
            assert 0 < task.status(T0)["records"] <= len(short) < 0.1 * len(mine)
        assert log.end_offsets(QUALITY_MINUTES.name) == told


@pytest.mark.parametrize("header", [None, "too many"])
def test_without_the_whole_memory_everything_is_read_again(
    past: Past, header: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with copy_of(past) as log, caplog.at_level("INFO"):
        for partition in range(PARTITIONS):
            last = [r for r in read(log, QUALITY_MEMORY.name) if r.partition == partition][-1]
            point = Checkpoint.of(last.headers[CHECKPOINT_HEADER])
            assert point is not None
            too_many = replace(point, remembered=point.remembered + 1)
            headers = {} if header is None else {CHECKPOINT_HEADER: too_many.text()}
            log.submit([Record(last.topic, b"", last.value, last.timestamp_ms, partition, headers)]).result()
        tasks = [live(PartitionTask(log, SETTINGS, partition), log) for partition in range(PARTITIONS)]
        assert [task._resumed for task in tasks] == [None, None]
        for begin in range(0, len(past.rest), 4):
            append(log, past.rest[begin : begin + 4])
            tasks = [live(task, log) for task in tasks]
        append(log, past.later)
        tasks = [live(PartitionTask(log, SETTINGS, partition), log) for partition in range(PARTITIONS)]
        assert None not in [task._resumed for task in tasks]  # the long reading wrote the memory anew
        assert outputs(log, atomic=False) == past.want
    assert f"{QUALITY_MEMORY.name} holds no whole hour" in caplog.text


def test_a_checkpoint_of_topics_that_were_made_anew_is_not_taken(past: Past) -> None:
    with copy_of(past) as log:
        task = live(PartitionTask(log, SETTINGS, OF_ALPHA), log)
        point = task._resumed
        assert point is not None
        far = Start(10**6, 0)
        wrong = [
            replace(point, slices=10**6),
            replace(point, minutes=10**6),
            replace(point, inputs=(far, *point.inputs[1:])),
            replace(point, inputs=(*point.inputs[:-1], far)),
            replace(point, inputs=point.inputs[:-1]),
        ]
        assert [task._holds(each) for each in [point, *wrong]] == [True] + [False] * len(wrong)


def test_late_requests_before_and_after_a_checkpoint_count_once_each(tmp_path: Path) -> None:
    def served(at: int, start: int, seq: int, requests: int) -> list[Message]:
        row = slice_row("d", "b", seq, 0, start, Slice(counts={"requests": requests}))
        return messages_of([(at, row)], [(at, report_row("d", "b", seq, start))], PARTITIONS)

    with opened(tmp_path / "log") as log:
        append(log, served(T0 + 11_000, T0, 1, 5))
        task = live(PartitionTask(log, SETTINGS, OF_ALPHA), log)
        for step in range(1, 30):
            now = T0 + (5 + step) * MINUTE
            append(log, [*served(now, T0 + 10_000, 1 + step, 7), *heartbeats(now + 1, PARTITIONS)])
            if step % 2:
                live(task, log)
            else:
                task.close()
                task = live(PartitionTask(log, SETTINGS, OF_ALPHA), log)
                assert task._resumed is not None or step < 4
        append(log, heartbeats(T0 + 40 * MINUTE, PARTITIONS))
        live(task, log)
        row = outputs(log)[0][T0, "alpha", "vod"]
        assert (row["requests"], row["late_requests"]) == (5, 29 * 7)


def test_a_partition_without_customers_remembers_the_boxes_too(tmp_path: Path) -> None:
    idle = 1 - OF_ALPHA
    with opened(tmp_path / "log") as log:
        task = live(PartitionTask(log, SETTINGS, idle), log)
        for minute in range(90):
            now = T0 + minute * MINUTE
            append(log, messages_of([], [(now, report_row("d", "b", minute + 1, now, end=now + MINUTE))], PARTITIONS))
            append(log, [Message(SLICES.name, idle, now + 1)])
            live(task, log)
        again = live(PartitionTask(log, SETTINGS, idle), log)
        assert again._resumed is not None
        assert again._resumed.remembered == 59
        assert again.status(T0)["records"] <= 12  # of 180
        assert log.end_offsets(QUALITY_MINUTES.name) == [0, 0]


def numbers(*values: int) -> Any:
    return np.array(values, np.int64)


def test_a_minute_comes_back_from_its_message_and_the_last_message_counts() -> None:
    def closed(requests: int) -> ClosedMinute:
        return ClosedMinute(
            ["d1", "d2"],
            ["alpha"],
            ["b1", "b2"],
            numbers(0, 1),
            numbers(60_000, 1_500),
            numbers(1),
            numbers(0),
            numbers(requests),
            numbers(0, 0),
            numbers(0, 1),
            numbers(0, 9),
        )

    nothing = ClosedMinute([], [], [], *[numbers()] * 8)
    batches = [
        memory_batch(T0 + MINUTE, closed(1)),
        memory_batch(T0, closed(2)),
        memory_batch(T0 + 2 * MINUTE, nothing),
    ]
    found = read_memory([*batches, memory_batch(T0 + MINUTE, closed(3))])
    assert list(found) == [T0, T0 + MINUTE]
    back = found[T0 + MINUTE]
    assert [(back.devices[d], ms) for d, ms in zip(back.box, back.covered_ms, strict=True)] == [
        ("d1", 60_000),
        ("d2", 1_500),
    ]
    assert (back.devices[back.traffic_device[0]], back.customers[back.traffic_customer[0]]) == ("d2", "alpha")
    assert back.traffic_requests.tolist() == [3]
    assert [back.boots[b] for b in back.boot] == ["b1", "b2"]
    assert back.boot_dropped.tolist() == [0, 9]


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "{}", "[1]", '{"slices": "1"}', '{"inputs": [[1, 2]]}', '{"inputs": 1}', "null", "1"),
        replace(POINT, remembered=-1).text(),
        POINT.text().replace("[7, 8]", "[7]"),
        POINT.text().replace("[7, 8]", '["7", 8]'),
    ],
)
def test_what_is_no_checkpoint_is_none(text: str | None) -> None:
    assert Checkpoint.of(text) is None
    assert Checkpoint.of(POINT.text()) == POINT
