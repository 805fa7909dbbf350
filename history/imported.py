"""Minutes of a past before Dipper: stored beside our own, for the detectors alone."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from contracts.protocols import Store

OK, TROUBLE = "ok", "trouble"
LABELS = (OK, TROUBLE)
SCHEMA = pa.schema(
    [
        ("minute", pa.int64()), ("customer", pa.utf8()), ("service", pa.utf8()), ("measure", pa.utf8()),
        ("bad", pa.int64()), ("total", pa.int64()), ("label", pa.utf8()),
    ]
)  # fmt: skip
"""Rows as they are imported; `minute` ms UTC, bad <= total."""

_READ = """SELECT minute, customer, service, measure, bad, total, label FROM imported_minutes FINAL
WHERE minute >= {start:Int64} AND minute < {end:Int64} ORDER BY minute, customer, service, measure"""
_OLDEST = "SELECT min(minute) AS oldest, count() AS n FROM imported_minutes WHERE minute >= {start:Int64}"


def store_imported(store: Store, rows: pa.Table, source: str, version: int) -> int:
    """Keep rows of SCHEMA; of the same key the higher version counts. Returns how many. Raises StoreError."""
    n = rows.num_rows
    more: dict[str, Any] = {
        "source": pa.array([source] * n, pa.utf8()),
        "version": pa.array([version] * n, pa.uint64()),
    }
    for name, column in more.items():
        rows = rows.append_column(name, column)
    return store.insert("imported_minutes", rows)


def imported(store: Store, start: int, end: int) -> dict[str, list[Any]]:
    """Columns of SCHEMA of [start, end), by minute. Raises StoreError."""
    return store.query(_READ, {"start": start, "end": end})


def oldest_imported(store: Store, start: int) -> int | None:
    """The first imported minute at or after a time, None without. Raises StoreError."""
    row = store.query(_OLDEST, {"start": start})
    return int(row["oldest"][0]) if row["n"][0] else None
