"""History: ClickHouse as the store of truth, the sink that fills it from the log, and typed queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from contracts.protocols import Store

_OPTIONS = {"memory_limit_bytes": int, "min_free_bytes": int, "readers": int, "query_timeout_s": float}


def open_store(url: str, *, read_only: bool = False) -> Store:
    """The store a connection string names: `chdb:///absolute/path?memory_limit_bytes=..&min_free_bytes=..&readers=..`
    or `clickhouse://user:password@host:9000,host2:9000/database?secure=1&ca=..&cluster=..&readers=..`.

    `read_only`: on servers, ask only: nothing is created, an account with SELECT suffices (SchemaBehind says which
    tables are missing). The embedded engine has one process, which owns its folder, and always opens for both.

    Raises BadStoreUrl, StoreLocked, StoreUnavailable when no server answers, or StoreError when it cannot be opened."""
    from history.errors import BadStoreUrl

    scheme = url.partition(":")[0]
    if scheme == "clickhouse":
        from history.clickhouse_store import ClickHouseStore

        return ClickHouseStore(url, read_only=read_only)
    if not url.startswith("chdb:///"):
        # Anything may stand in it, a password too: only the scheme is shown.
        got = f"{scheme}://…" if "://" in url else "no scheme"
        raise BadStoreUrl(f"store: expected chdb:///absolute/path or clickhouse://user:password@host/db, got {got}")
    parts = urlsplit(url)
    options: dict[str, Any] = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise BadStoreUrl(f"store: expected options among {sorted(_OPTIONS)}, got {name!r}")
        try:
            options[name] = _OPTIONS[name](text)
        except ValueError:
            raise BadStoreUrl(f"store: {name}: expected a number, got {text!r}") from None
    from history.chdb_store import ChdbStore

    return ChdbStore(parts.path, **options)
