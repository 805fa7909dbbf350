"""Where a deployment keeps its files: one data directory, one owner process at a time."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from dipper.errors import DipperError

DATA_VARIABLE = "DIPPER_DATA"
DEFAULT_DATA = "var"
DEMO_MARKER = "this-is-a-demo"  # a file that tells a demo's data directory, which a new demo may empty


class DataDirBusy(DipperError):
    """Another process owns the data directory."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Files below a data directory."""

    root: Path

    @property
    def log(self) -> Path:
        """The embedded log's segments."""
        return self.root / "log"

    @property
    def history(self) -> Path:
        """The embedded engine's data."""
        return self.root / "history"

    @property
    def registry(self) -> Path:
        """Devices, customers, rules, tokens (SQLite)."""
        return self.root / "registry.sqlite"

    @property
    def control(self) -> Path:
        """Socket on which a running process answers commands."""
        return self.root / "control.sock"

    @property
    def lock(self) -> Path:
        """Held by the process that owns the directory."""
        return self.root / "owner.lock"


class FileLock:
    """An exclusive right that a file stands for, released with the process at the latest. `wait`: until whoever has it
    lets go; otherwise raises DataDirBusy naming the owner."""

    def __init__(self, path: Path, *, wait: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            owner = os.read(self._fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise DataDirBusy(f"{path.parent}: in use by process {owner}; stop it, or name another --data") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give the directory up; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class OwnerLock(FileLock):
    """The exclusive right to a data directory."""

    def __init__(self, paths: Paths) -> None:
        super().__init__(paths.lock)
