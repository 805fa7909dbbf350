"""A gateway on an empty log."""

import pytest

from tests.ingest.builders import House


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.close()
