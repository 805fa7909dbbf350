"""The writer thread: groups what was submitted, writes it, one fsync per group, then ends the futures."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from contracts.protocols import LogError, LogFull, LogUnavailable, Record, TopicPartition
from contracts.topics import partition_of
from ingest.log import frame, segment
from ingest.log.frame import Meta
from ingest.log.state import State

RECORD_OVERHEAD_BYTES = 256  # what a waiting record costs beyond its bytes
MAX_GROUP_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class Submission:
    """The records of one submit."""

    records: Sequence[Record]
    size_bytes: int
    future: Future[list[tuple[int, int]]] = field(default_factory=Future)


@dataclass(slots=True)
class Job:
    """Something that must run between groups, when all that was submitted before is durable."""

    run: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """Sizes in bytes. `group_commit_ms`: least time between two fsyncs; a first submit after a pause never waits."""

    segment_bytes: int
    group_commit_ms: int
    max_buffered_bytes: int
    min_free_bytes: int


class Writer:
    """Owns the newest segment's file. `submit` and `run` may be called from any thread."""

    def __init__(self, state: State, settings: WriterSettings) -> None:
        self._state = state
        self._settings = settings
        self._queue: deque[Submission | Job] = deque()
        self._buffered = 0
        self._wake = threading.Condition()
        self._closing = False
        self._last_commit = -1e9
        self._file = os.open(state.segments[-1].path, os.O_WRONLY | os.O_APPEND)
        self._thread = threading.Thread(target=self._loop, name="log-writer", daemon=True)
        self._thread.start()

    def submit(self, records: Sequence[Record]) -> Future[list[tuple[int, int]]]:
        """Queue records as one frame. Raises LogUnavailable at once when closed, broken or too much is waiting."""
        size = sum(len(r.key) + len(r.value) + RECORD_OVERHEAD_BYTES for r in records)
        limit = min(self._settings.max_buffered_bytes, frame.MAX_PAYLOAD_BYTES)
        if size > limit:
            raise LogError(f"records of one call: expected at most {limit} bytes, got {size}")
        submission = Submission(records, size)
        submission.future.set_running_or_notify_cancel()  # what is on its way to disk cannot be called back
        with self._wake:
            self._check_open()
            if self._buffered + size > self._settings.max_buffered_bytes:
                raise LogUnavailable(f"{self._buffered} bytes wait for the disk already; retry later")
            self._buffered += size
            self._queue.append(submission)
            self._wake.notify_all()
        return submission.future

    def run(self, job: Callable[[], Any]) -> Future[Any]:
        """Run something in the writer thread between groups."""
        item = Job(job)
        item.future.set_running_or_notify_cancel()
        with self._wake:
            self._check_open()
            self._queue.append(item)
            self._wake.notify_all()
        return item.future

    def close(self) -> None:
        """Finish what is queued, then end the thread and mark a clean end."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join()

    def _check_open(self) -> None:
        with self._state.grown:
            self._state.check_open()
        if self._closing:
            raise LogUnavailable(f"{self._state.folder}: the log is closed")

    # --- in the writer thread ---

    def _loop(self) -> None:
        while (group := self._next_group()) is not None:
            if isinstance(group, Job):
                _finish(group.future, group.run)
            else:
                self._commit(group)
        if self._state.broken is None and self._state.segments[-1].partitions:
            segment.write_sidecar(self._state.segments[-1])
        os.close(self._file)

    def _next_group(self) -> list[Submission] | Job | None:
        with self._wake:
            while not self._queue:
                if self._closing:
                    return None
                self._wake.wait()
            due = self._last_commit + self._settings.group_commit_ms / 1000
            while not self._closing and (rest := due - time.monotonic()) > 0:
                self._wake.wait(rest)
            first = self._queue.popleft()
            if isinstance(first, Job):
                return first
            group, size = [first], first.size_bytes
            while self._queue and isinstance(item := self._queue[0], Submission):
                size += item.size_bytes
                if size > MAX_GROUP_BYTES:
                    break
                group.append(item)
                self._queue.popleft()
            return group

    def _commit(self, group: list[Submission]) -> None:
        try:
            placed = self._write([s.records for s in group])
        except Exception as error:  # whatever it was, nothing of the group was promised, and the thread must live on
            for submission in group:
                submission.future.set_exception(error)
        else:
            for submission, places in zip(group, placed, strict=True):
                submission.future.set_result(places)
            if self._state.segments[-1].size >= self._settings.segment_bytes:
                self.roll()
        finally:
            self._last_commit = time.monotonic()
            with self._wake:
                self._buffered -= sum(s.size_bytes for s in group)

    def _write(
        self, calls: Sequence[Sequence[Record]], min_free_bytes: int | None = None
    ) -> list[list[tuple[int, int]]]:
        """Write one frame per call and fsync once; publish; return (partition, offset) per record of each call."""
        with self._state.grown:
            self._state.check_open()
        newest = self._state.segments[-1]
        ends = dict(self._state.ends)
        frames: list[tuple[int, int, int, list[Meta]]] = []
        placed, data, at, group = [], [], newest.size, newest.next_frame
        for number, records in enumerate(calls, newest.next_frame):
            triples = [(r, *self._place(r, ends)) for r in records]
            encoded = frame.encode_frame(newest.head.salt, number, group, triples)
            metas = [Meta(r.topic, p, o, r.timestamp_ms, r.key, not r.value) for r, p, o in triples]
            frames.append((at, at + len(encoded), number, metas))
            placed.append([(p, o) for _, p, o in triples])
            data.append(encoded)
            at += len(encoded)
        reserve = self._settings.min_free_bytes if min_free_bytes is None else min_free_bytes
        self._check_free(at - newest.size, reserve)
        self._make_durable(newest.size, data)
        self._state.commit(newest, frames)
        return placed

    def _place(self, record: Record, ends: dict[TopicPartition, int]) -> tuple[int, int]:
        partition = record.partition
        if partition is None:
            partition = partition_of(record.key, self._state.partitions(record.topic))
        offset = ends.get((record.topic, partition), 0)
        ends[record.topic, partition] = offset + 1
        return partition, offset

    def _make_durable(self, size: int, data: list[bytes]) -> None:
        """Append bytes at the end and fsync. Leaves the file as it was when the disk is full."""
        try:
            _write_all(self._file, b"".join(data))
        except OSError as error:
            self._undo(size, error)
            kind = LogFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else LogUnavailable
            raise kind(f"{self._state.folder}: cannot write: {error.strerror}") from None
        try:
            os.fdatasync(self._file)
        except OSError as error:
            # After a failed fsync the kernel may have dropped the pages: what the file holds is unknown.
            raise self._break(f"fsync failed: {error.strerror}") from None

    def _check_free(self, needed: int, reserve: int) -> None:
        stat = os.statvfs(self._state.folder)
        free = stat.f_bavail * stat.f_frsize
        if free - needed < reserve:
            raise LogFull(
                f"{self._state.folder}: {free} bytes free, {reserve} must stay free; "
                "free some space or expire history of the log"
            )

    def _undo(self, size: int, cause: OSError) -> None:
        try:
            os.ftruncate(self._file, size)
            os.fdatasync(self._file)
        except OSError as error:
            raise self._break(f"cannot undo a failed write ({cause.strerror}): {error.strerror}") from None

    def _break(self, why: str) -> LogUnavailable:
        with self._state.grown:
            self._state.broken = f"{self._state.folder}: {why}; restart to check and reopen the log"
            self._state.grown.notify_all()
            return LogUnavailable(self._state.broken)

    def roll(self) -> None:
        """Seal the newest segment and begin another; stay with it when the disk does not allow. For jobs and the writer
        itself only."""
        try:
            segment.write_sidecar(self._state.segments[-1])
            fresh = segment.create(
                self._state.folder, self._state.segments[-1].next_frame, self._state.state_for_head()
            )
            file = os.open(fresh.path, os.O_WRONLY | os.O_APPEND)
        except OSError:
            # What was written is durable and stays in a segment longer than planned; the next group tries again.
            self._state.segments[-1].sealed = False
            self._discard_unfinished()
            return
        os.close(self._file)
        self._file = file
        with self._state.grown:
            self._state.segments.append(fresh)
            self._state.grown.notify_all()

    def _discard_unfinished(self) -> None:
        newest = self._state.segments[-1]
        for leftover in (newest.path.with_suffix(".idx"), newest.path.with_suffix(".idx.new")):
            leftover.unlink(missing_ok=True)
        for path in self._state.folder.glob("*.seg"):
            if path.name > newest.path.name:
                path.unlink(missing_ok=True)

    def append_now(self, records: Sequence[Record]) -> None:
        """Append from a job that will free more than this takes: the reserve of free space is open to it."""
        self._write([records], min_free_bytes=0)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _finish(future: Future[Any], run: Callable[[], Any]) -> None:
    try:
        future.set_result(run())
    except Exception as error:  # the caller of the job gets whatever it raised
        future.set_exception(error)
