"""Explore's questions: answers against sums by hand, from whichever table, and questions that must be refused."""

import pyarrow as pa
import pytest

from contracts.errors import ContractError
from history.cell_rollups import CellRollups
from history.query_cells import MAX_VALUES, CellQuestion, _split, cells, plan, values_of
from history.query_raw import scan
from history.sink import Sink, SinkSettings
from history.versions import Versions
from tests.history.builders import BOX, MINUTE, T0, Box, make_slice, send

HOUR, DAY = 60 * MINUTE, 1440 * MINUTE
PROMPT = SinkSettings(flush_every_ms=0, live_refresh_ms=None, late_refresh_ms=0)


def cell(minute, **overrides):
    """A row of cell_minutes."""
    row = {**BOX, **make_slice(**overrides), "minute": minute, "version": 1}
    for name in ("latency", "throughput"):
        histogram = row.pop(name)
        row[f"{name}_cell"], row[f"{name}_count"] = sorted(histogram), [histogram[c] for c in sorted(histogram)]
    return row


def fill(store, rows):
    """Stores rows of `cell`."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    columns["version"] = pa.array(columns["version"], pa.uint64())
    for name in ("latency", "throughput"):
        columns[f"{name}_cell"] = pa.array(columns[f"{name}_cell"], pa.list_(pa.uint8()))
        columns[f"{name}_count"] = pa.array(columns[f"{name}_count"], pa.list_(pa.uint64()))
    store.insert("cell_minutes", pa.table(columns))


@pytest.fixture
def filled(store):
    """Two days: every hour unicom has 10 requests (1 failed, 4 slow), telecom 20 good ones; then 3 single minutes."""
    rows = []
    for minute in [T0 + h * HOUR for h in range(48)] + [T0 + 2 * DAY + m * MINUTE for m in range(3)]:
        rows += [
            cell(minute, client_isp="unicom", requests=10, f_server=1, s5xx=1, s2xx=9, latency={40: 6, 70: 4}),
            cell(minute, client_isp="telecom", requests=20, latency={40: 20}, cache_hits=15),
            cell(minute, service="compute", customer="calc", requests=2, latency={8: 2}),
        ]
    fill(store, rows)
    rollups = CellRollups(store, Versions(store))
    assert rollups.step(T0 + 2 * DAY + 2 * MINUTE, (), most=None) == 50
    return store


def answer(store, **question):
    found = cells(store, CellQuestion(**{"measure": "failures", "start": T0, "end": T0 + 2 * DAY + HOUR} | question))
    rows = zip(found.keys, found.step, found.value, found.total, strict=True)
    return {(key, step): (value, total) for key, step, value, total in rows}, found.sources


def test_a_whole_span_is_read_from_days_and_the_rest_from_minutes(filled):
    found, sources = answer(filled, by=("client_isp",), where={"customer": ("acme",)})
    assert found == {(("unicom",), 0): (51, 510), (("telecom",), 0): (0, 1020)}
    assert sources == ("cell_days", "cell_minutes")


def test_steps_choose_the_table_and_never_the_figures(filled):
    by_hour, sources = answer(filled, start=T0 + DAY, step_ms=6 * HOUR, where={"client_isp": ("unicom",)})
    assert by_hour == {((), s): (6, 60) for s in range(4)} | {((), 4): (3, 30)}
    assert sources == ("cell_hours", "cell_minutes")
    by_minute, sources = answer(filled, start=T0 + DAY, step_ms=30 * MINUTE, where={"client_isp": ("unicom",)})
    assert by_minute == {((), s): (1, 10) for s in range(0, 48, 2)} | {((), 48): (3, 30)}
    assert sources == ("cell_minutes",)


def test_what_is_taken_out_is_gone_and_nothing_else(filled):
    found, _ = answer(filled, without=({"client_isp": "unicom", "customer": "acme"}, {"customer": "calc"}))
    assert found == {((), 0): (0, 1020)}


def test_slow_requests_and_quantiles_leave_tasks_aside(filled):
    # cell 70 is above 2^(69/8) = 394.9 ms; a threshold acts at the nearest bound, here cell 65's lower one (256 ms)
    slow, _ = answer(filled, measure="slow_requests", threshold=256.0)
    assert slow == {((), 0): (4 * 51, 30 * 51)}
    p50, _ = answer(filled, measure="latency_p50")
    value, total = p50[(), 0]
    assert (value, total) == (pytest.approx(2 ** (39.5 / 8)), 30 * 51)
    tasks, _ = answer(filled, measure="latency_p50", where={"service": ("compute",)})
    assert tasks[(), 0] == (pytest.approx(1000 * 2 ** (7.5 / 8)), 102)
    misses, _ = answer(filled, measure="cache_misses", by=("customer",))
    assert misses == {(("acme",), 0): (15 * 51, 30 * 51)}


def test_rates_have_no_total_and_values_are_ranked_by_traffic(filled):
    found, _ = answer(filled, measure="requests", by=("customer",))
    assert found == {(("acme",), 0): (30 * 51, 0), (("calc",), 0): (102, 0)}
    assert values_of(filled, "client_isp", T0, T0 + DAY) == ["telecom", "unicom"]


def test_hostile_values_are_values(filled):
    found, _ = answer(filled, where={"client_isp": ("x') OR 1=1 --", "\\'\t\n")}, without=({"app": "{a0:Int64}'"},))
    assert found == {}


def test_an_hour_that_is_not_rolled_up_is_read_from_its_minutes(filled):
    filled.execute("ALTER TABLE cell_hours DELETE WHERE hour = {t:Int64} SETTINGS mutations_sync = 2", {"t": T0 + HOUR})
    question = CellQuestion("requests", T0, T0 + 3 * HOUR, step_ms=HOUR)
    assert plan(filled, question)["cell_minutes"] == [(T0 + HOUR, T0 + 2 * HOUR)]
    assert cells(filled, question).value == (32, 32, 32)


def test_spans_split_on_whole_widths_and_join():
    assert _split([(5, 47)], {10, 20, 40}, 10) == ([(10, 30)], [(5, 10), (30, 47)])
    assert _split([(0, 9)], {0}, 10) == ([], [(0, 9)])


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"measure": "happiness"}, "measure"),
        ({"by": ("device",)}, "by"),
        ({"by": ("app", "app")}, "by"),
        ({"by": ("app", "model", "cohort")}, "by"),
        ({"where": {"1=1; --": ("x",)}}, "where"),
        ({"where": {"app": ()}}, "where.app"),
        ({"where": {"app": ("x",) * (MAX_VALUES + 1)}}, "where.app"),
        ({"without": ({},)}, "without"),
        ({"start": T0 + 1}, "start, end"),
        ({"end": T0}, "start, end"),
        ({"end": T0 + 500 * DAY}, "start, end"),
        ({"step_ms": 7 * MINUTE}, "step"),
        ({"step_ms": MINUTE, "end": T0 + DAY}, "step"),
        ({"step_ms": 30 * MINUTE, "end": T0 + 3 * DAY}, "step"),
        ({"threshold": 5.0}, "threshold"),
        ({"measure": "slow_requests"}, "threshold"),
        ({"measure": "slow_requests", "threshold": float("nan")}, "threshold"),
    ],
)
def test_a_wrong_question_is_refused_with_the_field(wrong, path):
    with pytest.raises(ContractError) as caught:
        CellQuestion(**{"measure": "failures", "start": T0, "end": T0 + HOUR} | wrong)
    assert caught.value.field == path


def test_a_scan_of_slices_tells_boxes_apart_piece_by_piece_newest_first(store, log):
    one, two = Box("box-1"), Box("box-2")
    bad = make_slice(requests=10, f_server=1, s5xx=1, s2xx=9)
    send(log, one.report(T0, [bad, make_slice(customer="beta")]), two.report(T0 + 20 * MINUTE, [bad, bad]))
    Sink(log, store, PROMPT).drain(T0 + 23 * MINUTE)
    question = CellQuestion("failures", T0, T0 + 25 * MINUTE, where={"customer": ("acme",)})
    pieces = list(scan(store, question))
    assert [(p.reached - T0) // MINUTE for p in pieces] == [15, 5, 0]
    assert [p.rows for p in pieces] == [2, 2, 3]
    assert pieces[0].value == {"box-2": 2}
    assert (pieces[-1].value, pieces[-1].total) == ({"box-1": 1, "box-2": 2}, {"box-1": 10, "box-2": 20})


@pytest.mark.parametrize("wrong", [{"measure": "latency_p95"}, {"end": T0 + 2 * DAY}])
def test_a_scan_that_cannot_be_is_refused(store, wrong):
    with pytest.raises(ContractError):
        next(scan(store, CellQuestion(**{"measure": "failures", "start": T0, "end": T0 + HOUR} | wrong)))
