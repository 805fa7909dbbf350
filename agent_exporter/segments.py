"""The spool's files: numbered segments, appended to and synced. A failed append leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

PAGE_BYTES = 4096
SUFFIX = ".seg"


class Segments:
    """Numbered files in a directory; the newest is appended to. `sizes`: bytes by number, ascending."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fd = -1
        self._fd_number = -1
        self.written_bytes = 0  # since this object was made
        self.sizes: dict[int, int] = {}
        for number in sorted(int(p.stem) for p in directory.glob(f"*{SUFFIX}") if p.stem.isdigit()):
            self.sizes[number] = self._path(number).stat().st_size

    @property
    def total_bytes(self) -> int:
        """Bytes of all segments."""
        return sum(self.sizes.values())

    @property
    def newest(self) -> int:
        """Number of the newest segment; 0 when there is none."""
        return next(reversed(self.sizes), 0)

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:010d}{SUFFIX}"

    def read(self, number: int) -> bytes:
        """All bytes of a segment; none when the medium refuses."""
        try:
            return self._path(number).read_bytes()
        except OSError:
            return b""

    def read_at(self, number: int, offset: int, size: int) -> bytes:
        """Some bytes of a segment; fewer when it ends early."""
        with self._path(number).open("rb") as f:
            f.seek(offset)
            return f.read(size)

    def begin(self, number: int) -> None:
        """Make a new segment the newest."""
        self._close()
        path = self._path(number)
        self._fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._fd_number = number
        self.sizes[number] = 0
        self._sync_directory()

    def append(self, reports: bytes, state: bytes) -> int:
        """Append reports, then the state that makes them count, and sync; returns the offset of the first byte.

        The state must never be on the medium without its reports. Pages may reach it in any order, so when the two
        do not share one page the reports are synced first. Raises OSError; then the file is as it was before.
        """
        number = self.newest
        self._open(number)
        offset = self.sizes[number]
        try:
            self._write(reports)
            if offset // PAGE_BYTES != (offset + len(reports) + len(state) - 1) // PAGE_BYTES:
                os.fdatasync(self._fd)
            self._write(state)
            os.fdatasync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, offset)
            raise
        self.sizes[number] = offset + len(reports) + len(state)
        self.written_bytes += len(reports) + len(state)
        return offset

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def cut(self, number: int, size: int) -> None:
        """Cut a segment off behind its last whole commit."""
        self._close()
        fd = os.open(self._path(number), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            os.fsync(fd)
        finally:
            os.close(fd)
        self.sizes[number] = size

    def remove(self, number: int) -> None:
        """Delete a segment. One that cannot be deleted now is found again, and deleted, at the next start."""
        if number == self._fd_number:
            self._close()
        with contextlib.suppress(OSError):
            self._path(number).unlink()
        self.sizes.pop(number, None)

    def close(self) -> None:
        """Close the file being appended to."""
        self._close()

    def _open(self, number: int) -> None:
        if self._fd_number != number:
            self._close()
            self._fd = os.open(self._path(number), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            self._fd_number = number

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = self._fd_number = -1

    def _sync_directory(self) -> None:
        fd = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
