"""Readers of a server's history: they ask, create nothing, and say what is missing."""

import pyarrow as pa
import pytest

from contracts.protocols import StoreError, StoreUnavailable
from history.clickhouse_store import ClickHouseStore
from history.errors import SchemaBehind, SchemaMismatch
from history.ledger import ledger
from history.migrate import Migration, check, migrations

TABLES = "SELECT count() AS n FROM system.tables WHERE database = {name:String}"
ONE_MORE = Migration(len(migrations()) + 1, "more", "SELECT 1")


@pytest.fixture
def empty_url(served, server_url):
    """A database without tables."""
    store = served.empty()
    store.execute("DROP DATABASE IF EXISTS readers_test")
    store.execute("CREATE DATABASE readers_test")
    path, _, options = server_url.partition("?")
    yield f"{path.rpartition('/')[0]}/readers_test{'?' if options else ''}{options}"
    store.execute("DROP DATABASE readers_test")


def test_a_reader_creates_nothing_and_says_who_does(served, empty_url):
    with pytest.raises(SchemaBehind, match=r"expected its tables .*, found none; `dipper sink`") as caught:
        ClickHouseStore(empty_url, read_only=True)
    assert isinstance(caught.value, StoreUnavailable), "worth waiting for: the sink may be about to make them"
    assert served.empty().query(TABLES, {"name": "readers_test"})["n"] == [0]


def test_a_reader_asks_and_cannot_change_anything(served, server_url):
    served.empty()
    with ClickHouseStore(server_url, read_only=True) as reader:
        assert ledger(reader, 0).balanced
        for write in (
            lambda: reader.execute("TRUNCATE TABLE positions"),
            lambda: reader.insert("positions", pa.table({"topic": ["a"], "partition": [1], "next": [5]})),
        ):
            with pytest.raises(StoreError, match="opened to be read"):
                write()
        # Were it tried all the same, the server would not do it.
        with pytest.raises(StoreError, match="readonly"):
            reader.query("CREATE TABLE made (a Int64) ENGINE = Memory")


def test_a_reader_names_migrations_that_are_missing_unknown_or_edited(store):
    check(store)
    with pytest.raises(SchemaBehind, match=f"expected migration {ONE_MORE.number:04d}_more in the database"):
        check(store, [*migrations(), ONE_MORE])
    last = Migration(ONE_MORE.number + 2, "last", "SELECT 1")
    between = Migration(ONE_MORE.number + 1, "between", "SELECT 1")
    with pytest.raises(SchemaBehind, match=rf"expected 3 migrations, \d+_more to {last.number:04d}_last, in the"):
        check(store, [*migrations(), ONE_MORE, between, last])
    with pytest.raises(SchemaMismatch, match="the data is newer"):
        check(store, migrations()[:-1])
    edited = [*migrations()[:-1], Migration(len(migrations()), migrations()[-1].name, "SELECT 2")]
    with pytest.raises(SchemaMismatch, match="expected checksum"):
        check(store, edited)
