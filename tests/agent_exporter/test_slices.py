"""Rows of a report: counts, histograms, folding, the row limit, exemplars."""

from __future__ import annotations

import gzip
import hashlib
from random import Random
from typing import Any

import pytest

from agent_exporter import slices as module
from agent_exporter.lines import Event
from agent_exporter.slices import EXEMPLAR_BYTES, Accumulator
from contracts.decode import decode
from contracts.histogram import cell_of
from contracts.report import MAX_SLICES, Report, Totals, encode
from tests.agent_exporter.builders import T0


def event(customer: str = "acme", rule: str = "r1", isp: str = "i", service: str = "web", **values: Any) -> Event:
    return Event(T0, (customer, service, "nginx", isp, "east", rule), **{"status": 200} | values)


def filled(*events: Event) -> Accumulator:
    accumulator = Accumulator(Random(1))
    for one in events:
        accumulator.add(one)
    return accumulator


def report_of(accumulator: Accumulator) -> Report:
    """Through the wire, so that the contract's own checks have their say."""
    rows, lost, lost_requests = accumulator.slices(MAX_SLICES)
    totals = Totals(accumulator.requests, len(rows) + lost, {"slice_limit": lost_requests}, {"slice_limit": lost})
    made = Report("d", "b", 1, T0, T0 + 10_000, 1, "m", "f", "a", totals, slices=rows)
    return decode(encode(made))


def test_counts_of_a_row_add_up() -> None:
    rows = report_of(
        filled(
            event(bytes=100, latency_ms=20.0, cache_hit=True),
            event(status=302, bytes=10, latency_ms=20.0),
            event(status=404, latency_ms=500.0),
            event(status=503, failure="f_server", latency_ms=3.0),
            event(status=0, failure="f_reset"),
            event(throughput_kb_per_s=800.0, latency_ms=20.0),
        )
    ).slices
    row = {name: values[0] for name, values in rows.counts.items()}
    assert row["requests"] == 6
    assert (row["s2xx"], row["s3xx"], row["s4xx"], row["s5xx"]) == (2, 1, 1, 1)
    assert (row["f_server"], row["f_reset"], row["f_timeout"]) == (1, 1, 0)
    assert (row["bytes"], row["cache_hits"]) == (110, 1)
    latency = rows.histograms["latency"]
    assert dict(zip(latency.cells, latency.counts, strict=True)) == {
        0: 1,
        cell_of(3.0, 1.0): 1,
        cell_of(20.0, 1.0): 3,
        cell_of(500.0, 1.0): 1,
    }
    throughput = rows.histograms["throughput"]
    assert (list(throughput.cells), list(throughput.counts)) == ([cell_of(800.0, 1.0)], [1])


def test_compute_durations_are_counted_from_one_second() -> None:
    rows = report_of(filled(event(service="compute", latency_ms=4000.0, status=0))).slices
    assert list(rows.histograms["latency"].cells) == [16]  # 4 s is 2**(16/8) times the base


def test_session_beacon_makes_a_row_without_requests() -> None:
    rows = report_of(filled(event(requests=0, sessions=3, stalled_sessions=1, play_ms=100, stall_ms=5))).slices
    assert (rows.counts["requests"], rows.counts["sessions"], rows.counts["stalled_sessions"]) == ([0], [3], [1])


def test_sixty_fifth_value_of_a_customer_becomes_other_and_is_counted() -> None:
    accumulator = filled(*(event(rule=f"r{i}") for i in range(70)), event(customer="blue", rule="r69"))
    rows = report_of(accumulator).slices
    rules = [r for c, r in zip(rows.dimensions["customer"], rows.dimensions["sched_rule"], strict=True) if c == "acme"]
    assert sorted(rules) == sorted(["other", *(f"r{i}" for i in range(64))])
    assert rows.counts["requests"][rows.dimensions["sched_rule"].index("other")] == 6
    assert accumulator.folded == 6
    assert "r69" in rows.dimensions["sched_rule"]  # another customer has its own 64


def test_smallest_rows_beyond_the_limit_are_dropped_with_their_requests() -> None:
    big = [event(customer=f"c{i}", rule="r1") for i in range(MAX_SLICES) for _ in range(2)]
    accumulator = filled(event(customer="small-1"), *big, event(customer="small-2"))
    rows, lost, lost_requests = accumulator.slices(MAX_SLICES)
    assert (len(rows), lost, lost_requests) == (MAX_SLICES, 2, 2)
    assert not {"small-1", "small-2"} & set(rows.dimensions["customer"])
    assert sum(report_of(accumulator).slices.counts["requests"]) == 2 * MAX_SLICES


def test_open_rows_are_bounded_and_no_request_is_lost_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OPEN_ROWS", 10)
    accumulator = filled(*(event(customer=f"c{i}") for i in range(50)))
    rows = report_of(accumulator).slices
    assert len(rows) == 11
    assert sum(rows.counts["requests"]) == 50


def test_exemplars_are_the_slowest_and_the_failed() -> None:
    normal = [event(latency_ms=float(i), path=f"/{i}") for i in range(1000)]
    failed = [event(latency_ms=1.0, failure="f_server", status=502, path="/bad?secret=1")]
    columns = filled(*normal, *failed).exemplars(0)
    assert columns["latency_ms"][:2] == [1, 999]
    assert columns["failure"][:2] == ["f_server", ""]
    assert columns["path_hash"][0] == hashlib.sha256(b"/bad").hexdigest()[:16]
    slow = [ms for ms, failure in zip(columns["latency_ms"], columns["failure"], strict=True) if not failure]
    assert slow == sorted(range(1000 - len(slow), 1000), reverse=True)


def test_exemplars_stay_within_their_budget() -> None:
    accumulator = filled(
        *(event(customer="c" * 60, rule="r" * 60, isp="i" * 60, failure="f_server", status=500) for _ in range(50))
    )
    columns = accumulator.exemplars(0)
    assert columns
    assert sum(len(str(v)) + 3 for values in columns.values() for v in values) <= EXEMPLAR_BYTES


def test_report_of_twenty_slices_stays_under_four_kilobytes() -> None:
    random = Random(5)
    accumulator = Accumulator(random)
    for _ in range(2000):  # 200 lines/s for 10 s
        at, size = T0 + random.randrange(10_000), int(random.lognormvariate(13, 1))
        latency_ms = random.lognormvariate(4, 1)
        accumulator.add(
            Event(
                at,
                (f"customer-{random.randrange(4)}", "vod", "nginx", f"isp-{random.randrange(5)}", "east", "rule-7.v2"),
                status=200,
                latency_ms=latency_ms,
                bytes=size,
                cache_hit=random.random() < 0.9,
                throughput_kb_per_s=size / latency_ms if size > 256 * 1024 else None,
                path=f"/video/{random.random()}",
                failure="f_server" if random.random() < 0.01 else "",
            )
        )
    rows, _, _ = accumulator.slices(MAX_SLICES)
    assert len(rows) == 20
    made = Report(
        "box-1", "b" * 16, 1, T0, T0 + 10_000, 1, "m", "f", "a", Totals(2000, 20), slices=rows,
        exemplars=accumulator.exemplars(0),
    )  # fmt: skip
    assert len(gzip.compress(encode(made), 6, mtime=0)) < 4000
