"""Records as rows of tables: read together where they are small, told one by one where one cannot be read."""

import pyarrow as pa

from contracts import topics
from contracts.arrow import to_bytes
from contracts.protocols import StoredRecord
from history import records
from history.records import decode, decode_one, joined
from tests.history.builders import T0, Box, make_slice, slice_batch

SLICES = topics.SLICES.name


def stored(offset, value, headers=None):
    return StoredRecord(SLICES, 0, offset, b"acme", value, T0, headers or {})


def message(box, start, rows=1):
    return to_bytes(slice_batch([box.report(start, [make_slice()] * rows)]), pa)


def test_small_messages_are_read_as_one_and_hold_the_rows_of_each_in_turn():
    box = Box()
    some = [stored(n, message(box, T0 + n * 10_000, rows=n + 1)) for n in range(4)]
    some.insert(2, stored(9, b"", {"kind": "heartbeat"}))
    (rows,) = decode(some).tables["slices"]
    assert [r.offset for r in rows.records] == [0, 1, 2, 3]
    alone = joined([part for record in rows.records for part in decode_one(record).tables["slices"]])
    assert joined([rows]).to_pylist() == alone.to_pylist()
    assert rows.batch.num_rows == 1 + 2 + 3 + 4


def test_one_that_cannot_be_read_is_named_and_the_others_are_kept():
    box = Box()
    found = decode([stored(0, message(box, T0)), stored(1, b"not arrow"), stored(2, message(box, T0 + 10_000))])
    assert [(p.record.offset, p.reason) for p in found.poison] == [(1, "malformed_batch")]
    assert [[r.offset for r in rows.records] for rows in found.tables["slices"]] == [[0], [2]]


def test_large_messages_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(records, "SMALL_BYTES", 0)
    box = Box()
    found = decode([stored(n, message(box, T0 + n * 10_000)) for n in range(3)])
    assert [len(rows.records) for rows in found.tables["slices"]] == [1, 1, 1]
