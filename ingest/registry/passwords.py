"""Passwords as they are kept: scrypt (RFC 7914) with a salt per account, the cost written beside the hash.

A hash made with other costs than today's still verifies, for as long as nobody sets the password anew.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from contracts.errors import ContractError

LEAST_CHARS = 12
MOST_CHARS = 256
LEAST_DIFFERENT = 5
SALT_BYTES = 16
HASH_BYTES = 32
MOST_MEMORY_BYTES = 256 * 1024 * 1024  # a stored hash cannot ask for more
NAME = "scrypt"


@dataclass(frozen=True, slots=True)
class Cost:
    """scrypt's parameters: memory is 128 * r * 2**log2_n bytes, work grows with all three."""

    log2_n: int
    r: int
    p: int


# 32 MiB and about a quarter of a second; OWASP's password storage cheat sheet calls it equal to N=2^17, r=8, p=1.
COST = Cost(log2_n=15, r=8, p=3)


def check_password(password: str, name: str = "") -> str:
    """A password that may be set. Raises ContractError `bad_password`, which never quotes it."""
    if not LEAST_CHARS <= len(password) <= MOST_CHARS or not password.isprintable():
        expected = f"{LEAST_CHARS} to {MOST_CHARS} printable characters"
        raise ContractError("bad_password", "password", expected, f"{len(password)} characters")
    beside_name = password.lower().replace(name.lower(), "") if name else password
    if len(set(beside_name)) < LEAST_DIFFERENT:
        expected = f"at least {LEAST_DIFFERENT} different characters beside the name"
        raise ContractError("bad_password", "password", expected, f"{len(set(beside_name))}")
    return password


def hashed(password: str) -> str:
    """The text to be stored: scrypt$log2_n$r$p$salt$hash."""
    salt = secrets.token_bytes(SALT_BYTES)
    return _text(COST, salt, _derive(password, salt, COST))


def nobodys() -> str:
    """What no password matches, at the same cost."""
    return _text(COST, bytes(SALT_BYTES), bytes(HASH_BYTES))


def matches(password: str, stored: str) -> bool:
    """Whether a password is the stored one, in constant time of comparison. False for what is no stored hash."""
    try:
        cost, salt, expected = _parse(stored)
        return hmac.compare_digest(_derive(password[: MOST_CHARS + 1], salt, cost), expected)
    except (ValueError, binascii.Error, UnicodeEncodeError):
        return False


def _text(cost: Cost, salt: bytes, digest: bytes) -> str:
    parts = (NAME, cost.log2_n, cost.r, cost.p, base64.b64encode(salt).decode(), base64.b64encode(digest).decode())
    return "$".join(str(part) for part in parts)


def _parse(stored: str) -> tuple[Cost, bytes, bytes]:
    name, log2_n, r, p, salt, digest = stored.split("$")
    cost = Cost(int(log2_n), int(r), int(p))
    if name != NAME or not 1 <= cost.log2_n <= 24 or not 1 <= cost.r <= 64 or not 1 <= cost.p <= 64:
        raise ValueError("not a hash of ours")
    return cost, base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)


def _derive(password: str, salt: bytes, cost: Cost) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=1 << cost.log2_n, r=cost.r, p=cost.p, dklen=HASH_BYTES, maxmem=MOST_MEMORY_BYTES
    )
