"""Where people reach the pages, and who tells us who they are: from the environment, read once.

The groups of an identity provider become roles by DIPPER_OIDC_ROLES: `GROUP=role` or `GROUP=customer:ID`, comma
between, the first that fits counts, `*` fits everybody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from contracts.auth import check_id
from contracts.errors import ContractError
from dashboards.oidc import Oidc
from dashboards.people import CUSTOMER, ROLES
from dipper.settings import Listener, ProcessSettings, SettingsError
from dipper.share import stored_key
from ingest.bind import is_loopback

KEY_VARIABLE, KEY_FILE = "DIPPER_SESSION_KEY", "session.key"
_PREFIX = "DIPPER_OIDC_"
_NEEDED = ("METADATA", "CLIENT", "SECRET", "ROLES")
_EMAIL = re.compile(r"[^@\s]*@[^@\s]+")


@dataclass(frozen=True, slots=True)
class PeopleSettings:
    """`listener`: of the pages alone, for people elsewhere; None: only this machine reaches them. `url`: where people
    reach them, without a slash at its end; empty when nobody said."""

    listener: Listener | None = None
    url: str = ""
    oidc: Oidc | None = None


def people_settings(environment: Mapping[str, str], process: ProcessSettings) -> PeopleSettings:
    """Settings from the environment. Raises SettingsError."""
    url = _url(environment.get("DIPPER_URL", "").strip().rstrip("/"))
    listener = _listener(environment.get("DIPPER_PAGES", "").strip())
    encrypted = process.tls_cert is not None or url.startswith("https://")
    if listener is not None and not encrypted and not is_loopback(listener.host):
        raise SettingsError(
            "DIPPER_PAGES: people elsewhere send passwords there: expected DIPPER_TLS_CERT and DIPPER_TLS_KEY, or "
            "DIPPER_URL=https://.. of a proxy that has them"
        )
    return PeopleSettings(listener, url, _oidc(environment, url))


def session_key(environment: Mapping[str, str], data: Path) -> bytes:
    """The key of sessions: 64 hex digits in DIPPER_SESSION_KEY, else of a file in the data directory."""
    return stored_key(environment, KEY_VARIABLE, data / KEY_FILE)


def _oidc(environment: Mapping[str, str], url: str) -> Oidc | None:
    given = {name.removeprefix(_PREFIX): value for name, value in environment.items() if name.startswith(_PREFIX)}
    given = {name: value.strip() for name, value in given.items() if value.strip()}
    if not given:
        return None
    missing = [_PREFIX + name for name in _NEEDED if name not in given] + ([] if url else ["DIPPER_URL"])
    if missing:
        raise SettingsError(f"{', '.join(missing)}: expected as well, for an identity provider")
    metadata = urlsplit(given["METADATA"])
    if metadata.scheme != "https" and not (metadata.scheme == "http" and is_loopback(metadata.hostname or "")):
        raise SettingsError(
            f"{_PREFIX}METADATA: expected https://.. of a discovery document, got {given['METADATA']!r}"
        )
    emails = tuple(e.strip().lower() for e in given.get("EMAILS", "").split(",") if e.strip())
    wrong = [email for email in emails if not _EMAIL.fullmatch(email)]
    if wrong:
        raise SettingsError(f"{_PREFIX}EMAILS: expected addresses or @domains, comma between, got {wrong[0]!r}")
    return Oidc(
        metadata=given["METADATA"],
        client=given["CLIENT"],
        url=url,
        roles=tuple(_role(entry.strip()) for entry in given["ROLES"].split(",") if entry.strip()),
        secret=given["SECRET"],
        emails=emails,
        **{name: given[variable] for name, variable in (("name", "NAME"), ("claim", "CLAIM"), ("scope", "SCOPE"))
           if variable in given},
    )  # fmt: skip


def _role(entry: str) -> tuple[str, str, str]:
    group, equals, role = entry.rpartition("=")
    role, colon, customer = role.partition(":")
    try:
        if equals and group and role in ROLES and (role == CUSTOMER) == bool(colon):
            return group, role, check_id("customer", customer) if colon else ""
    except ContractError:
        pass
    expected = f"GROUP=ROLE with a role of {', '.join(r for r in ROLES if r != CUSTOMER)} or customer:ID"
    raise SettingsError(f"{_PREFIX}ROLES: expected {expected}, got {entry!r}")


def _url(text: str) -> str:
    if not text:
        return ""
    parts = urlsplit(text)
    plain = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if not (parts.scheme == "https" or plain) or not parts.hostname or parts.path or parts.query or parts.username:
        raise SettingsError(f"DIPPER_URL: expected https://HOST[:PORT] (http only for this machine), got {text!r}")
    return text


def _listener(text: str) -> Listener | None:
    if not text:
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"DIPPER_PAGES: expected HOST:PORT, got {text!r}")
    return Listener(host.strip("[]"), int(port))
