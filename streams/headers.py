"""Headers of reports, decoded once per process and shared by its tasks.

Every task needs the headers of all boxes, and at a gateway they come in small messages. So consecutive messages of a
partition become one block of columns, made once, that any number of tasks take. Tasks that are rebuilt one after the
other read the same hour: `HeaderHistory` keeps the blocks of it until the last of them is done.
"""

from __future__ import annotations

import sys
import threading
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from contracts.errors import ContractError
from contracts.protocols import Log, LogError, LogReader, LogUnavailable, StoredRecord
from contracts.topics import REPORTS
from streams.decoding import Block, Decoded, block_of, decode
from streams.kernel import Ints
from streams.rows import Coded, ReportRows, check_reports, report_rows_of

_POLL_RECORDS = 1_024
_POLL_WAIT_S = 1.0
_POLL_TRIES = 30
_MOST_ROWS = 4_000_000  # in a history, about 70 bytes each


@dataclass(frozen=True, slots=True)
class Headers:
    """Records of one partition of telemetry.reports, in order. `offsets`, `timestamps` (n,); `ends` (n,): rows up to
    and with each record; `refused`: records that nobody can read, which have no rows."""

    partition: int
    offsets: Ints
    timestamps: Ints
    ends: Ints
    rows: ReportRows
    refused: tuple[Decoded, ...] = ()

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def first(self) -> int:
        """Offset of the first record."""
        return int(self.offsets[0])

    @property
    def next(self) -> int:
        """Offset after the last record."""
        return int(self.offsets[-1]) + 1

    def since(self, offset: int) -> Headers:
        """Without records below an offset; there must be one at or above it."""
        skip = int(np.searchsorted(self.offsets, offset))
        if not skip:
            return self
        gone = int(self.ends[skip - 1])
        rows = self.rows.take(np.arange(gone, int(self.ends[-1])))
        refused = tuple(d for d in self.refused if d.record.offset >= offset)
        left = slice(skip, None)
        return Headers(self.partition, self.offsets[left], self.timestamps[left], self.ends[left] - gone, rows, refused)


def headers_of(records: Sequence[StoredRecord]) -> Headers:
    """A block of records of one partition, at least one, in the order of their offsets."""
    block = _readable(records)
    if block is not None:
        return _headers(records, block.ends, report_rows_of([] if block.batch is None else [block.batch]), ())
    batches, refused, lengths = [], [], []
    for decoded in map(_checked, records):
        lengths.append(0 if decoded.batch is None else decoded.batch.num_rows)
        if lengths[-1]:
            batches.append(decoded.batch)
        if decoded.error is not None:
            refused.append(decoded)
    return _headers(records, np.cumsum(lengths), report_rows_of(batches), tuple(refused))


def _readable(records: Sequence[StoredRecord]) -> Block | None:
    """All at once, if each can be read."""
    block = block_of(records)
    if block is not None and block.batch is not None:
        try:
            check_reports(block.batch)
        except ContractError:
            return None
    return block


def _headers(records: Sequence[StoredRecord], ends: Ints, rows: ReportRows, refused: tuple[Decoded, ...]) -> Headers:
    # Blocks repeat the names of boxes: each text is held once.
    device, boot = (Coded(c.codes, [sys.intern(text) for text in c.values]) for c in (rows.device, rows.boot))
    return Headers(
        records[0].partition,
        np.array([r.offset for r in records]),
        np.array([r.timestamp_ms for r in records]),
        ends,
        ReportRows(device, boot, rows.seq, rows.start, rows.end, rows.dropped),
        refused,
    )


def blocks_of(records: Iterable[StoredRecord]) -> Iterator[Headers]:
    """Blocks of records of any partitions, one for each."""
    places: dict[int, list[StoredRecord]] = {}
    for record in records:
        places.setdefault(record.partition, []).append(record)
    return map(headers_of, places.values())


def _checked(record: StoredRecord) -> Decoded:
    decoded = decode(record)
    if decoded.batch is None:
        return decoded
    try:
        check_reports(decoded.batch)
    except ContractError as error:
        return Decoded(record, error=error)
    return decoded


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """A block and the offset from which it was read: between that and its first record there is nothing."""

    begin: int
    headers: Headers


class HeaderHistory:
    """Blocks of what lies in telemetry.reports, kept for who reads it next. Thread-safe; one at a time waits for the
    log. `decoded`: records since start."""

    def __init__(self, log: Log, *, most_rows: int = _MOST_ROWS) -> None:
        self.decoded = 0
        self._log = log
        self._most_rows = most_rows
        self._lock = threading.Lock()
        self._reader: LogReader | None = None
        self._blocks: dict[int, list[_Read]] = {}  # per partition, by `begin`
        self._oldest_first: deque[tuple[int, _Read]] = deque()
        self._rows = 0

    def at(self, starts: Mapping[int, int], partition: int) -> Headers:
        """The block with the first record of a partition at or above its offset in `starts`, cut to begin with it.
        `starts`: offsets of all partitions, from which a new reader reads. The log must have such a record. Raises
        LogUnavailable."""
        with self._lock:
            try:
                for _ in range(_POLL_TRIES):
                    found = self._find(partition, starts[partition])
                    if found is not None:
                        return found.since(starts[partition])
                    self._read(starts, partition)
            except LogError:
                self._close()
                raise
        raise LogUnavailable(f"{REPORTS.name}: expected records of partition {partition} from {starts[partition]} on")

    def forget(self) -> None:
        """Release what is held."""
        with self._lock:
            self._close()
            self._blocks.clear()
            self._oldest_first.clear()
            self._rows = 0

    def _find(self, partition: int, offset: int) -> Headers | None:
        blocks = self._blocks.get(partition, [])
        at = bisect_right(blocks, offset, key=_begin) - 1
        return blocks[at].headers if at >= 0 and offset < blocks[at].headers.next else None

    def _read(self, starts: Mapping[int, int], partition: int) -> None:
        place = (REPORTS.name, partition)
        if self._reader is None:
            self._reader = self._log.reader({(REPORTS.name, p): offset for p, offset in starts.items()})
        before = self._reader.positions()
        if before[place] != starts[partition]:
            self._reader.seek(REPORTS.name, partition, starts[partition])
            before = self._reader.positions() | {place: starts[partition]}
        for headers in blocks_of(self._reader.poll(_POLL_RECORDS, _POLL_WAIT_S)):
            self._keep(headers.partition, _Read(before[REPORTS.name, headers.partition], headers))

    def _keep(self, partition: int, read: _Read) -> None:
        self.decoded += len(read.headers)
        self._rows += len(read.headers.rows)
        insort(self._blocks.setdefault(partition, []), read, key=_begin)
        self._oldest_first.append((partition, read))
        while self._rows > self._most_rows and len(self._oldest_first) > 1:
            place, oldest = self._oldest_first.popleft()
            self._blocks[place].remove(oldest)
            self._rows -= len(oldest.headers.rows)

    def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


def _begin(read: _Read) -> int:
    return read.begin
