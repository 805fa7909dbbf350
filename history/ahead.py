"""Blocks of a topic, read and decoded one ahead of the caller: while a block is stored, which is waiting for the
engine, a thread reads the next. Decompression and joining hold no interpreter lock, so both go on at once."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from contracts.protocols import TopicPartition
from history.feeds import Feed
from history.records import Decoded, decode, joined

_POLL_TIMEOUT_S = 1.0
_FIRST_RECORDS = 8  # until it is known how many rows a record of the topic holds


@dataclass(frozen=True, slots=True)
class Block:
    """`records`: how many were read. `rows`: joined rows by table. `positions`: of the feed after the block. `rest`:
    records up to the cut that were not read yet."""

    records: int
    decoded: Decoded
    rows: Mapping[str, pa.Table]
    positions: Mapping[TopicPartition, int]
    rest: int


class ReadAhead:
    """Reads feeds, one at a time. `block_rows`: about how many rows a block has. A record holds one row or tens of
    thousands, so it is learned per topic how many records that is. `poll_records`: the most to ask for at once."""

    def __init__(self, block_rows: int, poll_records: int) -> None:
        self._block_rows = block_rows
        self._poll_records = poll_records
        self._rows_per_record: dict[str, float] = {}
        self._thread = ThreadPoolExecutor(1, "history-read-ahead")

    def blocks(self, feed: Feed, cut: list[int], most: int) -> Generator[Block, None, None]:
        """Up to `most` blocks before a cut; the last one read has no `rest` or no records. Close the iterator before
        the feed is used again."""
        pending: Future[Block] | None = self._thread.submit(self._block, feed, cut)
        try:
            for left in reversed(range(most)):
                assert pending is not None
                block = pending.result()
                pending = None
                if left and block.records and block.rest:
                    pending = self._thread.submit(self._block, feed, cut)
                yield block
                if pending is None:
                    return
        finally:
            if pending is not None and not pending.cancel():
                with contextlib.suppress(Exception):  # nobody wants the block, nor why there is none
                    pending.result()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True)

    def _block(self, feed: Feed, cut: list[int]) -> Block:
        decoded = Decoded()
        records = rows = 0
        while rows < self._block_rows and feed.before(cut):
            polled = feed.poll(self._wanted(feed.topic, self._block_rows - rows), _POLL_TIMEOUT_S, cut)
            if not polled:
                break
            part = decode(polled)
            decoded.poison.extend(part.poison)
            got = 0
            for table, parts in part.tables.items():
                decoded.tables.setdefault(table, []).extend(parts)
                got += sum(rows.batch.num_rows for rows in parts)
            records += len(polled)
            rows += got
            # Large records among small ones, or among heartbeats, must not be forgotten at once.
            self._rows_per_record[feed.topic] = max(
                got / len(polled), self._rows_per_record.get(feed.topic, 1.0) * 0.5, 1.0
            )
        whole = {table: joined(parts) for table, parts in decoded.tables.items()}
        return Block(records, decoded, whole, feed.positions(), feed.before(cut))

    def _wanted(self, topic: str, rows: int) -> int:
        known = self._rows_per_record.get(topic)
        records = _FIRST_RECORDS if known is None else int(rows / known) + 1
        return min(records, self._poll_records)
