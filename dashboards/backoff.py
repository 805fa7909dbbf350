"""Growing waits after wrong passwords, per name, in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict

from contracts.times import HOUR_MS, MINUTE_MS, SECOND_MS

FREE = 3  # wrong passwords in a row that cost nothing: people mistype
LONGEST_MS = 5 * MINUTE_MS  # no longer: whoever knows a name could else lock its owner out
FORGET_MS = HOUR_MS
MOST_NAMES = 10_000


class Backoff:
    """The 4th wrong password in a row costs 2 s, the 5th 4 s, .. up to LONGEST_MS; an hour of peace forgets all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[int, int]] = OrderedDict()  # count, time of the last

    def wait_ms(self, name: str, now: int) -> int:
        """How long the next attempt has to wait; 0: not at all."""
        with self._lock:
            count, at = self._failures.get(name, (0, 0))
        if count <= FREE or now - at >= FORGET_MS:
            return 0
        return max(0, at + min(LONGEST_MS, SECOND_MS << min(count - FREE, 20)) - now)

    def failed(self, name: str, now: int) -> None:
        """Count a wrong password."""
        with self._lock:
            count, at = self._failures.pop(name, (0, 0))
            self._failures[name] = (1 if now - at >= FORGET_MS else count + 1, now)
            while len(self._failures) > MOST_NAMES:
                self._failures.popitem(last=False)

    def passed(self, name: str) -> None:
        """A right password: start anew."""
        with self._lock:
            self._failures.pop(name, None)
