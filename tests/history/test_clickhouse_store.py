import pytest

from history.clickhouse_store import ClickHouseStore
from tests.history.store_contract import StoreContract


@pytest.fixture(scope="session")
def server_store(clickhouse_url):
    with ClickHouseStore(clickhouse_url) as store:
        yield store


@pytest.fixture
def store(server_store):
    for name in server_store.query("SELECT name FROM system.tables WHERE database = 'dipper'")["name"]:
        if name != "schema_versions" and server_store.query(f"SELECT count() AS n FROM {name}")["n"][0]:
            server_store.execute(f"TRUNCATE TABLE {name}")
    return server_store


class TestClickHouseStore(StoreContract):
    """A server keeps the contract."""
