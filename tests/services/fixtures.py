"""Session fixtures of services that tests share; the first test that asks for a service imports and starts it."""

import pytest


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    """A running tests.services.kafka.Broker with one node; tests take topics of their own names or prefixes."""
    from tests.services.kafka import Broker

    with Broker(tmp_path_factory.mktemp("kafka"), quick=True) as broker:
        yield broker


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory):
    """A running tests.services.clickhouse.NativeServer with the empty database `dipper`."""
    from tests.services.clickhouse import NativeServer

    with NativeServer(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture(scope="session")
def clickhouse_url(clickhouse):
    """Connection string of the shared server; whoever uses it empties the tables it needs empty."""
    return clickhouse.url
