"""A cursor over partitions: scans the log once for all of them, in the order in which records were appended."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping

from contracts.protocols import StoredRecord, TopicPartition
from ingest.log import frame
from ingest.log.errors import corrupt
from ingest.log.segment import Segment
from ingest.log.state import State

CHUNK_BYTES = 1024 * 1024


class Reader:
    """Implements contracts.protocols.LogReader. Not shared between threads."""

    def __init__(self, state: State, start: Mapping[TopicPartition, int]) -> None:
        self._state = state
        self._positions: dict[TopicPartition, int] = {}
        self._scan_from: dict[tuple[bytes, int], int] = {}  # what a frame is filtered with, ahead of positions
        self._ready: deque[StoredRecord] = deque()
        self._file: int | None = None
        self._segment: Segment | None = None
        self._at = 0
        self._chunk = b""
        self._chunk_at = 0
        for (topic, partition), offset in start.items():
            self._set(topic, partition, offset)
        self._restart()

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset to be read, per partition."""
        return dict(self._positions)

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Continue a partition at an offset; one that is no longer kept continues at the oldest kept."""
        self._set(topic, partition, offset)
        self._restart()

    def poll(self, max_records: int, timeout_s: float) -> list[StoredRecord]:
        """Next records, at most max_records; empty when none has come within timeout_s. The timeout is for waiting:
        what is already there is found however far away it lies. Raises LogCorrupt, LogUnavailable."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._state.grown:
                self._state.check_open()
            self._fill(max_records)
            if self._ready:
                return [self._deliver() for _ in range(min(max_records, len(self._ready)))]
            left = deadline - time.monotonic()
            if left <= 0:
                return []
            self._wait(left)

    def close(self) -> None:
        """Release the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._ready.clear()

    # --- positions ---

    def _set(self, topic: str, partition: int, offset: int) -> None:
        partitions = self._state.partitions(topic)
        if not 0 <= partition < partitions:
            raise ValueError(f"partition of {topic}: expected 0..{partitions - 1}, got {partition}")
        with self._state.grown:
            self._positions[topic, partition] = max(offset, self._state.start((topic, partition)))

    def _restart(self) -> None:
        """Scan from the positions again."""
        self._ready.clear()
        self._scan_from = {(topic.encode(), p): offset for (topic, p), offset in self._positions.items()}
        with self._state.grown:
            places = [self._state.locate(place, offset) for place, offset in self._positions.items()]
            first_frame, at = min(places, default=(self._state.segments[-1].first_frame, 0))
            self._open(self._state.segment_at(first_frame), at)

    def _deliver(self) -> StoredRecord:
        record = self._ready.popleft()
        self._positions[record.topic, record.partition] = record.offset + 1
        return record

    # --- scanning ---

    def _open(self, segment: Segment, at: int) -> None:
        """Go to a place in a kept segment. Under the lock, so that it is not deleted before it is open."""
        if segment is not self._segment or self._file is None:
            if self._file is not None:
                os.close(self._file)
                self._file = None
            self._file = os.open(segment.path, os.O_RDONLY)
            self._segment = segment
        self._at = max(at, segment.head.size)
        self._chunk, self._chunk_at = b"", self._at

    def _fill(self, max_records: int) -> None:
        """Scan until enough is ready, something is ready at the end of a chunk, or the log ends."""
        while len(self._ready) < max_records and self._next_frame():
            if self._ready and self._at >= self._chunk_at + len(self._chunk):
                return

    def _next_frame(self) -> bool:
        """Take the next durable frame's wanted records; False when there is none."""
        while True:
            segment = self._segment
            assert segment is not None
            with self._state.grown:
                limit = segment.size
                if self._at < limit:
                    break
                following = self._state.segment_after(segment)
                if following is None:
                    return False
                self._open(following, 0)
        relative = self._load(limit)
        checked = frame.check_frame(self._chunk, relative, segment.head.salt)
        if checked is None:
            raise corrupt(segment.path, self._at, "a frame fails its checksum")
        end = checked[2]
        for record in frame.wanted(self._chunk, relative, end, self._scan_from):
            self._scan_from[record.topic.encode(), record.partition] = record.offset + 1
            self._ready.append(record)
        self._at += end - relative
        return True

    def _load(self, limit: int) -> int:
        """Have the frame at the cursor in the chunk; returns its place there."""
        assert self._file is not None
        relative = self._at - self._chunk_at
        size = frame.frame_size(self._chunk, relative)
        if size is None or relative + size > len(self._chunk):
            ahead = min(CHUNK_BYTES, limit - self._at)
            chunk = os.pread(self._file, ahead, self._at)
            size = frame.frame_size(chunk, 0)
            if size is not None and size > len(chunk):
                chunk = os.pread(self._file, min(size, limit - self._at), self._at)
            self._chunk, self._chunk_at, relative = chunk, self._at, 0
        return relative

    def _wait(self, timeout_s: float) -> None:
        """Until something may be new, the log ends, or the timeout."""
        segment = self._segment
        assert segment is not None
        with self._state.grown:
            self._state.grown.wait_for(
                lambda: (
                    self._state.closed
                    or self._state.broken is not None
                    or segment.size > self._at
                    or self._state.segment_after(segment) is not None
                ),
                timeout_s,
            )
