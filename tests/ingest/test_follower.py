"""What a gateway learns from the log when it starts."""

import logging

import pyarrow as pa

from contracts.arrow import HEARTBEAT, KIND_HEADER, batch, to_bytes
from contracts.columns import REPORTS as COLUMNS
from contracts.protocols import Record
from contracts.topics import REPORTS
from ingest.follower import Follower
from ingest.known import KnownReports, Seen
from ingest.log.embedded import EmbeddedLog

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
