"""The tests run on both stores: the embedded engine (one per process: they share it) and a ClickHouse server, each with
empty tables. DIPPER_TEST_CLICKHOUSE names a real server; without it the native-protocol test server stands in."""

import os

import pytest

from history.chdb_store import ChdbStore
from history.clickhouse_store import ClickHouseStore
from history.clickhouse_url import servers
from tests.history.builders import MemoryLog

REAL_SERVER = "DIPPER_TEST_CLICKHOUSE"


class SharedStore:
    """Opens the shared store when it is asked for; tests that need a path of their own close it first."""

    def __init__(self, open_store):
        self._open = open_store
        self._store = None

    def empty(self):
        if self._store is None:
            self._store = self._open()
        tables = self._store.query("SELECT name FROM system.tables WHERE database = currentDatabase()")["name"]
        for name in tables:
            kept = name == "schema_versions" or name.endswith("_local")
            if not kept and self._store.query(f"SELECT count() AS n FROM {name}")["n"][0]:
                self._store.execute(f"TRUNCATE TABLE {name}")
        return self._store

    def close(self):
        if self._store is not None:
            self._store.close()
            self._store = None


@pytest.fixture(scope="session")
def embedded(tmp_path_factory):
    path = tmp_path_factory.mktemp("history")
    shared = SharedStore(lambda: ChdbStore(path, min_free_bytes=0))
    yield shared
    shared.close()


@pytest.fixture(scope="session")
def server_url(request):
    """Where the server is whose tables these tests may empty."""
    url = os.environ.get(REAL_SERVER)
    if url is None:
        return request.getfixturevalue("clickhouse_url")
    if not servers(url).database.endswith("_test"):
        pytest.fail(f"{REAL_SERVER}: expected a database that ends in _test, for these tests empty its tables")
    return url


@pytest.fixture(scope="session")
def served(server_url):
    shared = SharedStore(lambda: ClickHouseStore(server_url))
    yield shared
    shared.close()


@pytest.fixture(scope="session", params=["embedded", "served"])
def shared_store(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def store(shared_store):
    return shared_store.empty()


@pytest.fixture
def log():
    return MemoryLog()


@pytest.fixture
def own_path(embedded, tmp_path):
    """A folder for an embedded store of this test's own."""
    embedded.close()
    return tmp_path / "history"
