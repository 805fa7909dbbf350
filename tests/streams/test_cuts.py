"""Reading several topics together: in stretches of the log's time while behind, whole or not while following."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from contracts.protocols import LogReader, Record, StoredRecord, TopicPartition
from contracts.times import MINUTE_MS
from ingest.log.embedded import EmbeddedLog
from streams.cuts import STRETCH_MS, CutReader, ends_of

T0 = 1_767_607_200_000
MINUTES, CUBE, REPORTS = "quality.minutes", "quality.cube", "telemetry.reports"
TOPICS = (MINUTES, CUBE, REPORTS)
TOGETHER = (MINUTES, CUBE)


class ShyLog(EmbeddedLog):
    """A log whose readers withhold some partitions, as Kafka's may: what was fetched first is given first."""

    withheld: frozenset[TopicPartition] = frozenset()

    def reader(self, start: Mapping[TopicPartition, int]) -> LogReader:
        return _ShyReader(self, start)


class _ShyReader:
    def __init__(self, log: ShyLog, start: Mapping[TopicPartition, int]) -> None:
        self._log = log
        self._readers = {place: EmbeddedLog.reader(log, {place: at}) for place, at in start.items()}

    def poll(self, max_records: int, timeout_s: float) -> list[StoredRecord]:
        given = [reader.poll(max_records, 0.0) for place, reader in self._readers.items() if place not in self._held]
        return [record for records in given for record in records]

    @property
    def _held(self) -> frozenset[TopicPartition]:
        return self._log.withheld

    def seek(self, topic: str, partition: int, offset: int) -> None:
        self._readers[topic, partition].seek(topic, partition, offset)

    def positions(self) -> dict[TopicPartition, int]:
        return {place: at for reader in self._readers.values() for place, at in reader.positions().items()}

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ShyLog]:
    opened = ShyLog(tmp_path / "log", partitions=2, group_commit_ms=0)
    yield opened
    opened.close()


def put(log: ShyLog, minute: float, *topics: str) -> None:
    at = T0 + round(minute * MINUTE_MS)
    log.submit([Record(topic, b"", b"x", at, p) for topic in topics for p in range(2)]).result()


def start(log: ShyLog) -> dict[TopicPartition, int]:
    return dict.fromkeys(ends_of(log, TOPICS), 0)


def read(reader: CutReader, timeout_s: float = 0.0) -> tuple[list[tuple[str, float]], bool]:
    """(topic, minute) of each record, and whether they are whole."""
    found: list[tuple[str, float]] = []

    def take(record: StoredRecord) -> None:
        found.append((record.topic, (record.timestamp_ms - T0) / MINUTE_MS))

    count, whole = reader.read(take, 100, timeout_s)
    assert count == len(found)
    return sorted(found), whole


def test_who_is_behind_takes_a_stretch_of_all_partitions_at_a_time(log: ShyLog) -> None:
    for minute in range(12):
        put(log, minute, *TOPICS)
    reader = CutReader(log, start(log), T0, TOGETHER)
    stretch = STRETCH_MS // MINUTE_MS
    for first in range(0, 12, stretch):
        assert reader.behind
        found, whole = read(reader)
        minutes = range(first, min(12, first + stretch))
        assert found == sorted((topic, float(m)) for topic in TOPICS for m in minutes for _ in range(2))
        assert whole
    assert not reader.behind
    put(log, 12, *TOPICS)
    assert read(reader) == (sorted((topic, 12.0) for topic in TOPICS for _ in range(2)), True)
    assert reader.positions() == ends_of(log, TOPICS)


def test_nothing_to_catch_up_with_is_followed_at_once(log: ShyLog) -> None:
    reader = CutReader(log, start(log), None, TOGETHER)
    assert not reader.behind
    assert read(reader) == ([], True)


@pytest.mark.parametrize("withheld", [(MINUTES, 1), (CUBE, 0), (REPORTS, 1)])
def test_what_lacks_a_partition_is_not_whole(log: ShyLog, withheld: tuple[str, int]) -> None:
    reader = CutReader(log, start(log), None, TOGETHER)
    put(log, 0, *TOPICS)
    log.withheld = frozenset({withheld})
    found, whole = read(reader)
    assert (len(found), whole) == (5, False)
    log.withheld = frozenset()
    assert read(reader) == ([(withheld[0], 0.0)], True)


def test_what_comes_while_it_reads_is_left_for_the_next_time_unless_it_belongs_to_it(log: ShyLog) -> None:
    reader = CutReader(log, start(log), None, TOGETHER)
    arrivals: list[Any] = [lambda: put(log, 1, CUBE), lambda: put(log, 1, REPORTS)]

    def take(record: StoredRecord) -> None:
        if arrivals and record.topic == MINUTES:
            arrivals.pop()()

    put(log, 0, *TOPICS)
    log.withheld = frozenset({(CUBE, 0), (CUBE, 1), (REPORTS, 0), (REPORTS, 1)})
    put(log, 1, MINUTES)
    assert reader.read(take, 100, 0.0)[1] is False
