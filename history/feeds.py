"""The sink's place in the log: a cursor per topic, its saved position, and how far behind it is."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from contracts.protocols import Log, Store, StoredRecord, TopicPartition
from history.versions import Versions

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


class Feed:
    """One topic's cursor. `skipped`: records that the log let go before they were read. `renewed`: the saved position
    lies beyond the log's end, so this is another log than the one it was saved for (history restored beside a new one):
    it is read from its beginning, where the old position would pass over new records in silence. `newest_read_at`:
    gateway's clock at the newest record read, ms UTC; 0 before the first."""

    def __init__(self, log: Log, topic: str, stored: Mapping[TopicPartition, int]) -> None:
        self.topic = topic
        self._log = log
        oldest, ends = log.start_offsets(topic), log.end_offsets(topic)
        saved = [stored.get((topic, p), offset) for p, offset in enumerate(oldest)]
        self.renewed = any(want > end for want, end in zip(saved, ends, strict=True))
        wanted = oldest if self.renewed else saved
        self.skipped = sum(max(0, have - want) for have, want in zip(oldest, wanted, strict=True))
        self._next = [max(have, want) for have, want in zip(oldest, wanted, strict=True)]
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
        taken = []
        beyond = set()
        for record in records:
            if cut is not None and record.offset >= cut[record.partition]:
                beyond.add(record.partition)
            else:
                taken.append(record)
                self._next[record.partition] = record.offset + 1
                self.newest_read_at = max(self.newest_read_at, record.timestamp_ms)
        for partition in beyond:
            self._reader.seek(self.topic, partition, self._next[partition])
        return taken

    def close(self) -> None:
        """Release the cursor."""
        self._reader.close()
