from dataclasses import replace

import pytest

from contracts.columns import TABLES
from history.errors import SchemaMismatch
from history.migrate import Migration, applied, migrate, migrations

ENGINE_TYPES = {
    "int64": {"Int64"},
    "float64": {"Nullable(Float64)"},
    "string": {"LowCardinality(String)", "String"},
    "text": {"String"},
    "bytes": {"String"},
    "bool": {"Bool"},
    "list<uint8>": {"Array(UInt8)"},
    "list<uint32>": {"Array(UInt32)"},
}
STORED_AS = {"quality_minutes": "stream_minutes"}
NOT_STORED = {"quality_cube", "device_evidence", "quality_memory"}  # the stream's own; history computes its own truth


def test_numbers_have_no_holes_and_every_migration_has_one_purpose():
    found = migrations()
    assert [m.number for m in found] == list(range(1, len(found) + 1))
    for migration in found:
        assert len(migration.statements) == 1, migration.name
        assert migration.sql.startswith("-- "), f"{migration.name} does not say what it is for"


def test_all_migrations_are_applied_once(store):
    assert migrate(store) == []
    assert sorted(applied(store)) == [m.number for m in migrations()]


@pytest.mark.parametrize("name", sorted(set(TABLES) - NOT_STORED))
def test_live_tables_have_the_declared_columns(store, name):
    rows = store.query(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
        " AND default_kind != 'MATERIALIZED' ORDER BY position",
        {"table": STORED_AS.get(name, name)},
    )
    assert rows["name"] == [c.name for c in TABLES[name]]
    for column, kind in zip(TABLES[name], rows["type"], strict=True):
        assert kind in ENGINE_TYPES[column.dtype], column.name


def test_a_new_migration_is_applied_and_an_interrupted_one_repeated(store):
    extra = Migration(
        len(migrations()) + 1, "extra", "-- x\nCREATE TABLE IF NOT EXISTS extra (a Int64) ENGINE = Memory;\n"
    )
    try:
        store.execute(extra.statements[0])  # as if the process had died before it was remembered
        assert migrate(store, [*migrations(), extra]) == [extra.number]
        with pytest.raises(SchemaMismatch, match=r"extra.*newer"):
            migrate(store)
    finally:
        store.execute("DROP TABLE IF EXISTS extra")
        store.execute("DELETE FROM schema_versions WHERE number = {n:Int64}", {"n": extra.number})


def test_an_edited_migration_is_noticed(store):
    first, *rest = migrations()
    with pytest.raises(SchemaMismatch, match=r"0001_slices.*checksum"):
        migrate(store, [replace(first, sql=first.sql + "-- changed\n"), *rest])
