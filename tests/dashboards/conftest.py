"""Every test leaves the process without a data source, as it found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dashboards import context


@pytest.fixture(autouse=True)
def no_context_left_behind() -> Iterator[None]:
    yield
    context.clear_context()
