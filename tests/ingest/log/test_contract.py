"""The embedded log keeps the contract of every log, with large and with very small segments."""

import pytest

from ingest.log import EmbeddedLog
from tests.ingest.log_contract import LogContract


@pytest.fixture(params=[64 * 1024 * 1024, 300], ids=["one-segment", "many-segments"])
def make_log(request, tmp_path):
    opened = []

    def make():
        log = EmbeddedLog(tmp_path / "log", segment_bytes=request.param, group_commit_ms=0, min_free_bytes=0)
        opened.append(log)
        return log

    yield make
    for log in opened:
        log.close()


class TestEmbeddedLog(LogContract):
    pass
