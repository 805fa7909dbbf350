"""Numbered migrations: forward only, one purpose each, applied once, remembered with their checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import pyarrow as pa

from contracts.protocols import Store
from history.errors import SchemaBehind, SchemaMismatch

_VERSIONS = """CREATE TABLE IF NOT EXISTS schema_versions
(number Int64, name String, sha256 String) ENGINE = ReplacingMergeTree ORDER BY number"""
_APPLIED = "SELECT number, name, sha256 FROM schema_versions FINAL"
_BEGUN = "SELECT count() AS n FROM system.tables WHERE database = currentDatabase() AND name = 'schema_versions'"
_WHO = "`dipper sink` of this version applies it when it starts"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file `NNNN_name.sql`."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Checksum of the text, so that an edited migration is noticed."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """Statements of the file; each ends with a semicolon at the end of a line."""
        return [s.strip() for s in self.sql.split(";\n") if s.strip()]


def migrations() -> list[Migration]:
    """All migrations of this program, by number."""
    found = []
    for file in resources.files("history").joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda m: m.number)


def applied(store: Store) -> dict[int, tuple[str, str]]:
    """(name, sha256) by number, of what the store has."""
    rows = store.query(_APPLIED)
    return {n: (name, sha) for n, name, sha in zip(rows["number"], rows["name"], rows["sha256"], strict=True)}


def check(store: Store, wanted: list[Migration] | None = None) -> None:
    """Whether the store has this program's tables; asks only, creates nothing. Raises SchemaBehind when migrations are
    missing, SchemaMismatch for an edited or an unknown one."""
    wanted = migrations() if wanted is None else wanted
    if store.query(_BEGUN)["n"] == [0]:
        raise SchemaBehind(f"history: expected its tables in the database, found none; {_WHO}")
    have = applied(store)
    _compare(have, wanted)
    missing = [m for m in wanted if m.number not in have]
    if missing:
        first, last = (f"{m.number:04d}_{m.name}" for m in (missing[0], missing[-1]))
        named = f"migration {first}" if len(missing) == 1 else f"{len(missing)} migrations, {first} to {last},"
        raise SchemaBehind(f"history: expected {named} in the database; {_WHO}")


def _compare(have: Mapping[int, tuple[str, str]], wanted: list[Migration]) -> None:
    known = {m.number: m for m in wanted}
    for number, (name, sha) in have.items():
        if number not in known:
            raise SchemaMismatch(f"migration {number:04d}_{name}: expected in this program; the data is newer")
        if known[number].sha256 != sha:
            raise SchemaMismatch(f"migration {number:04d}_{name}: expected checksum {known[number].sha256}, got {sha}")


def migrate(store: Store, wanted: list[Migration] | None = None) -> list[int]:
    """Apply what is missing, in order; returns the numbers applied. A crash in the middle of a migration repeats it,
    so every statement may run again. Raises SchemaMismatch for an edited or an unknown migration."""
    wanted = migrations() if wanted is None else wanted
    store.execute(_VERSIONS)
    have = applied(store)
    _compare(have, wanted)
    done = []
    for migration in wanted:
        if migration.number in have:
            continue
        for statement in migration.statements:
            store.execute(statement)
        row = {"number": [migration.number], "name": [migration.name], "sha256": [migration.sha256]}
        store.insert("schema_versions", pa.table(row))
        done.append(migration.number)
    return done
