"""Sessions of people who logged in: a cookie's text, signed, with its end in it. Nothing is stored but the sessions
that were ended early, until they would have ended by themselves.

The text is `PAYLOAD.MAC` in base64url; the MAC is HMAC-SHA256 with the deployment's key over the payload, which names
the account, its stamp (which changes with password, role or closing: that ends its sessions) and times.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass

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
        payload = json.dumps([account, stamp, now + LIFETIME_MS, now], separators=(",", ":")).encode()
        return f"{_text(payload)}.{_text(self._mac(payload))}"

    def read(self, text: str, now: int) -> Session | None:
        """The session of a cookie; None for one that is forged, over, or was ended."""
        payload, dot, mac = text.partition(".")
        try:
            if not dot or len(text) > MAX_CHARS:
                return None
            data = _bytes(payload)
            if not hmac.compare_digest(self._mac(data), _bytes(mac)):
                return None
            account, stamp, expires_at, _ = json.loads(data)
        except (ValueError, binascii.Error):
            return None
        with self._lock:
            ended = mac in self._ended
        return None if ended or now >= expires_at else Session(account, stamp, expires_at)

    def end(self, text: str, now: int) -> None:
        """End a session before its time: another copy of the cookie opens nothing any more."""
        session = self.read(text, now)
        if session is None:
            return
        with self._lock:
            self._ended[text.partition(".")[2]] = session.expires_at
            while len(self._ended) > MOST_ENDED:
                self._ended.popitem(last=False)

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, _CONTEXT + payload, "sha256")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """Raises ValueError for anything but the one canonical form."""
    data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _text(data) != text:
        raise ValueError("not canonical")
    return data
