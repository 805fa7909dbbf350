"""Coverage against values worked out by hand and against the slow reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.coverage import CoverageMemory
from streams.rows import report_rows
from tests.streams import coverage_reference as reference
from tests.streams.builders import MINUTE, T0, report_row, reports_batch


def memory(reports: list[dict[str, Any]], traffic: dict[int, dict[tuple[str, str], int]]) -> CoverageMemory:
    """A memory that holds report rows and {minute: {(device, customer): requests}}."""
    held = CoverageMemory()
    if reports:
        rows = report_rows(reports_batch(reports))
        held.add_reports(rows, rows.start - rows.start % MINUTE)
    for minute, pairs in traffic.items():
        devices, customers = sorted({d for d, _ in pairs}), sorted({c for _, c in pairs})
        codes = (
            np.array([devices.index(d) for d, _ in pairs], np.int64),
            np.array([customers.index(c) for _, c in pairs], np.int64),
        )
        held.set_traffic(minute, devices, customers, codes, np.array(list(pairs.values()), np.int64))
    return held


def minute_at(index: int) -> int:
    return T0 + index * MINUTE


def reporting(device: str, minutes: range, share: float = 1.0) -> list[dict[str, Any]]:
    length = int(MINUTE * share)
    return [report_row(device, "b", i + 1, minute_at(i), end=minute_at(i) + length) for i in minutes]


def test_a_silent_box_takes_its_weight_out_of_the_coverage() -> None:
    # d1 served 30 requests a minute, d2 10; in minute 3 only d1 reports: 30 / 40.
    reports = reporting("d1", range(4)) + reporting("d2", range(3))
    traffic = {minute_at(i): {("d1", "c"): 30, ("d2", "c"): 10} for i in range(3)} | {minute_at(3): {("d1", "c"): 30}}
    assert memory(reports, traffic).evaluate(minute_at(3)) == {"c": 0.75}


def test_a_box_that_reports_half_a_minute_covers_half() -> None:
    reports = reporting("d1", range(3)) + reporting("d1", range(3, 4), share=0.5)
    traffic = {minute_at(i): {("d1", "c"): 20} for i in range(3)} | {minute_at(3): {("d1", "c"): 10}}
    assert memory(reports, traffic).evaluate(minute_at(3)) == {"c": 0.5}


def test_idle_reports_cover() -> None:
    reports = reporting("d1", range(4))
    assert memory(reports, {minute_at(0): {("d1", "c"): 20}}).evaluate(minute_at(3)) == {"c": 1.0}


def test_overlapping_reports_cover_once() -> None:
    reports = [
        report_row("d1", "b", 1, T0, end=T0 + 10_000),
        report_row("d1", "b", 2, T0 + 5_000, end=T0 + 10_000),
        report_row("d1", "b2", 1, T0 + 8_000, end=T0 + 15_000),
    ]
    assert memory(reports, {T0: {("d1", "c"): 1}}).evaluate(T0) == {"c": 0.25}


def test_placement_ends_after_fifteen_measured_minutes_without_traffic() -> None:
    traffic = {T0: {("d1", "c"): 5}}
    assert memory(reporting("d1", range(15)), traffic).evaluate(minute_at(14)) == {"c": 1.0}
    assert memory(reporting("d1", range(16)), traffic).evaluate(minute_at(15)) == {}


def test_placement_of_a_silent_box_ends_after_sixty_minutes() -> None:
    held = memory(reporting("d1", range(1)), {T0: {("d1", "c"): 5}})
    assert held.evaluate(minute_at(59)) == {"c": 0.0}
    assert held.evaluate(minute_at(60)) == {}


def test_traffic_without_any_report_has_unknown_coverage() -> None:
    assert math.isnan(memory([], {T0: {("d1", "c"): 5}}).evaluate(T0)["c"])


def test_declared_drops_lower_coverage_by_the_box_customers_weights() -> None:
    # 40 requests measured, 10 dropped by d1, which serves c and e at 3 to 1: c loses 7.5 of 37.5, e 2.5 of 12.5.
    reports = [
        report_row("d1", "b", 1, T0, end=T0 + MINUTE, dropped_requests=4),
        report_row("d1", "b", 2, minute_at(1), end=minute_at(2), dropped_requests=16, spool_dropped_requests=2),
    ]
    pairs = {("d1", "c"): 30, ("d1", "e"): 10}
    assert memory(reports, {T0: pairs, minute_at(1): pairs}).evaluate(minute_at(1)) == {
        "c": pytest.approx(30 / 37.5),
        "e": pytest.approx(10 / 12.5),
    }


def test_drops_before_the_first_report_seen_are_not_charged_to_its_minute() -> None:
    pairs = {T0: {("d1", "c"): 10}}
    later = [report_row("d1", "b", 7, T0, end=T0 + MINUTE, dropped_requests=90)]
    first = [report_row("d1", "b", 1, T0, end=T0 + MINUTE, dropped_requests=90)]
    assert memory(later, pairs).evaluate(T0) == {"c": 1.0}
    assert memory(first, pairs).evaluate(T0) == {"c": pytest.approx(0.1)}


def test_closing_forgets_what_no_later_minute_needs_and_nothing_else() -> None:
    reports = reporting("d1", range(80)) + [r | {"dropped_requests": 3} for r in reporting("d2", range(20, 70))]
    traffic = {minute_at(i): {("d1", "c"): i + 1, ("d2", "c"): 5} for i in range(80)}
    kept, closed = memory(reports, traffic), memory(reports, traffic)
    for i in range(79):
        closed.close(minute_at(i))
        assert closed.evaluate(minute_at(i + 1)) == kept.evaluate(minute_at(i + 1))
    assert len(closed) <= 60
    assert len(kept) == 80


REPORTS = st.lists(
    st.tuples(
        st.sampled_from(["d1", "d2"]),
        st.sampled_from(["b1", "b2"]),
        st.integers(1, 9),
        st.integers(0, 479),
        st.integers(1, 10_000),
        st.integers(0, 9),
    ),
    max_size=25,
)
TRAFFIC = st.dictionaries(
    st.integers(0, 79),
    st.dictionaries(st.tuples(st.sampled_from(["d1", "d2", "d3"]), st.sampled_from(["c", "e"])), st.integers(0, 9)),
    max_size=30,
)


@settings(deadline=None, max_examples=100)
@given(REPORTS, TRAFFIC, st.integers(0, 80))
def test_any_history_equals_the_reference(
    reports: list[tuple[str, str, int, int, int, int]],
    traffic: dict[int, dict[tuple[str, str], int]],
    index: int,
) -> None:
    rows = [
        report_row(device, boot, seq, T0 + ten * 10_000, end=T0 + ten * 10_000 + length, dropped_requests=dropped)
        for device, boot, seq, ten, length, dropped in reports
    ]
    intervals: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for r in rows:
        intervals.setdefault((r["device"], r["start"] - r["start"] % MINUTE), []).append((r["start"], r["end"]))
    requests: dict[tuple[str, int], dict[str, int]] = {}
    for i, pairs in traffic.items():
        for (device, customer), n in pairs.items():
            requests.setdefault((device, minute_at(i)), {})[customer] = n
    measured = [
        (device, at, reference.covered_share(intervals.get((device, at), []), at), requests.get((device, at), {}))
        for device, at in set(intervals) | set(requests)
    ]
    drops = reference.declared_drops(
        (r["device"], r["boot"], r["seq"], r["start"], r["dropped_requests"]) for r in rows
    )
    want = reference.coverage(minute_at(index), measured, drops)
    got = memory(rows, {minute_at(i): pairs for i, pairs in traffic.items() if pairs}).evaluate(minute_at(index))
    assert got == {c: pytest.approx(x, rel=1e-9, nan_ok=True) for c, x in want.items()}
