"""Care of the stored data: backup, restore, and letting old data go. Simulated time must not meet a wall clock, so
expiry is a job that takes `now`, not a rule in the tables."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from contracts.protocols import Store, StoreError
from contracts.times import DAY_MS, SEAL_AFTER_MS
from history.chdb_store import ChdbStore
from history.ledger import ledger
from history.versions import Versions

MANIFEST = "manifest.json"
_DATA = "data"


@dataclass(frozen=True, slots=True)
class Retention:
    """Days that each kind of row is kept. What the books and late data need may not go before the seal (2 days)."""

    slices: int = 8
    reports: int = 35
    device_minutes: int = 8
    cell_minutes: int = 35
    cell_hours: int = 100
    stream_minutes: int = 3
    vitals: int = 14
    exemplars: int = 14
    rejected: int = 35
    signals: int = 35
    minutes: int = 400

    def __post_init__(self) -> None:
        least = SEAL_AFTER_MS // DAY_MS + 1
        for field in fields(self):
            days = getattr(self, field.name)
            if days < least:
                raise StoreError(f"retention.{field.name}: expected at least {least} days, got {days}")
        if self.reports < self.slices:
            raise StoreError(
                f"retention.reports: expected at least retention.slices ({self.slices}), got {self.reports}"
            )


# Tables of one partition per day, and the retention that governs each; `reports` go last, after the books know.
_DAILY = {
    "slices": "slices",
    "vitals": "vitals",
    "exemplars": "exemplars",
    "stream_minutes": "stream_minutes",
    "signals": "signals",
    "cell_minutes": "cell_minutes",
    "cell_hours": "cell_hours",
    "device_minutes": "device_minutes",
    "box_minutes": "device_minutes",
    "stored_reports": "reports",
    "reports": "reports",
}
# ruff: noqa: S608 - table names are this module's own; values are parameters.
# Of what is stored, not of system.parts, which know one server only.
_PARTITIONS = f"""SELECT DISTINCT intDiv({{column}}, {DAY_MS}) AS day FROM {{table}}
WHERE {{column}} < {{{{before:Int64}}}} ORDER BY day"""
_HORIZON = """INSERT INTO ledger_horizon
SELECT device, boot, max(seq), argMax(total_requests, seq), argMax(total_slices, seq), argMax(dropped_requests, seq),
    argMax(dropped_slices, seq), argMax(dropped_reports, seq), argMax(spool_dropped_requests, seq),
    argMax(spool_dropped_slices, seq)
FROM reports FINAL WHERE minute < {before:Int64} GROUP BY device, boot"""


def backup(store: Store, destination: Path, now: int) -> Path:
    """Copy everything, as of one moment, into a new folder; returns it. The engine freezes the data while it copies;
    the manifest states the ledger, by which `restore` checks itself. Raises StoreError when the folder exists
    or cannot be written, and for a ClickHouse server, which has its own BACKUP."""
    if not isinstance(store, ChdbStore):
        raise StoreError(
            "backup: expected the embedded engine; a ClickHouse server saves itself, with"
            " BACKUP DATABASE .. TO Disk(..) while the sink is stopped (docs/operations.md)"
        )
    destination = destination.absolute()
    if destination.exists():
        raise StoreError(f"backup: expected a folder that does not exist, got {destination}")
    destination.mkdir(parents=True)
    try:
        books = ledger(store, now).to_json()
        store.backup_to(destination / _DATA)
        if ledger(store, now).to_json() != books:
            raise StoreError("backup: the history was written to meanwhile; stop the sink for the backup")
        manifest = {"version": 1, "made_at": now, "ledger": books}
        (destination / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    except BaseException:
        shutil.rmtree(destination, ignore_errors=True)
        raise
    return destination


def restore(source: Path, path: Path, **options: Any) -> ChdbStore:
    """A store at `path` (which must not hold one) with what a backup holds, verified by its ledger; the caller closes
    it. `options` as for ChdbStore. No other store may be open in this process. Raises StoreError."""
    source = source.absolute()
    try:
        manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"restore: {source}: expected a finished backup with {MANIFEST}, got {error}") from None
    if path.exists() and any(path.iterdir()):
        raise StoreError(f"restore: expected an empty or new folder, got {path}")
    store = ChdbStore(path, restore_from=source / _DATA, **options)
    try:
        books = ledger(store, int(manifest["made_at"])).to_json()
        if books != manifest["ledger"]:
            raise StoreError("restore: the restored ledger differs from the backup's; the backup is damaged")
    except BaseException:
        store.close()
        raise
    return store


def expire(store: Store, now: int, retention: Retention | None = None) -> dict[str, int]:
    """Drop whole days that are older than their retention; returns how many partitions went, by table. Before reports
    go, the totals at the last of each boot are kept as the horizon at which its books begin."""
    retention = retention or Retention()
    dropped: dict[str, int] = {}
    cut = _day(now, retention.reports)
    if _old_partitions(store, "reports", cut):
        store.execute(_HORIZON, {"before": cut * DAY_MS})
    for table, name in _DAILY.items():
        for partition in _old_partitions(store, table, _day(now, getattr(retention, name))):
            store.execute(f"ALTER TABLE {table} DROP PARTITION {partition}")
            dropped[table] = dropped.get(table, 0) + 1
    _delete(store, "rejected", "received_at", now - retention.rejected * DAY_MS)
    _delete(store, "cell_days", "day", now - retention.minutes * DAY_MS)
    for table in ("minutes", "coverage_minutes", "heard_minutes", "restatements", "imported_minutes"):
        _delete(store, table, "minute", now - retention.minutes * DAY_MS)
    _forget_dirty(store, _day(now, retention.slices) * DAY_MS)
    return dropped


def _day(now: int, days: int) -> int:
    return now // DAY_MS - days


def _old_partitions(store: Store, table: str, before_day: int) -> list[int]:
    column = "hour" if table == "cell_hours" else "minute"
    days: list[int] = store.query(_PARTITIONS.format(table=table, column=column), {"before": before_day * DAY_MS})[
        "day"
    ]
    return days


def _delete(store: Store, table: str, column: str, before: int) -> None:
    found = store.query(f"SELECT count() AS n FROM {table} WHERE {column} < {{before:Int64}}", {"before": before})
    if found["n"][0]:
        store.execute(f"DELETE FROM {table} WHERE {column} < {{before:Int64}}", {"before": before})


def _forget_dirty(store: Store, before: int) -> None:
    """A minute without its slices can't be recomputed, and recomputing it would empty it: it stays as it was."""
    old = "SELECT minute FROM dirty_minutes FINAL WHERE dirty = 1 AND minute < {before:Int64}"
    rows = store.query(old, {"before": before})
    size = len(rows["minute"])
    if size:
        stamp = pa.array([Versions(store).next()] * size, pa.uint64())
        flags = pa.array([0] * size, pa.uint8())
        store.insert("dirty_minutes", pa.table({"minute": rows["minute"], "dirty": flags, "stamp": stamp}))
