"""EmbeddedLog: contracts.protocols.Log in one process, on one folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Self

from contracts.protocols import LogError, LogUnavailable, Record, TopicPartition
from ingest.log import retention
from ingest.log.errors import LogLocked
from ingest.log.reader import Reader
from ingest.log.state import State
from ingest.log.writer import Writer, WriterSettings

MIB = 1024 * 1024


class EmbeddedLog:
    """A durable log for all topics in a folder; one process at a time, any number of threads.

    `partitions`: of topics that do not state their own; fixed when the log is made. `group_commit_ms`: least time
    between two fsyncs. `max_buffered_bytes`: waiting for the disk before submit refuses. `min_free_bytes`: space that
    stays free on the disk. Raises LogLocked, LogCorrupt (see ingest.log.salvage) and LogError on opening.
    """

    atomic = True  # one call is one frame under one checksum

    def __init__(
        self,
        path: Path,
        *,
        partitions: int = 4,
        segment_bytes: int = 64 * MIB,
        group_commit_ms: int = 50,
        max_buffered_bytes: int = 64 * MIB,
        min_free_bytes: int = 256 * MIB,
    ) -> None:
        if partitions < 1:
            raise LogError(f"log.partitions: expected at least 1, got {partitions}")
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = lock(path)
        try:
            self._state = State(path, partitions)
            self._state.load()
            settings = WriterSettings(segment_bytes, group_commit_ms, max_buffered_bytes, min_free_bytes)
            self._writer = Writer(self._state, settings)
        except BaseException:
            os.close(self._lock)
            raise

    def partitions(self, topic: str) -> int:
        """Number of partitions of a topic. Raises LogError for an undeclared one."""
        return self._state.partitions(topic)

    def submit(self, records: Sequence[Record]) -> Future[list[tuple[int, int]]]:
        """Append as one frame, all or none; the future ends when it is durable, with (partition, offset) per record.
        Raises LogUnavailable at once when closed or too much is waiting, LogError for a record that cannot be placed;
        the future raises LogFull when the disk is full."""
        for record in records:
            partitions = self._state.partitions(record.topic)
            if record.partition is not None and not 0 <= record.partition < partitions:
                raise LogError(f"partition of {record.topic}: expected 0..{partitions - 1}, got {record.partition}")
        if not records:
            done: Future[list[tuple[int, int]]] = Future()
            done.set_result([])
            return done
        return self._writer.submit(list(records))

    def reader(self, start: Mapping[TopicPartition, int]) -> Reader:
        """A reader of the given partitions from the given offsets; an offset before the oldest kept starts there."""
        with self._state.grown:
            self._state.check_open()
        return Reader(self._state, start)

    def start_offsets(self, topic: str) -> list[int]:
        """Oldest kept offset per partition."""
        with self._state.grown:
            return [self._state.start((topic, p)) for p in range(self.partitions(topic))]

    def end_offsets(self, topic: str) -> list[int]:
        """Next offset to be written per partition, of what is durable."""
        with self._state.grown:
            return [self._state.ends.get((topic, p), 0) for p in range(self.partitions(topic))]

    def offsets_for_time(self, topic: str, time_ms: int) -> list[int]:
        """Per partition, the first offset whose timestamp is at or after a time; the end offset when none is."""
        return [self._offset_for_time((topic, p), time_ms) for p in range(self.partitions(topic))]

    def _offset_for_time(self, place: TopicPartition, time_ms: int) -> int:
        with self._state.grown:
            self._state.check_open()
            end = self._state.ends.get(place, 0)
            for segment in self._state.segments:
                index = segment.partitions.get(place)
                if index is not None and index.max_timestamp >= time_ms:
                    offset = segment.offset_before_time(place, time_ms)
                    break
            else:
                return end
        reader = Reader(self._state, {place: offset})
        try:
            while records := reader.poll(64, 0):
                for record in records:
                    if record.timestamp_ms >= time_ms:
                        return record.offset
            return end
        finally:
            reader.close()

    def expire(self, before_ms: int, keep: Mapping[TopicPartition, int]) -> int:
        """Delete the oldest segments whose records are all older than a time and below every position in `keep`
        (partitions that are not in it keep nothing); returns how many. The newest record per key of compacted topics
        survives: it is appended again. Raises LogError."""
        run = self._writer.run(lambda: retention.expire(self._state, self._writer, before_ms, keep))
        return int(run.result())

    def size_bytes(self) -> int:
        """Bytes of all segments on disk, without their sidecars."""
        with self._state.grown:
            return sum(segment.size for segment in self._state.segments)

    def flush(self) -> None:
        """Wait until all that was submitted is durable or has failed."""
        self._writer.run(lambda: None).result()

    def close(self) -> None:
        """Finish what was submitted, wake and end readers, release the folder. Closing twice is harmless."""
        if self._state.closed:
            return
        self._writer.close()
        with self._state.grown:
            self._state.closed = True
            self._state.grown.notify_all()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def lock(path: Path) -> int:
    """Descriptor that holds the folder's lock until it is closed. Raises LogLocked naming the holder."""
    file = path / "lock"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise LogLocked(
            f"{path}: the log is open in process {holder}; one process at a time may use it. Stop that one, or use "
            "another data directory"
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise LogUnavailable(f"{file}: cannot lock: {error.strerror}") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
