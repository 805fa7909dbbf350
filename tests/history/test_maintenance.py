import json
import random
from dataclasses import replace

import pytest

from contracts.protocols import StoreError
from contracts.times import DAY_MS
from history.chdb_store import ChdbStore
from history.ledger import ledger
from history.maintenance import MANIFEST, Retention, backup, expire, restore
from history.sink import Sink, SinkSettings
from tests.history.builders import MINUTE, T0, Box, make_slice, random_fleet, rejected_batch, send
from tests.history.test_sink import assert_truth

PROMPT = SinkSettings(flush_every_ms=0, late_refresh_ms=0)


def test_a_backup_is_restored_with_the_same_books_and_goes_on(own_path, log, tmp_path):
    reports = random_fleet(random.Random(31), boxes=3, minutes=3)
    first, second = reports[:30], reports[30:]
    with ChdbStore(own_path, min_free_bytes=0) as store:
        send(log, *first)
        Sink(log, store, PROMPT).drain(T0 + 2 * MINUTE)
        made = backup(store, tmp_path / "it's a backup", T0)
        with pytest.raises(StoreError, match="does not exist"):
            backup(store, made, T0)
        books = ledger(store, T0).to_json()
        send(log, *second)
        Sink(log, store, PROMPT).drain(T0 + 5 * MINUTE)
    restored = restore(made, tmp_path / "restored", min_free_bytes=0)
    with restored:
        assert ledger(restored, T0).to_json() == books
        Sink(log, restored, PROMPT).drain(T0 + 5 * MINUTE)
        assert_truth(restored, reports)
        assert ledger(restored, T0).balanced


def test_restore_refuses_what_is_no_whole_backup(own_path, log, tmp_path):
    with ChdbStore(own_path, min_free_bytes=0) as store:
        send(log, Box().report(T0, [make_slice()]))
        Sink(log, store, PROMPT).drain(T0 + 2 * MINUTE)
        made = backup(store, tmp_path / "backup", T0)
    with pytest.raises(StoreError, match="empty or new folder"):
        restore(made, own_path)
    manifest = json.loads((made / MANIFEST).read_text())
    manifest["ledger"]["requests"]["stored"] += 1
    (made / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="differs"):
        restore(made, tmp_path / "other", min_free_bytes=0)
    (made / MANIFEST).unlink()
    with pytest.raises(StoreError, match="finished backup"):
        restore(made, tmp_path / "third")


def test_expiry_drops_whole_days_by_the_given_time_and_the_books_stay_balanced(store, log):
    box = Box()
    days = [box.report(T0 + d * DAY_MS, [make_slice(requests=d + 1)]) for d in range(6)]
    lost = box.report(T0 + 6 * DAY_MS, [make_slice(requests=50)])
    days.append(box.report(T0 + 7 * DAY_MS, [make_slice(requests=8)]))
    send(log, *days)
    sink = Sink(log, store, PROMPT)
    now = T0 + 7 * DAY_MS + 2 * MINUTE
    sink.drain(now)
    before = ledger(store, now)
    assert (before.requests.reported, before.requests.lost) == (1 + 2 + 3 + 4 + 5 + 6 + 50 + 8, 50)
    dropped = expire(store, now, Retention(slices=3, reports=4, device_minutes=3, stream_minutes=3))
    assert dropped["slices"] == 4
    assert dropped["reports"] == 3
    after = ledger(store, now)
    assert after.balanced
    assert (after.requests.reported, after.requests.stored, after.requests.lost) == (4 + 5 + 6 + 50 + 8, 23, 50)
    assert after.boots[0].lost[0].first == lost[0]["seq"]
    assert store.query("SELECT sum(requests) AS n FROM days FINAL")["n"] == [29], "rollups outlive their rows"
    assert expire(store, now, Retention(slices=3, reports=4, device_minutes=3, stream_minutes=3)) == {}
    # A copy of an expired report is still known by nobody; it is older than the seal, so the gateway refuses it.
    assert store.query("SELECT max(seq) AS n FROM ledger_horizon FINAL")["n"] == [3]


def test_a_dirty_minute_whose_slices_expired_keeps_its_rollup(store, log):
    send(log, Box().report(T0, [make_slice()]))
    sink = Sink(log, store, PROMPT)
    sink.drain(T0 + 2 * MINUTE)
    sink._dirty.mark([T0], T0)
    expire(store, T0 + 30 * DAY_MS)
    Sink(log, store, PROMPT).drain(T0 + 30 * DAY_MS)
    assert store.query("SELECT sum(requests) AS n FROM minutes FINAL")["n"] == [10]


def test_refusals_expire_by_receipt(store):
    store.insert("rejected", rejected_batch(id="old", received_at=T0))
    store.insert("rejected", rejected_batch(id="new", received_at=T0 + 10 * DAY_MS))
    expire(store, T0 + 15 * DAY_MS, replace(Retention(), rejected=10))
    assert store.query("SELECT id FROM rejected FINAL") == {"id": ["new"]}


def test_retention_below_the_seal_is_refused():
    with pytest.raises(StoreError, match=r"retention\.slices.*at least 3"):
        Retention(slices=2)
    with pytest.raises(StoreError, match=r"retention\.reports"):
        Retention(slices=9, reports=8)
