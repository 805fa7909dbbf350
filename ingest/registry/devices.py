"""Devices, their attributes, keys and enrolment tokens in the registry's tables. Runs inside the caller's transaction.

Every function that changes what a look-up would answer for a device marks the device with `version`.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Literal

from contracts.auth import KEY_BYTES, check_id
from contracts.columns import UNKNOWN
from contracts.entities import DeviceAttributes
from contracts.errors import ContractError
from contracts.protocols import DeviceKey
from ingest.registry.checks import check_attributes, check_time
from ingest.registry.errors import NotFound

Outcome = Literal["added", "changed", "unchanged"]

# Statements that serve one device (?1) or all (?1 NULL).
_READ_ATTRIBUTES = """
SELECT device, valid_from, device_isp, device_region, nat_type, cohort, capacity_mbps
FROM attributes WHERE ?1 IS NULL OR device = ?1 ORDER BY device, valid_from
"""
_READ_KEYS = """
SELECT device, key_id, created_at, accepted_until
FROM keys WHERE ?1 IS NULL OR device = ?1 ORDER BY created_at DESC, rowid DESC
"""
_READ_DEVICES = """
SELECT device, created_at, revoked_at FROM devices WHERE ?1 IS NULL OR device = ?1 ORDER BY device
"""
# The row in force at a time; the earliest one serves times before it.
_IN_FORCE = """
SELECT device_isp, device_region, nat_type, cohort, capacity_mbps
FROM attributes WHERE device = ?1 ORDER BY valid_from <= ?2 DESC, abs(valid_from - ?2) LIMIT 1
"""
_OPEN_KEY = """
SELECT key_id, secret FROM keys WHERE device = ?1 AND accepted_until IS NULL AND (?2 IS NULL OR secret = ?2)
ORDER BY created_at DESC, rowid DESC LIMIT 1
"""
_WRITE_ATTRIBUTES = """
INSERT OR REPLACE INTO attributes
  (device, valid_from, device_isp, device_region, nat_type, cohort, capacity_mbps, recorded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key without its secret. `accepted_until` None: open; in the past: no longer accepted."""

    key_id: str
    created_at: int
    accepted_until: int | None


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """All that is kept of a device, for people. Times in ms UTC; attributes ascending, keys newest first."""

    device: str
    created_at: int
    revoked_at: int | None
    attributes: tuple[DeviceAttributes, ...]
    keys: tuple[KeyInfo, ...]


@dataclass(frozen=True, slots=True)
class EnrolmentToken:
    """An enrolment token without its secret. `device` None: for any new device."""

    id: str
    device: str | None
    created_at: int
    expires_at: int
    used_at: int | None
    used_by: str | None
    cancelled_at: int | None


def hash_of(token: str) -> bytes:
    """What is stored of a token. A plain SHA-256 suffices: tokens have 192 random bits, not a person's password."""
    return hashlib.sha256(token.encode("utf-8", "backslashreplace")).digest()


def insert(c: sqlite3.Connection, device: str, attributes: DeviceAttributes, now: int, version: int) -> None:
    """A new device. Raises ContractError `bad_id`, `bad_field`, `exists`."""
    check_id("device", device)
    check_attributes(attributes)
    if _known(c, device):
        raise ContractError("exists", "device", "an id that is not taken", device)
    c.execute("INSERT INTO devices (device, created_at, changed) VALUES (?, ?, ?)", (device, now, version))
    _write_row(c, device, attributes, now)


def set_attributes(c: sqlite3.Connection, device: str, attributes: DeviceAttributes, now: int, version: int) -> None:
    """A row from `attributes.valid_from` on; a row with the same valid_from is corrected. Raises NotFound."""
    check_attributes(attributes)
    _require(c, device)
    _write_row(c, device, attributes, now)
    _touch(c, device, version)


def upsert(c: sqlite3.Connection, device: str, attributes: DeviceAttributes, now: int, version: int) -> Outcome:
    """Add a device, or a row where it differs from what holds at valid_from: `added`, `changed` or `unchanged`."""
    if not _known(c, device):
        insert(c, device, attributes, now, version)
        return "added"
    check_attributes(attributes)
    row = c.execute(_IN_FORCE, (device, attributes.valid_from)).fetchone()
    if row == _values(attributes)[1:]:
        return "unchanged"
    set_attributes(c, device, attributes, now, version)
    return "changed"


def add_key(c: sqlite3.Connection, device: str, now: int, version: int, secret: bytes | None = None) -> DeviceKey:
    """A further key, accepted at once; earlier ones stay. `secret`: one that was made elsewhere. Raises NotFound;
    ContractError `revoked`, `bad_field`."""
    if _require(c, device) is not None:
        raise ContractError("revoked", "device", "a device that is not revoked (issue a token, enrol again)", device)
    if secret is not None and len(secret) != KEY_BYTES:
        raise ContractError("bad_field", "secret", f"{KEY_BYTES} bytes", f"{len(secret)} bytes")
    key = DeviceKey(f"k-{secrets.token_hex(8)}", secret or secrets.token_bytes(KEY_BYTES))
    c.execute(
        "INSERT INTO keys (key_id, device, secret, created_at) VALUES (?, ?, ?, ?)",
        (key.key_id, device, key.secret, now),
    )
    _touch(c, device, version)
    return key


def ensure_key(c: sqlite3.Connection, device: str, secret: bytes | None, now: int, version: int) -> DeviceKey:
    """The newest open key (with this secret, where one is given), made if there is none. Raises as add_key."""
    row = c.execute(_OPEN_KEY, (device, secret)).fetchone()
    return DeviceKey(*row) if row else add_key(c, device, now, version, secret)


def rotate(c: sqlite3.Connection, device: str, now: int, overlap_ms: int, version: int) -> DeviceKey:
    """A new key; earlier ones end after the overlap, or when they were to end anyway. Raises as add_key."""
    check_time("overlap_ms", overlap_ms)
    _require(c, device)
    _end_keys(c, device, now + overlap_ms)
    c.execute("UPDATE keys SET secret = NULL WHERE device = ? AND accepted_until <= ?", (device, now))
    return add_key(c, device, now, version)


def revoke(c: sqlite3.Connection, device: str, now: int, version: int) -> None:
    """End all keys now, erase their secrets, cancel open tokens of the device. Revoking twice keeps the first time."""
    _require(c, device)
    _end_keys(c, device, now)
    c.execute("UPDATE keys SET secret = NULL WHERE device = ?", (device,))
    c.execute(
        "UPDATE enrolment_tokens SET cancelled_at = ? WHERE device = ? AND used_at IS NULL AND cancelled_at IS NULL",
        (now, device),
    )
    c.execute("UPDATE devices SET revoked_at = coalesce(revoked_at, ?) WHERE device = ?", (now, device))
    _touch(c, device, version)


def issue_token(c: sqlite3.Connection, device: str | None, now: int, expires_at: int) -> str:
    """A one-time token for a known device, or (None) for any device without an accepted key. Raises NotFound."""
    if device is not None:
        _require(c, device)
    if check_time("expires_at", expires_at) <= now:
        raise ContractError("bad_field", "expires_at", f"later than now ({now})", expires_at)
    token = f"dpe_{secrets.token_urlsafe(24)}"
    c.execute(
        "INSERT INTO enrolment_tokens (id, hash, device, created_at, expires_at) VALUES (?, ?, ?, ?, ?)",
        (f"e-{secrets.token_hex(8)}", hash_of(token), device, now, expires_at),
    )
    return token


def enroll(c: sqlite3.Connection, device: str, token: str, now: int, version: int) -> DeviceKey:
    """Use up a token and make the device's key. A token of the device itself replaces its keys and lifts a revocation;
    an open one registers a new device with unknown attributes, or serves one that never had a key. Raises
    ContractError `bad_id`, `bad_token` (its `got` says why, never the token)."""
    check_id("device", device)
    row = c.execute(
        "SELECT id, device, expires_at, used_at, cancelled_at FROM enrolment_tokens WHERE hash = ?", (hash_of(token),)
    ).fetchone()
    if row is None:
        raise _bad_token("a token that was never issued")
    token_id, bound_to, expires_at, used_at, cancelled_at = row
    if used_at is not None or cancelled_at is not None:
        raise _bad_token(f"token {token_id}, already used" if used_at is not None else f"token {token_id}, cancelled")
    if now >= expires_at:
        raise _bad_token(f"token {token_id}, expired")
    if bound_to is None:
        _make_room(c, device, token_id, now, version)
    elif bound_to != device:
        raise _bad_token(f"token {token_id} of another device")
    c.execute("UPDATE enrolment_tokens SET used_at = ?, used_by = ? WHERE id = ?", (now, device, token_id))
    c.execute("UPDATE devices SET revoked_at = NULL WHERE device = ?", (device,))
    _end_keys(c, device, now)
    c.execute("UPDATE keys SET secret = NULL WHERE device = ?", (device,))
    return add_key(c, device, now, version)


def read_devices(c: sqlite3.Connection, device: str | None = None) -> list[DeviceInfo]:
    """All devices by id, or one (or none)."""
    rows: dict[str, list[DeviceAttributes]] = {}
    for name, *row in c.execute(_READ_ATTRIBUTES, (device,)):
        rows.setdefault(name, []).append(DeviceAttributes(*row))
    keys: dict[str, list[KeyInfo]] = {}
    for name, *key in c.execute(_READ_KEYS, (device,)):
        keys.setdefault(name, []).append(KeyInfo(*key))
    return [
        DeviceInfo(name, created, revoked, tuple(rows.get(name, ())), tuple(keys.get(name, ())))
        for name, created, revoked in c.execute(_READ_DEVICES, (device,))
    ]


def read_tokens(c: sqlite3.Connection) -> list[EnrolmentToken]:
    """All enrolment tokens, newest first."""
    return [
        EnrolmentToken(*row)
        for row in c.execute(
            "SELECT id, device, created_at, expires_at, used_at, used_by, cancelled_at FROM enrolment_tokens "
            "ORDER BY created_at DESC, id"
        )
    ]


def _make_room(c: sqlite3.Connection, device: str, token_id: str, now: int, version: int) -> None:
    """An open token must never take over an id that somebody else's box already uses, nor lift a revocation."""
    if not _known(c, device):
        insert(c, device, DeviceAttributes(now, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 0.0), now, version)
    elif c.execute("SELECT 1 FROM keys WHERE device = ?", (device,)).fetchone() or _require(c, device) is not None:
        raise _bad_token(f"token {token_id}, which is for new devices only")


def _bad_token(got: str) -> ContractError:
    return ContractError("bad_token", "token", "an enrolment token of this device, unused, before its expiry", got)


def _known(c: sqlite3.Connection, device: str) -> bool:
    return c.execute("SELECT 1 FROM devices WHERE device = ?", (device,)).fetchone() is not None


def _require(c: sqlite3.Connection, device: str) -> int | None:
    """When the device was revoked, or None. Raises NotFound."""
    row = c.execute("SELECT revoked_at FROM devices WHERE device = ?", (device,)).fetchone()
    if row is None:
        raise NotFound(f"device: no device is named {device!r}")
    revoked_at: int | None = row[0]
    return revoked_at


def _touch(c: sqlite3.Connection, device: str, version: int) -> None:
    c.execute("UPDATE devices SET changed = ? WHERE device = ?", (version, device))


def _end_keys(c: sqlite3.Connection, device: str, until: int) -> None:
    c.execute(
        "UPDATE keys SET accepted_until = min(coalesce(accepted_until, ?), ?) WHERE device = ?", (until, until, device)
    )


def _values(a: DeviceAttributes) -> tuple[int, str, str, str, str, float]:
    return (a.valid_from, a.device_isp, a.device_region, a.nat_type, a.cohort, float(a.capacity_mbps))


def _write_row(c: sqlite3.Connection, device: str, attributes: DeviceAttributes, now: int) -> None:
    c.execute(_WRITE_ATTRIBUTES, (device, *_values(attributes), now))
