"""What a gateway learns from the log when it starts, and goes on to learn."""

import asyncio
import logging
import threading

import pyarrow as pa
import pytest

from contracts.arrow import HEARTBEAT, KIND_HEADER, batch, to_bytes
from contracts.columns import REPORTS as COLUMNS
from contracts.protocols import LogUnavailable, Record
from contracts.rights import RIGHTS
from contracts.topics import REPORTS
from ingest import follower as following
from ingest.follower import Follower
from ingest.known import KnownReports, Seen
from ingest.log.embedded import EmbeddedLog
from tests.ingest.log_contract import DEADLINE_S, until

AT = 1_700_000_000_000
DIGEST = "0123456789abcdef" * 4


def message(*rows):
    """A record with reports (device, seq, total_requests)."""
    empty = {"int64": 0, "float64": None, "bool": False}
    values = {column.name: [empty.get(column.dtype, "")] * len(rows) for column in COLUMNS}
    device, seq, total = zip(*rows, strict=True)
    values |= {"device": device, "seq": seq, "total_requests": total}
    values |= {"boot": ["b"] * len(rows), "digest": [DIGEST] * len(rows)}
    return Record(REPORTS.name, b"", to_bytes(batch(COLUMNS, values, pa), pa), AT, 0)


def learned(folder, records):
    known = KnownReports(100, 32)
    follower = Follower(known)
    with EmbeddedLog(folder, partitions=1, group_commit_ms=1, min_free_bytes=0) as log:
        log.submit(records).result()
        follower.catch_up(log, AT - 1)
        follower.stop()
    return known, follower.count


def test_it_knows_every_stored_report_by_its_digest_and_the_newest_totals(tmp_path):
    heartbeat = Record(REPORTS.name, b"", b"", AT, 0, {KIND_HEADER: HEARTBEAT})
    known, count = learned(tmp_path, [message(("d1", 1, 5), ("d2", 7, 3)), heartbeat, message(("d1", 2, 9))])
    assert count == 3
    assert known.look("d1", "b", 1, DIGEST) is Seen.SAME
    assert known.look("d1", "b", 2, "f" * 64) is Seen.OTHER
    assert known.look("d1", "b", 3, DIGEST) is Seen.NEW
    assert known.newest("d1", "b") == (2, (9, 0, 0, 0, 0))
    assert known.newest("d2", "b") == (7, (3, 0, 0, 0, 0))


def test_a_record_nobody_can_read_is_named_and_keeps_no_gateway_from_starting(tmp_path, caplog):
    poison = Record(REPORTS.name, b"", b"not arrow", AT, 0)
    with caplog.at_level(logging.WARNING):
        known, count = learned(tmp_path, [message(("d1", 1, 5)), poison, message(("d1", 2, 9))])
    assert count == 2
    assert known.look("d1", "b", 2, DIGEST) is Seen.SAME
    assert "partition 0, offset 1" in caplog.text


class Failing:
    """The log, but its readers fail on each poll while `failures` are left."""

    def __init__(self, log, failures, error):
        self._log, self._error = log, error
        self.failures = failures
        self.failed = threading.Event()

    def __getattr__(self, name):
        return getattr(self._log, name)

    def reader(self, start):
        return FailingReader(self._log.reader(start), self)

    def poll(self):
        if self.failures:
            self.failures -= 1
            self.failed.set()
            raise self._error


class FailingReader:
    def __init__(self, reader, log):
        self._reader, self._log_of = reader, log

    def __getattr__(self, name):
        return getattr(self._reader, name)

    def poll(self, max_records, timeout_s):
        self._log_of.poll()
        return self._reader.poll(max_records, 0.01)


@pytest.mark.parametrize("error", [LogUnavailable("nobody answers"), AttributeError("nobody expected this")])
def test_following_outlives_whatever_fails_and_tells_of_it(tmp_path, monkeypatch, caplog, error):
    monkeypatch.setattr(following, "RETRY_S", 0.01)
    known = KnownReports(100, 32)
    follower = Follower(known)
    with EmbeddedLog(tmp_path, partitions=1, group_commit_ms=1, min_free_bytes=0) as real:
        log = Failing(real, 0, error)
        follower.catch_up(log, AT - 1)
        assert follower.error == ""
        log.failures = 1_000_000
        follower.start()
        assert log.failed.wait(DEADLINE_S)
        until(lambda: str(error) in follower.error, "the failure is told")
        real.submit([message(("d1", 1, 5))]).result()
        log.failures = 0
        until(lambda: known.look("d1", "b", 1, DIGEST) is Seen.SAME, "learning goes on")
        until(lambda: follower.error == "", "the failure is over")
        follower.stop()
    said = [r.getMessage() for r in caplog.records if str(error) in r.getMessage()]
    assert len(said) == 1


def test_a_gateway_that_cannot_follow_says_so_in_its_metrics(house):
    house.run(asyncio.sleep(0))
    assert "dipper_gateway_follow_failing 0\n" in house.gateway.metrics_text()
    house.gateway._follower.error = "nobody answers"
    assert "dipper_gateway_follow_failing 1\n" in house.gateway.metrics_text()


@pytest.mark.parametrize("component", ["gateway", "intake"])
def test_who_learns_what_is_stored_may_read_it(tmp_path, monkeypatch, component):
    asked = set()
    with EmbeddedLog(tmp_path, partitions=1, group_commit_ms=1, min_free_bytes=0) as log:
        real = log.reader
        monkeypatch.setattr(log, "reader", lambda start: (asked.update(topic for topic, _ in start), real(start))[1])
        learner = Follower(KnownReports(100, 32))
        learner.catch_up(log, AT - 1)
        learner.stop()
    allowed = {r.name for r in RIGHTS[component] if (r.operation, r.resource) == ("Read", "topic")}
    assert asked
    assert asked <= allowed
