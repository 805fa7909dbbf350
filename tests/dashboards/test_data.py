"""The pages' data from the real engine: reports through the sink, then what the backend makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from contracts import topics
from contracts.incidents import Cause, SeriesEvidence, incident_to_json
from contracts.protocols import StoredRecord
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from dashboards.context import Context, set_context
from dashboards.data import HistoryBackend, books_of, known_until, sums_of
from dashboards.model import Sums
from dashboards.overview import overview
from history.books import Account, SeqRange
from history.chdb_store import ChdbStore
from history.incident_rows import incident_rows
from history.ledger import BootBooks, Ledger
from history.query_model import Counts, CustomerOverview, Latency, RejectedReason
from history.sink import Sink, SinkSettings
from tests.dashboards.made_incidents import make_incident
from tests.dashboards.synthetic import Registry, make_customer
from tests.dashboards.test_script import answer, markup, open_page
from tests.history.builders import T0, Box, MemoryLog, make_slice, rejected_batch, send, send_batch

MINUTES = 8
NOW = T0 + MINUTES * MINUTE_MS + 25_000  # the last minute has ended for history


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HistoryBackend]:
    """Two boxes serve acme (10 a report, 1 failed after minute 5) and one serves beta; box-2 falls silent at minute 6
    and one of its reports got lost; the same minutes of acme an hour before had no failures."""
    store = ChdbStore(tmp_path_factory.mktemp("pages"), min_free_bytes=0)
    log = MemoryLog()
    sink = Sink(log, store, SinkSettings())
    one, two = Box("box-1"), Box("box-2", device_isp="telecom", device_region="beijing")
    earlier = Box("box-0", "boot-0")
    send(log, *(earlier.report(T0 - HOUR_MS + i * 10_000, [make_slice(requests=5)]) for i in range(MINUTES * 6)))
    for i in range(MINUTES * 6):
        start = T0 + i * 10_000
        failed = 1 if i >= 30 else 0
        slices = [
            make_slice(requests=10, f_server=failed, s5xx=failed, s2xx=10 - failed),
            make_slice(customer="beta", service="compute", requests=4),
        ]
        send(log, one.report(start, slices))
        if i < 36:
            report = two.report(start, [make_slice(requests=10, latency={50: 10})])
            if i != 3:
                send(log, report)
    refusal = rejected_batch(received_at=NOW - 60_000, sent_at=NOW - 60_000, reason="bad_totals")
    send_batch(log, topics.REJECTED, "box-1", refusal, NOW - 60_000)
    sink.drain(NOW)
    sink.close()
    yield HistoryBackend(store, share_s=0.0, books_share_s=0.0)
    store.close()


def test_the_present_is_the_five_newest_ended_minutes(backend: HistoryBackend) -> None:
    fleet = backend.fleet(T0 - 10 * MINUTE_MS, T0 + MINUTES * MINUTE_MS, MINUTE_MS)
    assert fleet.newest == T0 + 7 * MINUTE_MS
    assert (fleet.present_start, fleet.present_end) == (T0 + 3 * MINUTE_MS, T0 + 8 * MINUTE_MS)
    acme = fleet.present["acme"]
    # minutes 3..7: box-1 6 x 10 each; box-2 the same in minutes 3, 4, 5; failures 6 a minute in minutes 5, 6, 7
    assert (acme.requests, acme.failures) == (480, 18)
    # box-2 (60 a minute) is silent in minutes 6 and 7; box-0 (30 a minute) was heard in the hour to minutes 3..6
    assert acme.unmeasured == pytest.approx(2 * 60 + 4 * 30)
    assert fleet.present["beta"].requests == 120
    assert fleet.present["beta"].p95_ms > 1_000  # of tasks, in compute's own base


def test_the_series_stand_on_a_full_grid_and_stop_where_data_can_be_known(backend: HistoryBackend) -> None:
    fleet = backend.fleet(T0 - 10 * MINUTE_MS, T0 + 9 * MINUTE_MS, MINUTE_MS)
    steps = fleet.series["acme"]
    assert steps.until == T0 + 8 * MINUTE_MS
    assert steps.start == tuple(T0 + i * MINUTE_MS for i in range(-10, 8))
    assert steps.requests[:10] == (0,) * 10
    assert steps.requests[10:] == (110, 120, 120, 120, 120, 120, 60, 60)
    assert steps.failures[10:] == (0, 0, 0, 0, 0, 6, 6, 6)


def test_the_reference_is_the_newest_of_week_day_hour_that_has_data(backend: HistoryBackend) -> None:
    fleet = backend.fleet(T0 - 10 * MINUTE_MS, T0 + 8 * MINUTE_MS, MINUTE_MS)
    assert fleet.reference_kind == "hour"
    assert fleet.reference["acme"].requests == 150
    row = next(r for r in overview(fleet, []).rows if r.id == "acme")
    assert row.change == pytest.approx(18 / 480)


def test_boxes_and_traffic_by_isp(backend: HistoryBackend) -> None:
    fleet = backend.fleet(T0, T0 + 8 * MINUTE_MS, MINUTE_MS)
    groups = {g.name: g for g in fleet.isps}
    assert groups["unicom"].sums == Sums(420, 18)  # box-1: 5 minutes of 6 x (10 + 4); nothing of box-0 an hour ago
    assert (groups["telecom"].boxes_seen, groups["telecom"].boxes_silent) == (1, 0)  # heard within the five minutes


def test_a_customers_series_agree_with_the_fleets(backend: HistoryBackend) -> None:
    data = backend.customer("acme", None, T0, T0 + 8 * MINUTE_MS, MINUTE_MS)
    fleet = backend.fleet(T0, T0 + 8 * MINUTE_MS, MINUTE_MS)
    assert data.steps.requests == fleet.series["acme"].requests
    assert data.steps.status["s5xx"] == (0, 0, 0, 0, 0, 6, 6, 6)
    assert (data.present.requests, data.present.failures) == (480, 18)
    assert data.steps.latency_ms["p95"][0] == pytest.approx(2 ** (49.5 / 8), rel=1e-6)  # box-2's cell 50, base 1 ms


def test_a_customer_of_compute_alone_has_its_durations(backend: HistoryBackend) -> None:
    assert backend.services("beta") == ("compute",)
    data = backend.customer("beta", None, T0, T0 + 8 * MINUTE_MS, MINUTE_MS)
    assert data.steps.latency_ms["p50"][0] == pytest.approx(1_000 * 2 ** (39.5 / 8), rel=1e-6)


def test_the_books_name_the_lost_report(backend: HistoryBackend) -> None:
    books = backend.books(NOW)
    assert books.requests.difference == 0
    assert books.requests.lost == 10
    assert [(r.device, r.first, r.last, r.requests) for r in books.lost_ranges] == [("box-2", 4, 4, 10)]
    assert books.devices[0].device == "box-2"
    assert books.device_count == 3
    assert [(r.reason, r.reports) for r in books.refusals] == [("bad_totals", 1)]


def test_a_range_after_the_newest_data_holds_none(backend: HistoryBackend) -> None:
    later = T0 + 3 * DAY_MS
    assert backend.fleet(later, later + HOUR_MS, MINUTE_MS).newest is None
    assert backend.customer("acme", None, later, later + HOUR_MS, MINUTE_MS).newest is None


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("overview", "acme is below its objective: 3.75% of requests fail, promised at most 1%."),
        ("customer", "acme is below its objective since "),
        ("ledger", "10 of 1\u2009272 reported requests are lost without a declaration, in one gap."),
    ],
)
def test_every_page_draws_the_engines_data(backend: HistoryBackend, page: str, text: str) -> None:
    registry = Registry([make_customer("acme", 0.99), make_customer("beta", None)])
    set_context(Context(backend, registry, lambda: NOW, dict))
    app = open_page(page, customer="acme", range="15m")
    assert answer(app).startswith(text)
    assert "could not be drawn" not in markup(app)


def test_fresh_data_ends_at_the_newest_minute_and_stopped_data_shows_the_silence() -> None:
    assert known_until(T0, T0 + 2 * MINUTE_MS) == T0 + MINUTE_MS
    assert known_until(T0, T0 + 30 * MINUTE_MS) == T0 + 30 * MINUTE_MS


def test_latency_is_of_the_kind_with_more_requests() -> None:
    row = CustomerOverview(
        "a", Counts(10, 1, 0.0), Latency(9, 1.0, 2.0, 3.0), Latency(1, 7.0, 8.0, 9.0), T0, MINUTE_MS, (), (), ()
    )
    assert sums_of(row).p95_ms == 2.0
    assert sums_of(replace(row, delivery=None)).p95_ms == 8.0
    assert sums_of(replace(row, delivery=None, compute=None)).p95_ms is None


def test_boots_are_summed_per_box_and_trouble_comes_first() -> None:
    calm, lost = Account(reported=10, stored=10), Account(reported=10, stored=7, lost=3)
    pending = Account(reported=10, stored=9, pending=1)
    boots = (
        BootBooks("a", "1", 1, 100, calm, calm, ()),
        BootBooks("b", "1", 1, 200, pending, calm, ()),
        BootBooks("d", "1", 1, -200_000, calm, calm, ()),
        BootBooks("c", "1", 1, 300, calm, calm, ()),
        BootBooks("c", "2", 9, 400, lost, calm, (SeqRange(2, 3, 3, 1),)),
    )
    total = sum((b.requests for b in boots), Account())
    found = Ledger(500, boots, total, total, (7, 1), 2, 0)
    books = books_of(found, [RejectedReason("bad_id", 3, 0, 0, 450)])
    assert [(d.device, d.boots, d.last_seen) for d in books.devices] == [
        ("c", 2, 400),
        ("d", 1, -200_000),  # silent for more than three minutes
        ("b", 1, 200),
        ("a", 1, 100),
    ]
    assert books.devices[0].requests == Account(reported=20, stored=17, lost=3)
    assert (books.lost_range_count, books.dirty_minutes, books.unheaded_requests) == (1, 2, 7)


class CountingStore:
    def __init__(self) -> None:
        self.asked = 0

    def query(self, sql: str, parameters: object = None) -> dict[str, list[object]]:
        self.asked += 1
        return {"newest_end": [0], "newest_minute": [0], "closed_through": [0], "dirty_minutes": [0]}


def test_viewers_share_an_answer_until_it_is_too_old(tmp_path: Path) -> None:
    store, clock = CountingStore(), [100.0]
    backend = HistoryBackend(store, share_s=4.0, monotonic=lambda: clock[0])  # type: ignore[arg-type]
    first = backend.fleet(0, 60_000, 60_000)
    clock[0] = 103.9
    assert backend.fleet(0, 60_000, 60_000) is first
    assert store.asked == 1
    clock[0] = 104.1
    backend.fleet(0, 60_000, 60_000)
    backend.fleet(60_000, 120_000, 60_000)
    assert store.asked == 3


def test_freshness_is_told_from_history_itself(backend: HistoryBackend) -> None:
    # the last interval of box-1 ended 25 s before NOW; one refusal came a minute before
    assert backend.pipeline(NOW) == {"freshness_s": 25.0, "stream_s": None, "rejected": 1}
    backend._store.execute(  # no streams ran: as if they had emitted minute 6, which ended at T0 + 7 min
        "INSERT INTO stream_minutes (minute, customer, service) VALUES ({minute:Int64}, 'acme', 'vod')",
        {"minute": T0 + 6 * MINUTE_MS},
    )
    assert backend.pipeline(NOW)["stream_s"] == 85.0
    assert backend.pipeline(NOW + 2 * DAY_MS)["stream_s"] is None  # long ago says nothing of now
    assert backend.pipeline(T0)["freshness_s"] == 0.0  # a clock behind the boxes' is no negative age


def test_explore_and_triage_draw_what_the_engine_holds(backend: HistoryBackend) -> None:
    hit = {"customer": "acme", "service": "video", "measure": "failures"}
    incident = make_incident(
        NOW, onset=T0 + 5 * MINUTE_MS, detected_at=T0 + 6 * MINUTE_MS, newest=T0 + 7 * MINUTE_MS, customers=("acme",),
        services=("video",), measures=("failures",), changes=(),
        causes=(Cause({"device_isp": "unicom"}, 0.9, 18.0, 0.5, 180.0, True, "failures"),),
        series=(SeriesEvidence(**hit, onset=T0 + 5 * MINUTE_MS, newest=T0 + 7 * MINUTE_MS, bad=18.0, total=240.0,
                               expected=0.5, nats=40.0, p=1e-9, limit=1e-4),),
    )  # fmt: skip
    value = json.dumps(incident_to_json(incident)).encode()
    backend._store.insert(
        "incidents", pa.Table.from_batches([incident_rows(StoredRecord("incidents", 0, 0, b"", value, NOW, {}))])
    )
    set_context(Context(backend, Registry([make_customer("acme")]), lambda: NOW))
    app = open_page("triage", range="1h")
    assert "device" not in answer(app)  # the headline is the incident's own
    assert "without these rows it would be" in markup(app)
    assert "device_isp:unicom;" in " ".join(str(element.proto) for element in app.get("bidi_component"))  # the heat map
    app = open_page("explore", range="1h", by="device_isp", where="customer:acme", view="table")
    # acme's seven closed minutes and more: 18 failures, all through box-1
    assert answer(app).startswith("Failed requests: ")
    assert "unicom" in answer(app)
    assert backend.incident("inc-1") == incident
    assert backend.incidents(T0, NOW) == (incident,)
    assert backend.signals(**hit, start=T0, end=NOW)["minute"] == []
