"""Sessions of people who logged in: a cookie's text, signed, with its end in it. Nothing is stored but the sessions
that were ended early, until they would have ended by themselves.

The text (`contracts.signed`, with the deployment's key) names the account, its stamp (which changes with password,
role or closing: that ends its sessions) and times.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from contracts import signed
from contracts.times import HOUR_MS

COOKIE = "dipper_session"
LIFETIME_MS = 12 * HOUR_MS
MAX_CHARS = 1_000
MOST_ENDED = 10_000
_CONTEXT = b"dipper-session-1\n"


@dataclass(frozen=True, slots=True)
class Session:
    """Who logged in, and until when it counts (ms UTC)."""

    account: str
    stamp: str
    expires_at: int


class Sessions:
    """Signs and reads; safe to use from several threads."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._lock = threading.Lock()
        self._ended: OrderedDict[str, int] = OrderedDict()

    def begin(self, account: str, stamp: str, now: int) -> str:
        """The cookie of a new session."""
        return signed.sign(self._key, _CONTEXT, (account, stamp, now + LIFETIME_MS, now))

    def read(self, text: str, now: int) -> Session | None:
        """The session of a cookie; None for one that is forged, over, or was ended."""
        try:
            account, stamp, expires_at, _ = signed.read(self._key, _CONTEXT, text, MAX_CHARS)
        except ValueError:
            return None
        with self._lock:
            ended = signed.mac_of(text) in self._ended
        return None if ended or now >= expires_at else Session(account, stamp, expires_at)

    def end(self, text: str, now: int) -> None:
        """End a session before its time: another copy of the cookie opens nothing any more."""
        session = self.read(text, now)
        if session is None:
            return
        with self._lock:
            self._ended[signed.mac_of(text)] = session.expires_at
            while len(self._ended) > MOST_ENDED:
                self._ended.popitem(last=False)
