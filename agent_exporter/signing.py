"""The scheduler's signature over the parameters of a URL, as nginx's secure_link verifies it (dipper-server.conf)."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import quote

PARAMETERS = ("customer", "service", "app", "isp", "region", "rule")


def signed_query(secret: str, path: str, expires_s: int, **values: str) -> str:
    """Query string that gives a path its signed parameters (any of PARAMETERS), valid until `expires_s` (Unix time).

    `path` as nginx normalises it (decoded, no query). Neither it nor a value may hold `|`, which separates the
    signed fields. secure_link knows MD5 only; the secret is the last thing hashed.
    """
    unknown = values.keys() - set(PARAMETERS)
    if unknown:
        raise ValueError(f"signed parameters: expected some of {PARAMETERS}, got {sorted(unknown)}")
    if any("|" in text for text in (path, *values.values())):
        raise ValueError("signed parameters: expected no '|' in the path or in a value")
    escaped = {name: quote(values.get(name, ""), safe="") for name in PARAMETERS}
    text = "|".join([*escaped.values(), str(expires_s), f"{path} {secret}"])
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    signature = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    query = "&".join(f"dp_{name}={value}" for name, value in escaped.items() if value)
    return f"{query}&dp_expires={expires_s}&dp_sig={signature}"
