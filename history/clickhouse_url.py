"""Where ClickHouse servers are and how to speak to them, from a connection string."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from history.errors import BadStoreUrl

PORT = 9000
SECURE_PORT = 9440
_FORM = "clickhouse://USER:PASSWORD@HOST[:PORT][,HOST[:PORT]..]/DATABASE"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_CLUSTER = re.compile(r"[A-Za-z0-9_{}.-]+\Z")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(\d{1,5}))?\Z")


@dataclass(frozen=True, slots=True)
class Servers:
    """`hosts`: (name, port), in the order to try them; all must answer for the same data. `ca`: file with certificates
    to trust, for TLS; None: the system's. `cluster`: a name in the servers' configuration; None: tables on one server.
    `readers`: connections for queries. Times in s."""

    hosts: tuple[tuple[str, int], ...]
    user: str
    password: str = field(repr=False)
    database: str
    secure: bool = False
    ca: str | None = None
    cluster: str | None = None
    readers: int = 4
    query_timeout_s: float = 20.0
    statement_timeout_s: float = 600.0
    connect_timeout_s: float = 5.0


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = kind(text)
        if not 0 < value < 1e9:
            raise ValueError
        return value

    return read


def _flag(text: str) -> bool:
    return {"0": False, "1": True}[text]


def _cluster(text: str) -> str:
    if not _CLUSTER.match(text):
        raise ValueError
    return text


_OPTIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "secure": (_flag, "0 or 1"),
    "ca": (str, "a file"),
    "cluster": (_cluster, "a cluster's name"),
    "readers": (_positive(int), "a number above 0"),
    "query_timeout_s": (_positive(float), "a number above 0"),
    "statement_timeout_s": (_positive(float), "a number above 0"),
    "connect_timeout_s": (_positive(float), "a number above 0"),
}


def servers(url: str) -> Servers:
    """Raises BadStoreUrl, which names what is wrong and never holds the password."""
    try:
        parts = urlsplit(url)
    except ValueError:  # its message may hold the password
        raise BadStoreUrl(f"store: expected {_FORM}, got something else") from None
    account, at, places = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    database = parts.path.removeprefix("/")
    if parts.scheme != "clickhouse" or not at or not user:
        raise BadStoreUrl(f"store: expected {_FORM}, got no user in it" if not user else f"store: expected {_FORM}")
    if not _NAME.match(database):
        raise BadStoreUrl(f"store: expected a database of letters, digits and _ after the hosts, got {database!r}")
    options: dict[str, Any] = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise BadStoreUrl(f"store: expected options among {sorted(_OPTIONS)}, got {name!r}")
        read, expected = _OPTIONS[name]
        try:
            options[name] = read(text)
        except (ValueError, KeyError):
            raise BadStoreUrl(f"store: {name}: expected {expected}, got {text!r}") from None
    if "ca" in options and not options.get("secure"):
        raise BadStoreUrl("store: ca: expected secure=1 beside it, got no secure connection")
    port = SECURE_PORT if options.get("secure") else PORT
    hosts = tuple(_host(place, port) for place in places.split(","))
    return Servers(hosts=hosts, user=unquote(user), password=unquote(password), database=database, **options)


def _host(place: str, default_port: int) -> tuple[str, int]:
    found = _HOST.match(place)
    port = int(found[2] or default_port) if found else 0
    if found is None or not 0 < port < 65536:
        raise BadStoreUrl(f"store: expected HOST or HOST:PORT, got {place!r}")
    return found[1].strip("[]"), port
