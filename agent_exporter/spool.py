"""The spool: reports that wait for their acknowledgement, and the agent's state, in one atomic commit per tick.

A commit appends the tick's reports and then, twice, the state: which reports are still to be sent, what was dropped,
and whatever the agent wants back after a crash (log positions, totals). A commit without a whole state record never
happened. Everything else follows from the newest state: it names the reports that wait (those found missing are
corrupt, and declared), and what is in older segments and not named is done with.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent_exporter.entries import Boot, Drops, Entry, entry_of, pack_reports, spans, split
from agent_exporter.errors import SpoolError
from agent_exporter.ranges import Runs
from agent_exporter.records import REPORT, STATE, pack, scan, unpack
from agent_exporter.segments import Segments
from contracts.report import DROP_SPOOL_CORRUPT, DROP_SPOOL_FULL, MAX_EARLIER_BOOTS, EarlierBoot

MIN_SEGMENT_BYTES = 128 * 1024
SEGMENTS_PER_SPOOL = 16


class Spool:
    """Bounded queue on disk. One thread commits, another sends; both may call at any time."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o750)
        self._segments = Segments(directory)
        self._max_bytes = max_bytes
        self._segment_bytes = max(MIN_SEGMENT_BYTES, max_bytes // SEGMENTS_PER_SPOOL)
        self._lock = threading.Lock()
        self._queue: deque[Entry] = deque()  # oldest first; settled ones are dropped from the left
        # The same reports by name and by segment, so that a tick's work does not grow with the spool.
        self._names: dict[str, Runs] = {}
        self._in_segment: Counter[int] = Counter()
        self._live: Entry | None = None
        self._commit = 0
        self._boots: dict[str, Boot] = {}
        self._boot = ""
        self.state: dict[str, Any] = {}  # the agent's part of the newest commit; empty on a first start
        self.damaged = False  # bytes were found at the start that are no record
        self._recover()

    # -- what the collector needs ------------------------------------------------------------------------------

    def begin_boot(self, boot: str) -> None:
        """Say which boot the coming commits belong to."""
        with self._lock:
            self._boot = boot
            self._boots[boot] = Boot()

    def dropped(self) -> dict[str, Drops]:
        """Drops of the running boot by cause, for its totals."""
        with self._lock:
            return {cause: Drops(d.reports, d.requests, d.slices) for cause, d in self._boots[self._boot].drops.items()}

    def oldest_seq(self) -> int | None:
        """Oldest seq of the running boot that waits."""
        with self._lock:
            return self._names[self._boot].first if self._boot in self._names else None

    def earlier_boots(self, seq: int) -> list[EarlierBoot]:
        """What to say of earlier boots in the running boot's report `seq`, oldest boots first."""
        with self._lock:
            result = []
            for boot, known in [(b, k) for b, k in self._boots.items() if b != self._boot][:MAX_EARLIER_BOOTS]:
                oldest = self._names[boot].first if boot in self._names else None
                if oldest is None:
                    known.closed_by = known.closed_by or seq
                total, said = known.total(), known.declared
                result.append(
                    EarlierBoot(
                        boot,
                        oldest,
                        total.reports - said.reports,
                        total.requests - said.requests,
                        total.slices - said.slices,
                    )
                )
            return result

    def commit(
        self, reports: list[tuple[Entry, bytes]], state: dict[str, Any], declared: dict[str, Drops] | None
    ) -> None:
        """Keep a tick: its reports and the agent's state, durably, or nothing of it (SpoolError).

        `declared`: the `dropped()` that the newest report's totals were made from; None without a report. Drops the
        oldest segments when the spool would outgrow its limit.
        """
        with self._lock:
            self._commit += 1
            offsets, body = pack_reports(reports, self._commit)
            before = self._boots[self._boot].declared
            if declared is not None:
                self._boots[self._boot].declared = Boot(declared).total()
            try:
                self._append(reports, offsets, body, state)
            except OSError as error:
                self._boots[self._boot].declared = before
                raise SpoolError(f"spool: cannot write: {error.strerror or error}") from error
            self.state = state
            for entry, _ in reports:
                self._enqueue(entry)
            self._live = next((e for e, _ in reversed(reports) if e.live), self._live)
            self._remove_finished_segments()

    def _append(self, reports: list[tuple[Entry, bytes]], offsets: list[int], body: bytes, state: Any) -> None:
        size_of_state = 2 * len(self._pack_state(reports, state))
        need = len(body) + size_of_state
        newest = self._segments.newest
        if newest == 0 or (self._segments.sizes[newest] and self._segments.sizes[newest] + need > self._segment_bytes):
            self._segments.begin(newest + 1)
        self._evict(need)
        packed = self._pack_state(reports, state)  # again: eviction changed what waits
        base = self._segments.append(body, packed + packed)
        for (entry, _), (offset, size) in zip(reports, spans(offsets), strict=True):
            entry.segment, entry.offset, entry.size = self._segments.newest, base + offset, size

    def _evict(self, need: int) -> None:
        """Drop the oldest segments until `need` bytes fit. Their files go after the commit that says so."""
        room = self._max_bytes - need - self._segments.total_bytes
        for number, size in list(self._segments.sizes.items())[:-1]:
            if room >= 0:
                return
            room += size
            for entry in self._queue:
                if entry.segment == number and not entry.settled:
                    self._drop_entry(entry)

    def _enqueue(self, entry: Entry) -> None:
        self._queue.append(entry)
        self._names.setdefault(entry.boot, Runs()).add(entry.seq)
        self._in_segment[entry.segment] += 1

    def _dequeue(self, entry: Entry) -> None:
        """It waits no more. The queue itself is cleared from the left, when it is looked at."""
        if entry.settled:
            return
        entry.settled = True
        self._in_segment[entry.segment] -= 1
        self._forget_name(entry.boot, entry.seq)

    def _drop_entry(self, entry: Entry) -> None:
        self._dequeue(entry)
        if entry.in_flight:
            entry.evicted = True  # declared when the attempt fails
        else:
            self._boots[entry.boot].drop(DROP_SPOOL_FULL, entry.requests, entry.slices)

    def _pack_state(self, reports: list[tuple[Entry, bytes]], state: Any) -> bytes:
        waiting = {boot: Runs(names.to_list()) for boot, names in self._names.items()}
        for entry, _ in reports:
            waiting.setdefault(entry.boot, Runs()).add(entry.seq)
        document = {
            "waiting": {boot: names.to_list() for boot, names in waiting.items()},
            "reports": [[e.boot, e.seq, e.requests, e.slices] for e, _ in reports],
            "boots": {boot: known.to_dict() for boot, known in self._boots.items()},
            "agent": state,
        }
        text = json.dumps(document, separators=(",", ":")).encode()
        return pack(STATE, self._commit, zlib.compress(text, 1))

    def _remove_finished_segments(self) -> None:
        """Segments without a waiting report, the newest excepted: it holds the state."""
        for number in list(self._segments.sizes)[:-1]:
            if not self._in_segment[number]:
                self._segments.remove(number)
                del self._in_segment[number]

    # -- what the sender needs ---------------------------------------------------------------------------------

    def live(self) -> Entry | None:
        """The newest interval's report while it waits and is not being sent."""
        with self._lock:
            entry = self._live
            return entry if entry is not None and not entry.settled and not entry.in_flight else None

    def backlog(self) -> Entry | None:
        """The oldest waiting report other than the live one."""
        with self._lock:
            return next((e for e in self._waiting() if e is not self._live), None)

    def take(self, entry: Entry) -> bytes | None:
        """The body of a report about to be sent, which must be settled or released afterwards. None: its record has
        rotted on disk (declared), or it was dropped meanwhile."""
        with self._lock:
            if entry.settled:
                return None
            body = self._read(entry)
            if body is None:
                self._dequeue(entry)
                self._boots[entry.boot].drop(DROP_SPOOL_CORRUPT, entry.requests, entry.slices)
            else:
                entry.in_flight = True
            return body

    def _read(self, entry: Entry) -> bytes | None:
        try:
            record = unpack(self._segments.read_at(entry.segment, entry.offset, entry.size))
        except OSError:
            return None
        return None if record is None else split(record.payload)[1]

    def settle(self, entry: Entry) -> None:
        """The server has the report, or has refused and counted it."""
        with self._lock:
            entry.in_flight = entry.evicted = False
            self._dequeue(entry)
            if entry.boot == self._boot:
                done = [b for b, known in self._boots.items() if 0 < known.closed_by <= entry.seq]
                for boot in done:
                    del self._boots[boot]

    def release(self, entry: Entry) -> None:
        """The attempt failed: the report goes on waiting, unless it was dropped for space meanwhile."""
        with self._lock:
            entry.in_flight = False
            if entry.evicted:
                entry.evicted = False
                known = self._boots[entry.boot]
                known.drop(DROP_SPOOL_FULL, entry.requests, entry.slices)
                known.closed_by = 0  # what was said of it is no longer all

    # -- figures -----------------------------------------------------------------------------------------------

    def waiting(self) -> int:
        """How many reports wait."""
        with self._lock:
            return sum(self._in_segment.values())

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return self._segments.total_bytes

    @property
    def written_bytes(self) -> int:
        """Bytes written by this process."""
        return self._segments.written_bytes

    def close(self) -> None:
        """Close the files. Nothing more is written."""
        self._segments.close()

    def _waiting(self) -> Iterator[Entry]:
        while self._queue and self._queue[0].settled:
            self._queue.popleft()
        return (entry for entry in self._queue if not entry.settled)

    # -- recovery ----------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        newest, at, end = b"", 0, 0
        for number in self._segments.sizes:
            whole = 0
            for record in scan(self._segments.read(number)):
                whole += record.size
                if record.kind == STATE and record.commit >= self._commit:
                    newest, self._commit, at, end = record.payload, record.commit, number, record.offset + record.size
            self.damaged = self.damaged or whole != self._segments.sizes[number]
        if newest:
            self._restore(json.loads(zlib.decompress(newest)))
        self._cut_after(at, end)

    def _restore(self, document: dict[str, Any]) -> None:
        """Find the records of what waits, newest first: a name twice is a commit that failed and was made again."""
        self.state = document["agent"]
        self._boots = {boot: Boot.from_dict(known) for boot, known in document["boots"].items()}
        self._names = {boot: Runs(runs) for boot, runs in document["waiting"].items()}
        missing = {boot: Runs(runs) for boot, runs in document["waiting"].items()}
        for number in reversed(self._segments.sizes):
            for record in reversed(list(scan(self._segments.read(number)))):
                if record.kind != REPORT:
                    continue
                entry = entry_of(record.payload)
                if entry.boot in missing and missing[entry.boot].remove(entry.seq):
                    entry.segment, entry.offset, entry.size = number, record.offset, record.size
                    self._queue.appendleft(entry)
                    self._in_segment[number] += 1
        lost = {(boot, seq) for boot, runs in missing.items() for seq in runs}
        if lost:
            self._declare_rotten(lost)

    def _declare_rotten(self, lost: set[tuple[str, int]]) -> None:
        """Drop what the newest state names and no record holds. The state of its commit says what was in it."""
        counts: dict[tuple[str, int], tuple[int, int]] = {}
        for number in self._segments.sizes:
            for record in scan(self._segments.read(number)):
                if record.kind == STATE:
                    reports = json.loads(zlib.decompress(record.payload))["reports"]
                    counts.update({(b, seq): (r, n) for b, seq, r, n in reports if (b, seq) in lost})
        for boot, seq in sorted(lost):
            self._boots[boot].drop(DROP_SPOOL_CORRUPT, *counts.get((boot, seq), (0, 0)))
            self._forget_name(boot, seq)

    def _forget_name(self, boot: str, seq: int) -> None:
        names = self._names[boot]
        names.remove(seq)
        if names.first is None:
            del self._names[boot]

    def _cut_after(self, at: int, end: int) -> None:
        """Remove what was written after the newest state: a commit that never became whole."""
        for number in list(self._segments.sizes):
            if number > at:
                self._segments.remove(number)
            elif number == at and self._segments.sizes[number] > end:
                self._segments.cut(number, end)


def newest_state(directory: Path) -> dict[str, Any] | None:
    """The newest commit's document (`waiting`, `boots`, `agent`), read without changing anything; None: no commit."""
    segments = Segments(directory)
    newest = None
    at = -1
    for number in segments.sizes:
        for record in scan(segments.read(number)):
            if record.kind == STATE and record.commit >= at:
                newest, at = record.payload, record.commit
    return None if newest is None else json.loads(zlib.decompress(newest))
