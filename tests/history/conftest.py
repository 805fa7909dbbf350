"""One engine per process: the tests share it, each with empty tables."""

import pytest

from history.chdb_store import ChdbStore
from tests.history.builders import MemoryLog


class SharedStore:
    """Opens the shared store when it is asked for; tests that need a path of their own close it first."""

    def __init__(self, path):
        self._path = path
        self._store = None

    def empty(self):
        if self._store is None:
            self._store = ChdbStore(self._path, min_free_bytes=0)
        tables = self._store.query("SELECT name FROM system.tables WHERE database = 'dipper'")["name"]
        for name in tables:
            if name != "schema_versions" and self._store.query(f"SELECT count() AS n FROM {name}")["n"][0]:
                self._store.execute(f"TRUNCATE TABLE {name}")
        return self._store

    def close(self):
        if self._store is not None:
            self._store.close()
            self._store = None


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory):
    shared = SharedStore(tmp_path_factory.mktemp("history"))
    yield shared
    shared.close()


@pytest.fixture
def store(shared_store):
    return shared_store.empty()


@pytest.fixture
def log():
    return MemoryLog()


@pytest.fixture
def own_path(shared_store, tmp_path):
    """A folder for a store of this test's own."""
    shared_store.close()
    return tmp_path / "history"
