import random

import pyarrow as pa
import pytest

from contracts import topics
from contracts.arrow import batch
from contracts.columns import COUNT_NAMES, QUALITY_MINUTES
from contracts.errors import ContractError
from contracts.histogram import latency_base_ms, quantile
from contracts.protocols import Record
from contracts.times import HOUR_MS
from history import queries
from history.query_fleet import served_by
from history.sink import Sink, SinkSettings
from tests.history import reference
from tests.history.builders import MINUTE, T0, Box, make_slice, random_fleet, rejected_batch, send, send_batch

PROMPT = SinkSettings(flush_every_ms=0, late_refresh_ms=0)
END = T0 + 6 * MINUTE


@pytest.fixture
def fleet(store, log):
    """Reports of five boxes over six minutes, all stored and recomputed."""
    reports = random_fleet(random.Random(21))
    send(log, *reports)
    Sink(log, store, PROMPT).drain(T0 + 7 * MINUTE)
    return reports


def total(reports, customer, name, service=None):
    found = reference.minutes(reports)
    return sum(c[name] for (_, who, what), (c, _) in found.items() if who == customer and service in (None, what))


def merged(reports, customer, services, minutes=None):
    cells = {}
    for (minute, who, what), (_, latency) in reference.minutes(reports).items():
        if who == customer and what in services and (minutes is None or minute in minutes):
            for cell, n in latency.items():
                cells[cell] = cells.get(cell, 0) + n
    return cells


def test_totals_per_customer_and_response_class_equal_what_was_sent(store, fleet):
    got = queries.customer_totals(store, T0, END)
    assert set(got) == {"acme", "beta", "calc"}
    for customer, counts in got.items():
        assert counts == {name: total(fleet, customer, name) for name in COUNT_NAMES}


def test_the_overview_keeps_counts_coverage_and_the_bases_of_latency_apart(store, fleet):
    rows = {row.customer: row for row in queries.fleet_overview(store, T0, END, spark_step_ms=2 * MINUTE)}
    acme, calc = rows["acme"], rows["calc"]
    assert acme.total.requests == total(fleet, "acme", "requests") == sum(acme.spark_requests)
    assert acme.total.failures == total(fleet, "acme", "f_server") == sum(acme.spark_failures)
    assert len(acme.spark_requests) == 3
    covered = reference.coverage(fleet, range(T0, END, MINUTE))
    per_minute = {m: sum(c["requests"] for (at, who, _), (c, _) in reference.minutes(fleet).items()
                         if at == m and who == "acme") for m in range(T0, END, MINUTE)}  # fmt: skip
    missing = sum(n * (1 / covered[m, "acme"] - 1) for m, n in per_minute.items() if n)
    assert acme.total.unmeasured == pytest.approx(missing)
    assert acme.total.coverage == pytest.approx(acme.total.requests / (acme.total.requests + missing))
    wanted = merged(fleet, "acme", ("video", "live"))
    assert acme.delivery.p95_ms == pytest.approx(quantile(wanted, 0.95, latency_base_ms("video")).value)
    assert acme.delivery.count == sum(wanted.values())
    assert acme.compute is None
    tasks = merged(fleet, "calc", ("compute",))
    assert calc.delivery is None
    assert calc.compute.p50_ms == pytest.approx(quantile(tasks, 0.5, latency_base_ms("compute")).value)


def test_a_series_has_a_full_grid_and_latency_per_step(store, fleet):
    series = queries.customer_series(store, "acme", "video", T0 - MINUTE, END, MINUTE)
    assert series.start == tuple(range(T0 - MINUTE, END, MINUTE))
    assert series.requests[0] == 0
    assert series.latency_ms["p95"][0] is None
    assert sum(series.requests) == total(fleet, "acme", "requests", "video")
    for i, at in enumerate(series.start[1:], 1):
        cells = merged(fleet, "acme", ("video",), {at})
        wanted = quantile(cells, 0.95, 1.0)
        assert series.latency_ms["p95"][i] == (pytest.approx(wanted.value) if wanted else None)
    assert not any(series.provisional[1:7])
    whole = queries.customer_series(store, "acme", None, T0, END, 6 * MINUTE)
    assert whole.requests == (total(fleet, "acme", "requests"),)


def test_whole_hours_come_from_hours_and_sum_to_the_same(store, log):
    box = Box()
    for k in range(150):
        send(log, box.report(T0 + k * MINUTE, [make_slice(requests=k + 1)]))
    Sink(log, store, PROMPT).drain(T0 + 151 * MINUTE)
    start, end = T0 + 7 * MINUTE, T0 + 140 * MINUTE
    wanted = sum(k + 1 for k in range(7, 140))
    assert queries.fleet_overview(store, start, end)[0].total.requests == wanted
    cells = queries.latency_cells(store, start, end)
    assert {key: sum(histogram.values()) for key, histogram in cells.items()} == {("acme", "video"): wanted}
    assert queries.services_by_customer(store, start, end) == {"acme": ("video",)}
    assert queries.services_by_customer(store, T0 + 200 * MINUTE, T0 + 201 * MINUTE) == {}
    hourly = queries.customer_series(store, "acme", None, T0, T0 + 2 * HOUR_MS, HOUR_MS)
    assert hourly.requests == (sum(range(1, 61)), sum(range(61, 121)))
    store.execute("TRUNCATE TABLE minutes")
    with_hours = queries.customer_series(store, "acme", None, T0, T0 + 2 * HOUR_MS, HOUR_MS)
    assert with_hours.requests == (0, 0), "without a newest minute no hour is known to be over"


def test_an_unmeasured_customer_is_expected_not_absent(store, log):
    box = Box()
    for k in range(6):
        send(log, box.report(T0 + k * 10_000, [make_slice(requests=5)]))
    sink = Sink(log, store, PROMPT)
    sink.drain(T0 + 4 * MINUTE)
    (row,) = queries.fleet_overview(store, T0 + MINUTE, T0 + 3 * MINUTE)
    assert (row.total.requests, row.total.failure_ratio, row.total.coverage) == (0, None, 0.0)
    assert row.total.unmeasured == pytest.approx(60)


def test_stream_minutes_fill_in_until_history_shows_the_minute(store, log):
    values = {c.name: [0] for c in QUALITY_MINUTES}
    values |= {f"{h}_{part}": [[]] for h in ("latency", "throughput") for part in ("cell", "count")}
    values |= {"minute": [T0], "customer": ["acme"], "service": ["video"], "requests": [7], "coverage": [1.0]}
    send_batch(log, topics.QUALITY_MINUTES, "acme", batch(QUALITY_MINUTES, values, pa), T0)
    sink = Sink(log, store, PROMPT)
    sink.drain(T0 + MINUTE)
    series = queries.customer_series(store, "acme", None, T0, T0 + MINUTE)
    assert (series.requests, series.provisional) == ((7,), (True,))
    send(log, Box().report(T0, [make_slice(requests=9)]))
    sink.drain(T0 + MINUTE + 1)
    series = queries.customer_series(store, "acme", None, T0, T0 + MINUTE)
    assert (series.requests, series.provisional) == ((9,), (True,))
    sink.drain(T0 + 2 * MINUTE)
    assert queries.customer_series(store, "acme", None, T0, T0 + MINUTE).provisional == (False,)


def test_traffic_and_boxes_by_place(store, fleet):
    by_isp = {g.value: g.requests for g in queries.traffic_by(store, "client_isp", T0, END)}
    sent = [r for _, rows in fleet for r in rows]
    assert by_isp == {v: sum(r["requests"] for r in sent if r["client_isp"] == v) for v in ("telecom", "unicom")}
    of_acme = queries.traffic_by(store, "sched_rule", T0, END, customer="acme")
    assert sum(g.requests for g in of_acme) == total(fleet, "acme", "requests")
    boxes = queries.boxes_by(store, "device_region", T0 + 5 * MINUTE, END)
    heard = {h["device"] for h, _ in fleet if h["start"] >= T0 + 5 * MINUTE}
    assert [(g.value, g.seen, g.silent) for g in boxes] == [("hebei", len(heard), 5 - len(heard))]
    with pytest.raises(ContractError, match="dimension"):
        queries.traffic_by(store, "1; DROP TABLE minutes", T0, END)
    with pytest.raises(ContractError, match="dimension"):
        queries.boxes_by(store, "client_isp", T0, END)


def test_whom_some_boxes_served_the_most_first(store, fleet):
    boxes = sorted({h["device"] for h, _ in fleet})[:2]
    sent: dict[str, int] = {}
    for head, rows in fleet:
        if head["device"] in boxes and T0 + MINUTE <= head["start"] < END:
            for row in rows:
                sent[row["customer"]] = sent.get(row["customer"], 0) + row["requests"]
    expected = sorted((c for c, n in sent.items() if n), key=lambda c: (-sent[c], c))
    assert served_by(store, boxes, T0 + MINUTE, END) == tuple(expected)
    assert served_by(store, ["nobody"], T0, END) == ()


def test_boxes_are_listed_as_their_newest_report_left_them(store, log):
    old, new = Box(), Box("box-2", firmware="9")
    send(log, old.report(T0, []), new.report(T0, []), new.report(T0 + 10 * MINUTE, []))
    late = Box("box-2", "boot-0", firmware="8").report(T0 + MINUTE, [])
    Sink(log, store, PROMPT).drain(T0 + 11 * MINUTE)
    send(log, late)
    Sink(log, store, PROMPT).drain(T0 + 11 * MINUTE)
    found = queries.devices(store)
    assert [(d.device, d.seq, d.last_seen) for d in found] == [
        ("box-1", 1, T0 + 10_000),
        ("box-2", 2, T0 + 10 * MINUTE + 10_000),
    ]
    assert queries.device(store, "box-2").attributes["firmware"] == "9"
    assert queries.device(store, "nobody") is None
    counts = queries.box_counts(store, T0 + 11 * MINUTE)
    assert (counts.total, counts.seen, counts.silent) == (2, 1, 1)


def test_freshness_before_and_after_the_first_data(store, log):
    assert queries.freshness(store).newest_end is None
    send(log, Box().report(T0, [make_slice()]))
    Sink(log, store, PROMPT).drain(T0 + 2 * MINUTE)
    fresh = queries.freshness(store)
    assert (fresh.newest_end, fresh.newest_minute, fresh.closed_through) == (T0 + 10_000, T0, T0)
    assert fresh.dirty_minutes == 0


def test_refusals_changes_and_services(store, log):
    for i, (reason, state) in enumerate([("bad_slices", "kept"), ("bad_slices", "kept"), ("malformed", "replayed")]):
        row = rejected_batch(id=f"r{i}", reason=reason, state=state, body=b"\x00\xff", requests=3, received_at=T0 + i)
        send_batch(log, topics.REJECTED, "d", row, T0)
    change = b'{"id":"c%d","kind":"firmware","scope":{"firmware":"2"},"start":%d,"end":%s,"author":"li"}'
    for i, (start, end) in enumerate([(T0, b"null"), (T0 - 9 * MINUTE, b"%d" % (T0 + 1)), (T0 - MINUTE, b"null")]):
        log.submit([Record(topics.CHANGES.name, b"c", change % (i, start, end), T0)])
    send(log, Box().report(T0, [make_slice(), make_slice(service="live")]))
    Sink(log, store, PROMPT).drain(T0 + 2 * MINUTE)
    (reason,) = queries.rejected_by_reason(store, T0, T0 + 10)
    assert (reason.reason, reason.refusals, reason.requests, reason.newest) == ("bad_slices", 2, 6, T0 + 1)
    assert [r.id for r in queries.rejected(store, T0, T0 + 10)] == ["r2", "r1", "r0"]
    assert queries.rejected_one(store, "r1").body == b"\x00\xff"
    assert queries.rejected_one(store, "nope") is None
    assert [c.id for c in queries.changes(store, T0, T0 + MINUTE)] == ["c1", "c0"]
    assert queries.changes(store, T0, T0 + MINUTE)[0].scope == {"firmware": "2"}
    assert queries.services(store, "acme") == ("live", "video")
