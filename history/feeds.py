"""The sink's place in the log: a cursor per topic, its saved position, and how far behind it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pyarrow as pa

from contracts.protocols import Log, Store, StoredRecord, TopicPartition
from contracts.topics import BY_NAME
from history.versions import Versions

logger = logging.getLogger(__name__)

_LOAD = "SELECT topic, partition, next FROM positions FINAL"


class Positions:
    """Next offsets to read, as stored."""

    def __init__(self, store: Store, versions: Versions) -> None:
        self._store = store
        self._versions = versions
        rows = store.query(_LOAD)
        keys = zip(rows["topic"], rows["partition"], strict=True)
        self.stored: dict[TopicPartition, int] = dict(zip(keys, rows["next"], strict=True))

    def save(self, positions: Mapping[TopicPartition, int]) -> None:
        """Store those that moved; call after everything before them is stored."""
        moved = {key: offset for key, offset in positions.items() if self.stored.get(key) != offset}
        if moved:
            columns = {
                "topic": [topic for topic, _ in moved],
                "partition": [partition for _, partition in moved],
                "next": list(moved.values()),
                "stamp": pa.array([self._versions.next()] * len(moved), pa.uint64()),
            }
            self._store.insert("positions", pa.table(columns))
            self.stored.update(moved)


class Skipped:
    """Records that the log let go before they were read: each counted once, however often a feed is opened anew.

    A gap in the offsets means loss: only compaction, transactions' markers and records of aborted ones leave gaps by
    themselves, and what the sink reads is written without transactions. Compacted topics say nothing and are not
    counted: what they let go of is superseded."""

    def __init__(self) -> None:
        self.records = 0
        self._through: dict[TopicPartition, int] = {}

    def note(self, topic: str, partition: int, first: int, following: int) -> None:
        """Offsets from `first` to before `following` were not there when they were to be read."""
        first = max(first, self._through.get((topic, partition), first))
        if following <= first or BY_NAME[topic].compacted:
            return
        self.records += following - first
        self._through[topic, partition] = following
        logger.error(
            "history: %s partition %d: %d records lost, offsets %d to %d: the log let them go before they were read",
            topic, partition, following - first, first, following - 1,
        )  # fmt: skip

    def renew(self, topic: str) -> None:
        """The topic is that of another log now: its offsets begin anew."""
        self._through = {place: offset for place, offset in self._through.items() if place[0] != topic}


class Feed:
    """One topic's cursor. `skipped`: records that the log let go before they were read; feeds may share one. `renewed`:
    the saved position lies beyond the log's end, so this is another log than the one it was saved for (history restored
    beside a new one): it is read from its beginning, where the old position would pass over new records in silence.
    `newest_read_at`: gateway's clock at the newest record read, ms UTC; 0 before the first."""

    def __init__(
        self, log: Log, topic: str, stored: Mapping[TopicPartition, int], skipped: Skipped | None = None
    ) -> None:
        self.topic = topic
        self.skipped = Skipped() if skipped is None else skipped
        self._log = log
        oldest, ends = log.start_offsets(topic), log.end_offsets(topic)
        saved = [stored.get((topic, p), offset) for p, offset in enumerate(oldest)]
        self.renewed = any(want > end for want, end in zip(saved, ends, strict=True))
        if self.renewed:
            self.skipped.renew(topic)
        self._next = oldest if self.renewed else saved
        self._pass_over(oldest)
        self.newest_read_at = 0
        self._reader = log.reader({(topic, p): offset for p, offset in enumerate(self._next)})

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset per partition."""
        return {(self.topic, p): offset for p, offset in enumerate(self._next)}

    def lag_records(self) -> int:
        """Records in the log that were not read yet."""
        return self.before(self._log.end_offsets(self.topic))

    def before(self, cut: list[int]) -> int:
        """Records up to a cut that were not read yet."""
        return sum(max(0, end - at) for end, at in zip(cut, self._next, strict=True))

    def poll(self, max_records: int, timeout_s: float, cut: list[int] | None = None) -> list[StoredRecord]:
        """Next records; with a cut, none at or beyond it."""
        records = self._reader.poll(max_records, timeout_s)
        if not records and cut is not None and self.before(cut):
            self._pass_over(self._log.start_offsets(self.topic))  # what is missing may be gone, with nothing after it
        taken = []
        beyond = set()
        for record in records:
            if cut is not None and record.offset >= cut[record.partition]:
                beyond.add(record.partition)
            else:
                taken.append(record)
                self.skipped.note(self.topic, record.partition, self._next[record.partition], record.offset)
                self._next[record.partition] = record.offset + 1
                self.newest_read_at = max(self.newest_read_at, record.timestamp_ms)
        for partition in beyond:
            self._reader.seek(self.topic, partition, self._next[partition])
        return taken

    def _pass_over(self, oldest: list[int]) -> None:
        """Go on at the oldest kept where that lies beyond what was to be read next; readers do so by themselves."""
        for partition, offset in enumerate(oldest):
            if offset > self._next[partition]:
                self.skipped.note(self.topic, partition, self._next[partition], offset)
                self._next[partition] = offset

    def close(self) -> None:
        """Release the cursor."""
        self._reader.close()
