"""Texts that carry their own proof: `PAYLOAD.MAC`, both base64url (RFC 4648, without padding); the MAC is HMAC-SHA256
(RFC 2104) with a key over a context, which keeps one use of the key apart from another, and the payload, a JSON array.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Sequence
from typing import Any


class NotSigned(ValueError):
    """A text that `sign` did not make with this key and context."""


def sign(key: bytes, context: bytes, values: Sequence[Any]) -> str:
    """The text of JSON values."""
    payload = json.dumps(list(values), separators=(",", ":")).encode()
    return f"{_text(payload)}.{_text(hmac.digest(key, context + payload, 'sha256'))}"


def read(key: bytes, context: bytes, text: str, longest: int) -> list[Any]:
    """The values of a text of at most so many characters. Raises NotSigned."""
    payload, _, mac = text[: longest + 1].partition(".")
    try:
        data, given = _bytes(payload), _bytes(mac)
    except ValueError:
        raise NotSigned("not base64url") from None
    if len(text) > longest or not hmac.compare_digest(hmac.digest(key, context + data, "sha256"), given):
        raise NotSigned("not signed with this key")
    values: list[Any] = json.loads(data)
    return values


def mac_of(text: str) -> str:
    """What tells a text from all others."""
    return text.partition(".")[2]


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """Raises ValueError for anything but the one canonical form."""
    data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _text(data) != text:
        raise ValueError("not canonical")
    return data
