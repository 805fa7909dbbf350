"""From the log into history: read in consistent cuts, store each identity once, keep rollups equal to what is stored.

Order of a cut: the end of telemetry.reports is noted first, the end of telemetry.slices second; the gateway appends a
report's slices no later than its header, so everything the headers promise lies before the second mark. Then dirty
marks, slices, headers, the rest, positions. Whatever is repeated after a crash at any point is recognised by its
identity, so the position may lag behind the rows but never run ahead of them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from contracts import topics
from contracts.protocols import Log, LogUnavailable, Store, TopicPartition
from contracts.times import MINUTE_MS
from history.ahead import Block, ReadAhead
from history.dirty import DirtyMinutes
from history.errors import RowsRefused
from history.feeds import Feed, Positions, Skipped
from history.identity import new_headers, new_slices
from history.known import KnownReports
from history.recompute import Recompute, RecomputeSettings
from history.records import Poison, Rows, decode_one, devices_of, joined
from history.versions import Versions

OTHER_TOPICS = (
    topics.VITALS.name,
    topics.REJECTED.name,
    topics.CHANGES.name,
    topics.QUALITY_MINUTES.name,
    topics.SIGNALS.name,
    topics.INCIDENTS.name,
    topics.INCIDENT_ACTIONS.name,
)
_SUBMIT_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class SinkSettings(RecomputeSettings):
    """Besides those of recomputation: `flush_every_ms`: how long records are left to gather into large blocks.
    `block_rows`: rows of slices or headers stored at a time (memory). `poll_records`: records per read.
    `blocks_per_step`: bound on a step that catches up."""

    flush_every_ms: int = 3_000
    block_rows: int = 200_000
    poll_records: int = 500
    blocks_per_step: int = 8


@dataclass(frozen=True, slots=True)
class SinkStep:
    """What one step did. `duplicates`: rows and headers whose identity was stored before. `poison`: records that went
    to telemetry.rejected. `caught_up`: nothing was left unread when the step ended its reading."""

    records: int = 0
    slices: int = 0
    reports: int = 0
    duplicates: int = 0
    poison: int = 0
    recomputed_minutes: int = 0
    caught_up: bool = True


class Sink:
    """Reads a log into a store. One per store; not shared between threads. Raises LogError and StoreError; after a
    retriable one `step` may be called again: it goes on from what is stored. `clock` measures durations only."""

    def __init__(
        self,
        log: Log,
        store: Store,
        settings: SinkSettings | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._log = log
        self._store = store
        self._settings = settings or SinkSettings()
        self._clock = clock
        self._sleep = sleep
        self._feeds: dict[str, Feed] = {}
        self._skipped = Skipped()
        self._last_flush: int | None = None
        self._caught_up = True
        self._stored_through = 0
        self._insert_rows_per_s = 0.0
        self._newest_end = 0
        self._newest_header = 0
        self._totals = dict.fromkeys(("slices", "reports", "duplicates", "poison"), 0)
        self._ahead = ReadAhead(self._settings.block_rows, self._settings.poll_records)
        self._open()

    def _open(self) -> None:
        """Take up what is stored: at the start, and again after a failure."""
        self._close_feeds()
        versions = Versions(self._store)
        self._dirty = DirtyMinutes(self._store, versions)
        self._recompute = Recompute(self._store, self._dirty, versions, self._settings, clock=self._clock)
        self._known = KnownReports(self._store, list(self._dirty.minutes))
        self._positions = Positions(self._store, versions)
        names = (topics.SLICES.name, topics.REPORTS.name, *OTHER_TOPICS)
        self._feeds = {name: Feed(self._log, name, self._positions.stored, self._skipped) for name in names}
        for feed in self._feeds.values():
            if feed.renewed:
                self._positions.save(feed.positions())
        self._failed = False

    def step(self, now: int, timeout_s: float = 0.0) -> SinkStep:
        """Read, store and recompute what is due at `now`. Waits up to timeout_s: for records when none are there, or
        until the next flush is due."""
        return self._guarded(lambda: self._step(now, timeout_s))

    def drain(self, now: int) -> SinkStep:
        """Read and store everything the log holds, recompute every minute that is dirty: for runs without a tail."""
        return self._guarded(lambda: self._drain(now))

    def status(self, now: int) -> dict[str, Any]:
        """Lag in records and in s (time since the newest record read, over topics with unread ones), freshness in s
        (end of the newest stored interval to now; None: nothing stored), insert speed of the last block, dirty
        minutes and how many of them ended and were never computed (`minutes_behind`), counts since the start.

        `stored_through`: everything that was in the log then is stored, ms UTC; 0 until this sink has once reached
        the ends of all partitions. The lag does not say that: it knows the newest record of a topic only."""
        lag = {name: feed.lag_records() for name, feed in self._feeds.items()}
        # Of a topic that gave nothing yet, all that is known is that it held nothing at the last flush.
        since = {name: feed.newest_read_at or self._last_flush or now for name, feed in self._feeds.items()}
        behind = [now - since[name] for name in lag if lag[name]]
        return {
            "lag_s": max(behind, default=0) / 1_000,
            "lag_records": sum(lag.values()),
            "lag_by_topic": lag,
            "skipped_records": self._skipped.records,
            "freshness_s": (now - self._newest_end) / 1_000 if self._newest_end else None,
            "insert_rows_per_s": self._insert_rows_per_s,
            "dirty_minutes": len(self._dirty),
            "minutes_behind": self._recompute.behind(now),
            "stored_through": self._stored_through,
            **self._totals,
        }

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset of every input, as saved with what is stored: what retention must not touch."""
        return dict(self._positions.stored)

    def close(self) -> None:
        """Release the cursors; nothing is lost, whatever was read and not stored is read again."""
        self._ahead.close()
        self._close_feeds()

    def _close_feeds(self) -> None:
        for feed in self._feeds.values():
            feed.close()
        self._feeds = {}

    def _guarded(self, work: Callable[[], SinkStep]) -> SinkStep:
        if self._failed:
            self._open()
        try:
            return work()
        except BaseException:
            self._failed = True
            raise

    def _step(self, now: int, timeout_s: float) -> SinkStep:
        flushed = SinkStep()
        due_in_ms = 0 if self._last_flush is None else self._last_flush + self._settings.flush_every_ms - now
        if due_in_ms > 0 and self._caught_up:
            # Records may well be there already, but they gather: looking at them again and again would only take the
            # interpreter away from those who bring more. What a flush left unread has gathered.
            self._sleep(min(timeout_s, due_in_ms / 1_000))
        else:
            self._wait(timeout_s)
            flushed = self._flush(now)
            self._last_flush = now
        # A header is read after its slices, so behind the log a minute has ended as far as headers have been read:
        # without its headers its coverage would be 0.
        reached = now if flushed.caught_up else min(now, self._newest_header)
        return replace(flushed, recomputed_minutes=self._recompute.step(now, reached))

    def _drain(self, now: int) -> SinkStep:
        total = SinkStep()
        while True:
            flushed = self._flush(now)
            total = _plus(total, flushed)
            if not any(feed.lag_records() for feed in self._feeds.values()):
                break
            if flushed.records == 0:
                raise LogUnavailable("history: the log holds records below its end but gives none")
        return replace(total, caught_up=True, recomputed_minutes=self._recompute.finish(now))

    def _wait(self, timeout_s: float) -> None:
        """Idle until a slice arrives or the time is over; the record itself is read by the next cut."""
        feed = self._feeds[topics.SLICES.name]
        if timeout_s > 0 and not any(f.lag_records() for f in self._feeds.values()):
            feed.poll(1, timeout_s, cut=[0] * self._log.partitions(feed.topic))

    def _flush(self, now: int) -> SinkStep:
        self._known.advance(now)
        headers_cut = self._log.end_offsets(topics.REPORTS.name)
        slices_cut = self._log.end_offsets(topics.SLICES.name)
        other_cuts = {name: self._log.end_offsets(name) for name in OTHER_TOPICS}
        done = self._consume(self._feeds[topics.SLICES.name], slices_cut, now)
        if done.caught_up:
            headers = self._consume(self._feeds[topics.REPORTS.name], headers_cut, now)
            done = _plus(done, headers)
            if headers.records:
                self._known.settle()
        for name, cut in other_cuts.items():
            done = _plus(done, self._consume(self._feeds[name], cut, now))
        self._positions.save(self._read())
        self._caught_up = done.caught_up
        if done.caught_up:
            self._stored_through = now
        return done

    def _read(self) -> dict[TopicPartition, int]:
        return {key: offset for feed in self._feeds.values() for key, offset in feed.positions().items()}

    def _consume(self, feed: Feed, cut: list[int], now: int) -> SinkStep:
        """Store a topic's records up to a cut, a block at a time; `caught_up` tells whether the cut was reached."""
        total = SinkStep()
        with contextlib.closing(self._ahead.blocks(feed, cut, self._settings.blocks_per_step)) as blocks:
            for block in blocks:
                if block.records:
                    total = _plus(total, self._store_block(block, now))
                if not block.rest:
                    return total
                if block.records:
                    self._positions.save(block.positions)
        return replace(total, caught_up=False)

    def _store_block(self, block: Block, now: int) -> SinkStep:
        counts = {"slices": 0, "reports": 0, "duplicates": 0}
        poison = list(block.decoded.poison)
        for table, parts in block.decoded.tables.items():
            poison.extend(self._store_parts(table, parts, block.rows[table], counts, now))
        if poison:
            futures = self._log.submit([p.as_rejected(now) for p in poison])
            futures.result(_SUBMIT_TIMEOUT_S)
        for name, n in (*counts.items(), ("poison", len(poison))):
            self._totals[name] += n
        return SinkStep(block.records, counts["slices"], counts["reports"], counts["duplicates"], len(poison))

    def _store_parts(
        self, table: str, parts: Sequence[Rows], rows: pa.Table, counts: dict[str, int], now: int
    ) -> list[Poison]:
        """Store rows; where the store refuses them, store record by record and name the one it refuses. A store that
        fails in any other way says nothing of the rows: the step fails, and they are read again."""
        try:
            self._store_rows(table, rows, counts, now)
        except RowsRefused as error:
            records = [record for part in parts for record in part.records]
            if len(records) == 1:
                return [Poison(records[0], "refused_by_store", str(error))]
            self._known = KnownReports(self._store, list(self._dirty.minutes))
            single = [decode_one(record).tables.get(table) for record in records]
            return [p for part in single if part for p in self._store_parts(table, part, joined(part), counts, now)]
        return []

    def _store_rows(self, table: str, rows: pa.Table, counts: dict[str, int], now: int) -> None:
        if table == "slices":
            new = new_slices(rows, self._known, self._store)
        elif table == "reports":
            new = new_headers(rows, self._known)
        else:
            self._store.insert(table, rows)
            return
        counts["duplicates"] += int(np.count_nonzero(~new))
        rows = rows if new.all() else rows.filter(pa.array(new))
        if rows.num_rows == 0:
            return
        minutes = np.unique(rows["start"].to_numpy() // MINUTE_MS * MINUTE_MS).tolist()
        self._dirty.mark(minutes, now)
        begin = self._clock()
        self._store.insert(table, rows)
        if table == "slices":
            self._insert_rows_per_s = rows.num_rows / max(self._clock() - begin, 1e-6)
        else:
            self._store.insert("devices", devices_of(rows))
            self._newest_header = max(self._newest_header, int(np.max(rows["received_at"].to_numpy())))
        counts[table] += rows.num_rows
        self._recompute.saw(minutes)
        self._newest_end = max(self._newest_end, int(np.max(rows["end"].to_numpy())))


def _plus(a: SinkStep, b: SinkStep) -> SinkStep:
    return SinkStep(
        records=a.records + b.records,
        slices=a.slices + b.slices,
        reports=a.reports + b.reports,
        duplicates=a.duplicates + b.duplicates,
        poison=a.poison + b.poison,
        caught_up=a.caught_up and b.caught_up,
    )
