import pytest

from tests.history.store_contract import StoreContract


class TestClickHouseStore(StoreContract):
    """A server keeps the contract."""

    @pytest.fixture
    def store(self, served):
        return served.empty()
