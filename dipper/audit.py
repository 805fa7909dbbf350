"""Who looked at what of a customer: one line of JSON per answer, in a file only its owner can read."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

from contracts.times import rfc3339


class AuditLog:
    """Appends whole lines, from any thread; whoever rotates the file moves it away, the next line opens a new one.
    Raises OSError where the file cannot be opened or written: what cannot be audited is not answered."""

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        self._path, self._clock = path, clock
        self._lock = threading.Lock()

    def __call__(self, who: str, customer: str, what: str, status: int) -> None:
        """Note an answer."""
        line = {"at": rfc3339(self._clock()), "who": who, "customer": customer, "what": what, "status": status}
        data = (json.dumps(line, ensure_ascii=True) + "\n").encode()
        with self._lock:
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, data)
            finally:
                os.close(fd)
