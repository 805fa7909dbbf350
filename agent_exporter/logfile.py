"""One log file being read: its lines, and the position from which reading goes on after a crash."""

from __future__ import annotations

import contextlib
import gzip
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

MAX_LINE_BYTES = 64 * 1024
BLOCK_BYTES = 64 * 1024
HEAD_BYTES = 256
TAIL_BYTES = 64

SAME = "same"
SHORTENED = "shortened"  # the same beginning, but what was read last is gone
REPLACED = "replaced"  # another content altogether


@dataclass(slots=True)
class Position:
    """How far a file was read. Checksums of its first bytes and of the bytes before `offset` tell whether a file
    found later is still the same one: inodes are reused, and a power cut shortens files."""

    inode: int
    offset: int = 0
    head_length: int = 0
    head_crc: int = 0
    tail_length: int = 0
    tail_crc: int = 0
    skipping: bool = False  # inside an overlong line
    current: bool = True  # the file the log's path names; otherwise rotated away

    def to_list(self) -> list[int]:
        """For the spool."""
        return [
            self.inode,
            self.offset,
            self.head_length,
            self.head_crc,
            self.tail_length,
            self.tail_crc,
            int(self.skipping),
            int(self.current),
        ]

    @classmethod
    def from_list(cls, values: list[int]) -> Position:
        """The reverse of `to_list`."""
        inode, offset, head_length, head_crc, tail_length, tail_crc, skipping, current = values
        return cls(inode, offset, head_length, head_crc, tail_length, tail_crc, bool(skipping), bool(current))


@dataclass(slots=True)
class LogFile:
    """A file with its position. `peek` shows the next whole line, `take` consumes it; `commit` and `rollback` follow
    the fate of the tick. Raises OSError, and EOFError for a truncated .gz."""

    path: Path
    position: Position
    handle: IO[bytes]
    size: int = 0
    grown_at: int = 0  # ms; when growth was last seen
    done: bool = False
    overlong: int = 0  # lines over MAX_LINE_BYTES since the last commit; each is consumed as one malformed line
    _committed: list[int] = field(default_factory=list)
    _buffer: bytes = b""
    _at: int = 0
    _last: bytes = b""

    @classmethod
    def open(cls, path: Path, now: int, position: Position | None = None) -> LogFile:
        """Open a file at a position, or at its beginning."""
        opened: Any = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb", buffering=0)  # noqa: SIM115
        inode = path.stat().st_ino if path.suffix == ".gz" else os.fstat(opened.fileno()).st_ino
        if position is None:
            position = Position(inode)
        position.inode = inode
        log_file = cls(path, position, opened, grown_at=now)
        log_file._committed = position.to_list()
        return log_file

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self.handle.close()

    @property
    def is_gzip(self) -> bool:
        """Whether the file is compressed: then it is finished, and its size in bytes means nothing here."""
        return self.path.suffix == ".gz"

    def refresh(self, now: int) -> None:
        """Look at the file's size again, and fingerprint its beginning while it is still short."""
        if self.is_gzip:
            return
        size = os.fstat(self.handle.fileno()).st_size
        if size != self.size:
            self.size, self.grown_at = size, now
        self._fingerprint()

    def _fingerprint(self) -> None:
        if self.position.head_length < HEAD_BYTES:
            head = self._read_at(0, HEAD_BYTES)
            if len(head) > self.position.head_length:
                self.position.head_length, self.position.head_crc = len(head), zlib.crc32(head)

    def check(self) -> str:
        """Compare the file with its position: SAME, SHORTENED or REPLACED. Reads a few hundred bytes."""
        position = self.position
        head = self._read_at(0, position.head_length)
        if len(head) < position.head_length or zlib.crc32(head) != position.head_crc:
            return REPLACED
        # Tell the unread end from a lost one by the bytes just before the position.
        tail = self._read_at(position.offset - position.tail_length, position.tail_length)
        if len(tail) < position.tail_length or zlib.crc32(tail) != position.tail_crc:
            return SHORTENED
        return SAME

    def begins_like(self, position: Position) -> bool:
        """Whether the first bytes are those of a position's file."""
        if position.head_length == 0:
            return False
        head = self._read_at(0, position.head_length)
        return len(head) == position.head_length and zlib.crc32(head) == position.head_crc

    def _read_at(self, offset: int, length: int) -> bytes:
        if length == 0:
            return b""
        self.handle.seek(offset)
        return self.handle.read(length)

    def peek(self) -> bytes | None:
        """The next whole line without its newline, or None at the end. An overlong line is skipped, and counted."""
        while True:
            end = self._buffer.find(b"\n", self._at)
            if end >= 0:
                if not self.position.skipping:
                    return self._buffer[self._at : end]
                self.position.skipping = False
                self._consume(end + 1)
                continue
            if len(self._buffer) - self._at > MAX_LINE_BYTES:
                if not self.position.skipping:
                    self.position.skipping = True
                    self.overlong += 1
                self._consume(len(self._buffer))
            if not self._fill():
                return None

    def take(self) -> None:
        """Consume the line that `peek` showed."""
        self._consume(self._buffer.index(b"\n", self._at) + 1)

    def _consume(self, end: int) -> None:
        self.position.offset += end - self._at
        self._last = self._buffer[max(self._at, end - TAIL_BYTES) : end]
        self._at = end

    def _fill(self) -> bool:
        rest = self._buffer[self._at :]
        block = self._read_at(self.position.offset + len(rest), BLOCK_BYTES)
        self._buffer, self._at = rest + block, 0
        return bool(block)

    def leftover(self) -> bool:
        """Whether an unfinished line remains behind the position."""
        return bool(self._read_at(self.position.offset, 1))

    def move_to(self, offset: int) -> None:
        """Read on from elsewhere; the fingerprint begins anew."""
        self.position = Position(self.position.inode, offset, current=self.position.current)
        self.overlong = 0
        self._forget_buffer()
        self._fingerprint()
        tail = self._read_at(max(0, offset - TAIL_BYTES), min(offset, TAIL_BYTES))
        self.position.tail_length, self.position.tail_crc = len(tail), zlib.crc32(tail)

    def settle(self) -> None:
        """Bring the tail's checksum up to what was consumed. Call before the position is written."""
        if self._last:
            self.position.tail_length, self.position.tail_crc = len(self._last), zlib.crc32(self._last)

    def commit(self) -> None:
        """The tick is durable."""
        self._committed = self.position.to_list()
        self.overlong = 0
        self._forget_buffer()

    def rollback(self) -> None:
        """The tick was not kept: everything since the last commit will be read again."""
        current = self.position.current
        self.position = Position.from_list(self._committed)
        self.position.current = current
        self.done = False
        self.overlong = 0
        self._forget_buffer()

    def _forget_buffer(self) -> None:
        self._buffer, self._at, self._last = b"", 0, b""
