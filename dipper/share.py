"""Signed links to one report of one customer, which expire: whoever holds one needs no account.

A link's text (`contracts.signed`, with the deployment's key) names customer, month and expiry. Nothing is stored; a new
key ends all links at once.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contracts import signed
from contracts.auth import check_id
from contracts.errors import ContractError
from contracts.sla import Month
from contracts.times import DAY_MS, MAX_TIME_MS
from dipper.settings import SettingsError

VARIABLE = "DIPPER_SHARE_KEY"
FILE = "share.key"
KEY_BYTES = 32
LONGEST_MS = 400 * DAY_MS
MAX_CHARS = 600
_CONTEXT = b"dipper-share-1\n"


class LinkRefused(ValueError):
    """A link that opens nothing; `reason` is `tampered` or `expired`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Share:
    """What a link opens, and until when (ms UTC)."""

    customer: str
    month: Month
    expires_at: int


def link(key: bytes, share: Share) -> str:
    """The text of a link."""
    return signed.sign(key, _CONTEXT, (share.customer, str(share.month), share.expires_at))


def opened(key: bytes, text: str, now: int) -> Share:
    """What a link opens. Raises LinkRefused."""
    try:
        customer, month, expires_at = signed.read(key, _CONTEXT, text, MAX_CHARS)
        share = Share(check_id("customer", customer), Month.parse(month), int(expires_at))
    except (ValueError, ContractError):
        raise LinkRefused("tampered") from None
    if now >= share.expires_at:
        raise LinkRefused("expired")
    return share


def checked(share: Share, now: int) -> Share:
    """A share that may be signed. Raises ContractError."""
    check_id("customer", share.customer)
    if not now < share.expires_at <= min(now + LONGEST_MS, MAX_TIME_MS):
        raise ContractError("bad_share", "expires_at", "a time to come, within 400 days", share.expires_at)
    return share


def share_key(environment: Mapping[str, str], data: Path) -> bytes:
    """The key: 64 hex digits in DIPPER_SHARE_KEY, else of a file in the data directory, made when it is missing."""
    return stored_key(environment, VARIABLE, data / FILE)


def stored_key(environment: Mapping[str, str], variable: str, path: Path) -> bytes:
    """A key of KEY_BYTES or more: hex digits of a variable, else of a file, made when it is missing. Raises
    SettingsError."""
    text = environment.get(variable)
    if text:
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) < KEY_BYTES:
            raise SettingsError(f"{variable}: expected at least {2 * KEY_BYTES} hex digits, got {len(text)} characters")
        return key
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        key = path.read_bytes()
        if len(key) != KEY_BYTES:
            raise SettingsError(f"{path}: expected {KEY_BYTES} bytes of a key, got {len(key)}") from None
        return key
    key = secrets.token_bytes(KEY_BYTES)
    with os.fdopen(fd, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key
