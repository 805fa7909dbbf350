"""The quality operator of one partition of telemetry.slices, for a shell that delivers records as it likes.

A task trusts the log, not the delivery. Records below the offset it wants next are skipped; when a delivery begins
beyond it, the task reads what is missing from the log itself. So duplicates, gaps and repeated deliveries after a
rebalance change nothing, and no offset is stored anywhere.

Reports come from all partitions of telemetry.reports, because a box serves customers of several partitions of slices.
They are read beside the slices, and slices must not run ahead of them: a minute that closes before its reports were
read would keep a coverage that is too low for ever. So before anything is emitted, every partition of reports must
have been read either past the newest slice's timestamp or up to its end as it was after that slice came.

Kafka is not atomic across messages. Cube, evidence and memory are acknowledged before the minutes they explain are
written: a minute in quality.minutes is the proof of emission. After a crash in between the cube of a minute may be in
the log twice with one revision: the later record counts.

Two owners. A worker that lost its partition without knowing it may still write. Before it writes, a task looks
whether the end of its partition of quality.minutes is where it left it; if another one wrote there, it raises
`Overtaken` and must be replaced by a new task, which takes over what is in the log.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from contracts.errors import ContractError
from contracts.protocols import Log, Record, StoredRecord, TopicPartition
from contracts.times import SECOND_MS
from contracts.topics import QUALITY_MEMORY, QUALITY_MINUTES, REPORTS, SLICES, partition_of
from streams.decoding import SMALL_BYTES, Block, Decoded, block_of, decode
from streams.headers import HeaderHistory, Headers, blocks_of
from streams.memory import CHECKPOINT_HEADER, Checkpoint
from streams.reach import Reach
from streams.restart import RestartingRunner
from streams.runner import OUTPUTS, read_between, record_of
from streams.settings import SettingsError, StreamsError, StreamSettings

MOST_TOGETHER = 256  # small messages that are read at once
_PATIENT_LOOKS = 200  # at a barrier that the delivery of reports does not lift, before they are read from the log


class Overtaken(StreamsError):
    """Another task writes this partition's minutes. This one must be given up; a new one may take its place."""


class TaskClosed(StreamsError):
    """The task was closed while it worked."""


def check_partitions(log: Log) -> int:
    """The number of partitions that slices and the topics derived from them share. Raises SettingsError."""
    counts = {topic: log.partitions(topic) for topic in (SLICES.name, *OUTPUTS, QUALITY_MEMORY.name)}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{topic} {count}" for topic, count in counts.items())
        raise SettingsError(f"partitions: expected the same number for these topics, got {found}; see dipper topics")
    return counts[SLICES.name]


@dataclass(frozen=True, slots=True)
class _Flight:
    """Records handed to the log: the first of those staged, minutes or what explains them."""

    future: Future[list[tuple[int, int]]]
    of_minutes: bool


class PartitionTask(RestartingRunner):
    """One partition's operator. One thread at a time; `hold`, `release`, `close`, `in_flight`, `next_offset` and
    `status` may come from others. Call `rebuild` first, then `take` and `step`. Any call may raise LogUnavailable and
    may then be repeated with the same arguments."""

    def __init__(
        self, log: Log, settings: StreamSettings, partition: int, history: HeaderHistory | None = None
    ) -> None:
        count = check_partitions(log)
        if not 0 <= partition < count:
            raise SettingsError(f"partition: expected 0..{count - 1}, got {partition}")
        super().__init__(log, settings, partition)
        self.skipped = 0  # records delivered again
        self.reread = 0  # records the delivery left out
        self._history = history or HeaderHistory(log)
        self._gate = threading.Lock()  # between looking whether it may write and writing
        self._held = False
        self._closed = False
        self._next: dict[TopicPartition, int] = {}
        self._reach: dict[TopicPartition, Reach] = {}
        self._newest: dict[TopicPartition, int] = dict.fromkeys(self._inputs, -1)  # timestamps
        self._barrier: list[int] | None = None  # ends of reports that must be read before anything is emitted
        self._looks = 0
        self._explaining: list[Record] = []  # cube, evidence, memory, refusals: to be written before
        self._minutes: list[Record] = []
        self._flight: _Flight | None = None
        self._customers: set[str] = set()  # that belong to this partition
        self._point: Checkpoint | None = None  # where everything written was acknowledged
        self._reached: Checkpoint | None = None  # so it will be once what was staged last is acknowledged

    # Life

    def rebuild(self) -> None:
        """Restore what was emitted and read the inputs again up to their present end. Raises TaskClosed."""
        if not self._next:
            starts = self._restore()
            for (topic, partition), start in starts.items():
                if start.newest:  # as if what lies before had been read
                    self._operator.heartbeat(topic, partition, start.newest)
            self._newest.update({place: start.newest for place, start in starts.items()})
            self._reach = {place: Reach(start) for place, start in starts.items()}
            self._point = self._resumed
            self._next = {place: start.offset for place, start in starts.items()}
        end = self._log.end_offsets(SLICES.name)[self.partition]
        self._read_on(end)
        self._read_along(self._ends_of_reports())
        self.step()

    def hold(self) -> None:
        """Write nothing new until `release`: who will own the partition is being decided."""
        with self._gate:
            self._held = True

    def release(self) -> None:
        """Go on writing."""
        with self._gate:
            self._held = False

    def close(self) -> None:
        """Write nothing any more; what runs ends at its next look."""
        with self._gate:
            self._closed = True

    @property
    def in_flight(self) -> bool:
        """Whether the log has yet to acknowledge something."""
        flight = self._flight
        return flight is not None and not flight.future.done()

    @property
    def next_offset(self) -> int | None:
        """Of the slices; None before it is known."""
        return self._next.get(self._slices)

    @property
    def wants_reports(self) -> bool:
        """Whether slices should wait: what they made due depends on reports that have not come yet."""
        return self._barrier is not None

    def take(self, records: Iterable[StoredRecord]) -> None:
        """Take records of the own partition of slices, as they were delivered."""
        run: list[StoredRecord] = []
        for record in records:
            wanted = run[-1].offset + 1 if run else self._next[self._slices]
            if record.offset < wanted:
                self.skipped += 1
                continue
            if record.offset > wanted:
                self._accept(run)
                run = []
                self.read_to(record.offset)
            run.append(record)
        self._accept(run)

    def take_headers(self, blocks: Iterable[Headers]) -> None:
        """Take blocks of any partitions of reports, as they were delivered."""
        for headers in blocks:
            place = (REPORTS.name, headers.partition)
            if headers.next <= self._next[place]:
                self.skipped += len(headers)
                continue
            if headers.first > self._next[place]:
                before = self._records
                self._read_reports(place, headers.first)
                self.reread += self._records - before
            self._accept_headers(headers)

    def read_to(self, end: int) -> None:
        """Take slices up to an offset from the log, if delivery has not brought them."""
        before = self._records
        self._read_on(end)
        self.reread += self._records - before

    def step(self) -> bool:
        """Write what became due, as far as it goes without waiting. Returns whether nothing is left to be done before
        more records come."""
        if self._send() and self._operator.is_due and self._reports_are_read():
            self._stage()
        return self._send() and not self.wants_reports

    def status(self, now: int) -> dict[str, Any]:
        """`watermark_lag_s` is None until the partition has shown a record. `skipped`: records that were
        delivered again, `reread`: those that delivery left out."""
        watermark = self._operator.watermark
        return {
            "partition": self.partition,
            "watermark_ms": watermark,
            "watermark_lag_s": None if watermark is None else (now - watermark) / SECOND_MS,
            "skipped": self.skipped,
            "reread": self.reread,
            **self._counts(),
        }

    # Reading

    def _accept(self, records: Sequence[StoredRecord]) -> None:
        """Take slices that follow what was taken."""
        late_from = None if self._resumed is None else self._resumed.slices
        for run in _runs(records, late_from):
            if late_from is not None and run[0].offset >= late_from:
                self._operator.late_begins()
            block = block_of(run) if len(run) > 1 else None
            if block is None or not self._accept_block(block):
                for record in run:
                    self._accept_one(decode(record))

    def _accept_block(self, block: Block) -> bool:
        """False, and nothing is taken, if one of its records must be refused."""
        if block.batch is not None and self._stranger(block.batch) is not None:
            return False
        try:
            self._feed_block(block)
        except ContractError:
            return False
        start = np.zeros(0, np.int64) if block.batch is None else block.batch.column("start").to_numpy()
        self._reach[self._slices].note_block(block.offsets, block.timestamps, block.ends, start)
        self._taken(block.records[-1].offset, int(block.timestamps.max()))
        return True

    def _accept_one(self, decoded: Decoded) -> None:
        record = decoded.record
        self._feed(self._checked(decoded), self._explaining.append)
        start = None if decoded.batch is None else decoded.batch.column("start").to_numpy()
        self._reach[self._slices].note(record.offset, record.timestamp_ms, start)
        self._taken(record.offset, record.timestamp_ms)

    def _taken(self, offset: int, timestamp_ms: int) -> None:
        self._newest[self._slices] = max(self._newest[self._slices], timestamp_ms)
        self._next[self._slices] = offset + 1

    def _accept_headers(self, headers: Headers) -> None:
        place = (REPORTS.name, headers.partition)
        headers = headers.since(self._next[place])
        # Of all tasks that get a report nobody can read, one says so.
        mine = headers.partition % self._log.partitions(SLICES.name) == self.partition
        self._feed_headers(headers, self._explaining.append if mine else _leave)
        self._reach[place].note_block(headers.offsets, headers.timestamps, headers.ends, headers.rows.start)
        self._newest[place] = max(self._newest[place], int(headers.timestamps.max()))
        self._next[place] = headers.next

    def _checked(self, decoded: Decoded) -> Decoded:
        """Slices of a customer of another partition are refused: their minutes are another task's to write."""
        if decoded.batch is None or (stranger := self._stranger(decoded.batch)) is None:
            return decoded
        expected = f"customers of partition {self.partition} of {self._log.partitions(SLICES.name)}"
        return Decoded(decoded.record, error=ContractError("malformed_batch", "customer", expected, stranger))

    def _stranger(self, batch: Any) -> str | None:
        """A customer in it that does not belong to this partition."""
        column = batch.column("customer")
        if self._customers.issuperset(column.dictionary.to_pylist()):
            return None
        count = self._log.partitions(SLICES.name)
        for name in column.unique().to_pylist():  # a dictionary may hold values that no row uses
            if partition_of(name.encode(), count) != self.partition:
                return str(name)
            self._customers.add(name)
        return None

    def _read_on(self, end: int) -> None:
        """Read slices up to an offset from the log, reports along with them, and emit on the way."""
        if self._next[self._slices] >= end:
            return
        self._barrier = None
        ends = self._ends_of_reports()
        start = {self._slices: self._next[self._slices]}
        for records in read_between(self._log, start, {self._slices: end}):
            self._accept(records)
            self._read_along(ends)
            if self._send() and self._operator.is_due:
                self._stage()
                self._send()
            if self._closed:
                raise TaskClosed(f"partition {self.partition}: closed while it read")
        self._next[self._slices] = max(end, self._next[self._slices])  # retention may have taken the last ones

    def _ends_of_reports(self) -> dict[TopicPartition, int]:
        return {(REPORTS.name, p): at for p, at in enumerate(self._log.end_offsets(REPORTS.name))}

    def _read_along(self, ends: dict[TopicPartition, int]) -> None:
        """Read reports past the newest slice's timestamp, or up to the given ends."""
        for place, end in ends.items():
            while self._is_behind(place) and self._next[place] < end:
                starts = {p: self._next[REPORTS.name, p] for _, p in ends}
                self._accept_headers(self._history.at(starts, place[1]))

    def _read_reports(self, place: TopicPartition, end: int) -> None:
        for records in read_between(self._log, {place: self._next[place]}, {place: end}):
            for headers in blocks_of(records):
                self._accept_headers(headers)

    def _is_behind(self, place: TopicPartition) -> bool:
        return self._newest[place] < self._newest[self._slices]

    def _reports_are_read(self) -> bool:
        """Whether all reports that came before the newest slice have been taken; else sets the barrier."""
        behind = [place for place in self._newest if place != self._slices and self._is_behind(place)]
        if not behind:
            self._barrier = None
            return True
        if self._barrier is None:
            self._barrier = self._log.end_offsets(REPORTS.name)
            self._looks = 0
        open_ = [place for place in behind if self._next[place] < self._barrier[place[1]]]
        self._looks += 1
        if open_ and self._looks > _PATIENT_LOOKS:
            for place in open_:
                self._read_reports(place, self._barrier[place[1]])
            open_ = []
        if not open_:
            self._barrier = None
        return not open_

    # Writing

    def _stage(self) -> None:
        """Only called when everything staged before is acknowledged; so that is what a checkpoint may state."""
        if self._reached is not None:
            self._point = replace(self._reached, minutes=self._minutes_end)
        checkpoint = {} if self._point is None else {CHECKPOINT_HEADER: self._point.text()}
        for emission in self._operator.advance():
            staged = self._minutes if emission.topic == QUALITY_MINUTES.name else self._explaining
            staged.append(record_of(emission, checkpoint if emission.topic == QUALITY_MEMORY.name else None))
        self._reached = None
        if (settled := self._operator.settled) is not None:
            inputs = tuple(self._reach[place].since(settled[0]) for place in self._inputs)
            self._reached = Checkpoint(self._next[self._slices], 0, *settled, inputs)

    def _send(self) -> bool:
        """Write what is staged without waiting for the log; whether all of it is acknowledged."""
        while True:
            if self._flight is None:
                if self._explaining or self._minutes:
                    self._drop_written()
                staged = self._explaining or self._minutes
                if not staged:
                    return True
                with self._gate:
                    if self._closed:
                        raise TaskClosed(f"partition {self.partition}: closed, writes nothing any more")
                    if self._held:
                        return False
                    self._flight = _Flight(self._log.submit(tuple(staged)), of_minutes=staged is self._minutes)
            if not self._flight.future.done():
                return False
            flight, self._flight = self._flight, None
            places = flight.future.result()
            self._messages += len(places)
            if flight.of_minutes:
                self._minutes = []  # nothing is staged while minutes are in flight
                self._minutes_end = max(at for _, at in places) + 1
            else:
                del self._explaining[: len(places)]

    def _drop_written(self) -> None:
        """Look who wrote at the end of the own partition of quality.minutes since this task last did. Its own minutes
        are there when an acknowledgement was lost: they are not written again. Raises Overtaken."""
        place = (QUALITY_MINUTES.name, self.partition)
        end = self._log.end_offsets(QUALITY_MINUTES.name)[self.partition]
        mine = {record.value for record in self._minutes}
        found = set()
        for records in read_between(self._log, {place: self._minutes_end}, {place: end}):
            found |= {record.value for record in records}
        if found - mine:
            raise Overtaken(f"partition {self.partition}: another worker writes its minutes; this one starts anew")
        self._minutes = [record for record in self._minutes if record.value not in found]
        self._minutes_end = end


def _runs(records: Sequence[StoredRecord], border: int | None) -> Iterator[Sequence[StoredRecord]]:
    """Consecutive records in turn: small ones together, up to MOST_TOGETHER and not across a border between offsets,
    each large one by itself."""
    run: list[StoredRecord] = []
    for record in records:
        large = len(record.value) > SMALL_BYTES
        crossed = border is not None and run and run[-1].offset < border <= record.offset
        if run and (large or crossed or len(run) == MOST_TOGETHER):
            yield run
            run = []
        run.append(record)
        if large:
            yield run
            run = []
    if run:
        yield run


def _leave(_: Record) -> None:
    """Another task writes this refusal."""
