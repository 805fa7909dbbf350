"""A settings file that people edit while a process runs: when is there something new to read?"""

from __future__ import annotations

import hashlib
import pwd
from dataclasses import dataclass
from pathlib import Path

SETTLE_MS = 2_000  # editors write in pieces: what has stood still for so long is whole
MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Content:
    """What stands in the file. `owner`: of the file, by name."""

    data: bytes
    sha256: str
    owner: str


class FileWatch:
    """Looks at a file's times first, at its content only when they changed. `now` is any clock's ms."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, ...] | None = None
        self._since = 0
        self._pending = True
        self._taken: str | None = None

    def look(self, now: int, *, at_once: bool = False) -> Content | None:
        """The content, if it is another than the one taken last and has stood still; `at_once`: whatever it is. Raises
        OSError when it cannot be read; the same trouble is raised once."""
        try:
            found = self.path.stat()
        except OSError:
            if self._stamp == () and not at_once:
                return None
            self._stamp, self._pending, self._taken = (), False, None
            raise
        stamp = found.st_mtime_ns, found.st_size, found.st_ino
        if stamp != self._stamp:
            first = self._stamp is None
            self._stamp, self._pending, self._since = stamp, True, now
            if not (first or at_once):
                return None
        elif not at_once and not (self._pending and now - self._since >= SETTLE_MS):
            return None
        self._pending = False
        if found.st_size > MAX_FILE_BYTES:
            raise OSError(f"expected at most {MAX_FILE_BYTES} bytes, got {found.st_size}")
        data = self.path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 == self._taken and not at_once:
            return None
        self._taken = sha256
        return Content(data, sha256, _name_of(found.st_uid))


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
