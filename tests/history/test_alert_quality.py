"""How good alerts are, by hand: labels, injected faults, weeks, detectors."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from contracts.incidents import (
    FALSE_ALARM,
    REAL_CAUSE,
    Action,
    Cause,
    Equivalent,
    Incident,
    Sentence,
    SeriesEvidence,
    Severity,
    apply,
    incident_to_json,
)
from contracts.self_test import (
    CUSTOMER,
    Expected,
    Injected,
    announcement,
    expected,
    injected,
    start_notice,
    stop_notice,
    withdrawal,
)
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from history.proportions import Proportion
from history.query_alert_quality import alert_quality, as_json, detectors_of, label, week_of, week_quality

MONDAY = 1_767_571_200_000  # 2026-01-05T00:00:00Z
NOW = MONDAY + 3 * DAY_MS
WHERE = {"client_isp": "unicom"}


def incident(n: int, at: int, *reasons: str, customer: str = "acme", **changes: Any) -> Incident:
    since = {"customers": (customer,), "measures": ("failures",), "factor": 2.0, "since": at}
    evidence = SeriesEvidence(customer, "video", "failures", at, at, 9.0, 90.0, 1.0, 20.0, 1e-9, 1e-6, reasons)
    fields: dict[str, Any] = {
        "kind": "quality", "state": "open", "customers": (customer,), "measures": ("failures",),
        "causes": (Cause(WHERE, 0.9, 90, 10, 900, True, "failures", equivalents=(Equivalent({"model": "m1"}),)),),
        "series": (evidence,), "onset": at - 2 * MINUTE_MS, "detected_at": at, "newest": at,
    }  # fmt: skip
    said = Sentence("quality.unexplained", since)
    return Incident(f"inc-{n}", headline=said, severity=Severity("low"), **(fields | changes))


def labelled(one: Incident, verb: str, cause: dict[str, str] | None = None) -> Incident:
    n = len(one.history)
    return apply(one, Action(f"a-{one.id}-{n}", one.id, verb, "ana", one.detected_at + n, cause=cause))


def test_labels_are_what_was_said_last() -> None:
    one = incident(1, MONDAY)
    assert label(one) == "unlabelled"
    wrong = labelled(one, FALSE_ALARM)
    assert label(wrong) == "false"
    assert label(labelled(wrong, REAL_CAUSE, WHERE)) == "true"


def test_precision_is_over_labelled_incidents_by_detector() -> None:
    found = [
        labelled(incident(1, MONDAY + HOUR_MS, "shift"), REAL_CAUSE, WHERE),
        labelled(incident(2, MONDAY + HOUR_MS, "shift", "burn"), REAL_CAUSE, {"model": "m1"}),
        labelled(incident(3, MONDAY + HOUR_MS, "shift", "lasting"), REAL_CAUSE, {"model": "m2"}),
        labelled(incident(4, MONDAY + HOUR_MS, "shift"), FALSE_ALARM),
        incident(5, MONDAY + HOUR_MS, "burn"),
    ]
    week = week_quality(found, [], MONDAY, NOW)
    by = {q.detector: q for q in week.detectors}
    assert (week.all.incidents, week.all.unlabelled, week.all.precision) == (5, 1, Proportion(3, 4))
    assert (by["shift"].incidents, by["shift"].precision, by["shift"].cause) == (4, Proportion(3, 4), Proportion(2, 3))
    assert (by["burn"].incidents, by["burn"].precision, by["burn"].unlabelled) == (2, Proportion(1, 1), 1)
    assert by["silence"].precision.ratio is None
    assert week.all.delay.p50 == 120.0


def test_recall_is_over_injected_faults_that_are_over() -> None:
    faults = [
        Injected(f"t-{n}", MONDAY + n * HOUR_MS, MONDAY + n * HOUR_MS + 6 * MINUTE_MS, "failures") for n in range(4)
    ]
    found = [
        incident(1, faults[0].start + 2 * MINUTE_MS, "shift", customer=CUSTOMER),
        incident(2, faults[1].end + 5 * MINUTE_MS, "burn", customer=CUSTOMER),
        incident(3, faults[2].end + 6 * MINUTE_MS, "shift", customer=CUSTOMER),  # too late
        incident(4, faults[2].start + 2 * MINUTE_MS, "shift"),  # somebody else's
    ]
    week = week_quality(found, faults, MONDAY, faults[3].start + MINUTE_MS)
    by = {q.detector: q for q in week.detectors}
    assert (week.all.recall, week.missed, week.pending) == (Proportion(2, 3), ("t-2",), 1)
    assert (by["shift"].recall, by["burn"].recall) == (Proportion(1, 3), Proportion(1, 3))
    assert by["silence"].recall.ratio is None
    assert week.to_detect.p50 == pytest.approx((120 + 660) / 2)
    assert week.all.incidents == 1  # drills are no alerts


def test_an_incident_that_comes_back_has_found_the_fault() -> None:
    fault = Injected("t-1", MONDAY + HOUR_MS, MONDAY + HOUR_MS + 6 * MINUTE_MS, "failures")
    old = incident(1, MONDAY + HOUR_MS - 20 * MINUTE_MS, "shift", customer=CUSTOMER)
    assert week_quality([old], [fault], MONDAY, NOW).missed == ("t-1",)
    over = apply(old, Action("e-1", "inc-1", "end", "dipper", fault.start - 5 * MINUTE_MS))
    back = apply(over, Action("r-1", "inc-1", "return", "dipper", fault.start + 3 * MINUTE_MS))
    assert week_quality([back], [fault], MONDAY, NOW).to_detect.p50 == 180.0


def test_weeks_begin_on_monday() -> None:
    assert week_of(MONDAY) == week_of(MONDAY + 7 * DAY_MS - 1) == MONDAY
    assert week_of(MONDAY - 1) == MONDAY - 7 * DAY_MS


def test_who_spoke() -> None:
    silent = Sentence("silence.box", {"boxes": 1, "device": "b-1", "since": MONDAY})
    dark = replace(incident(1, MONDAY), kind="silence.box", headline=silent, series=())
    assert detectors_of(dark) == {"silence"}
    assert detectors_of(replace(dark, kind="self.lag")) == {"lag"}
    assert detectors_of(replace(dark, kind="self.test")) == set()


def test_an_announced_fault_is_read_back_and_one_taken_back_is_not() -> None:
    fault = Injected("t-1", MONDAY, MONDAY + MINUTE_MS, "failures")
    told = [announcement(fault), stop_notice("t-stop", MONDAY + HOUR_MS)]
    assert injected(told) == [fault]
    assert injected([withdrawal(fault)]) == []


def test_when_the_next_fault_is_due() -> None:
    fault = Injected("t-1", MONDAY + HOUR_MS, MONDAY + HOUR_MS + MINUTE_MS, "failures")
    told = [start_notice("t-start", MONDAY, MONDAY + 2 * HOUR_MS)]
    assert expected([], HOUR_MS) is None
    assert expected(told, HOUR_MS) == Expected(MONDAY + 2 * HOUR_MS, MONDAY)
    assert expected([*told, announcement(fault)], HOUR_MS) == Expected(fault.start + HOUR_MS, fault.start)
    assert expected([*told, stop_notice("t-stop", MONDAY + HOUR_MS)], HOUR_MS) is None


@pytest.mark.parametrize(("part", "whole", "low", "high"), [(8, 10, 0.4902, 0.9433), (0, 20, 0.0, 0.1611)])
def test_wilsons_interval(part: int, whole: int, low: float, high: float) -> None:
    # Newcombe (1998), table I, to rounding.
    assert Proportion(part, whole).interval == pytest.approx((low, high), abs=1e-4)


def test_nothing_has_no_ratio() -> None:
    assert (Proportion(0, 0).ratio, Proportion(0, 0).interval) == (None, None)


def test_weeks_come_from_what_is_stored(store: Any) -> None:
    fault = Injected("t-1", MONDAY + HOUR_MS, MONDAY + HOUR_MS + 6 * MINUTE_MS, "failures")
    kept = [
        labelled(incident(1, MONDAY - HOUR_MS, "shift"), FALSE_ALARM),
        labelled(incident(2, MONDAY + HOUR_MS, "shift"), REAL_CAUSE, WHERE),
        incident(3, fault.start + MINUTE_MS, "shift", customer=CUSTOMER),
        replace(incident(4, MONDAY, "shift"), state="resolved", resolved_at=MONDAY, merged_into="inc-2"),
    ]
    for one in kept:
        columns: dict[str, Any] = {"id": [one.id], "version": [one.version], "kind": [one.kind], "state": [one.state]}
        columns |= {"level": ["low"], "onset": [one.onset], "detected_at": [one.detected_at], "newest": [one.newest]}
        columns |= {"resolved_at": pa.array([one.resolved_at], pa.int64()), "merged_into": [one.merged_into or ""]}
        store.insert("incidents", pa.table(columns | {"document": [json.dumps(incident_to_json(one))]}))
    change = announcement(fault)
    row: dict[str, Any] = {"id": [change.id], "kind": [change.kind], "scope": [json.dumps(dict(change.scope))]}
    row |= {"start": [change.start], "end": pa.array([change.end], pa.int64()), "author": [change.author]}
    row |= {"reference": [change.reference], "note": [change.note], "extra": ["{}"], "received_at": [change.start]}
    store.insert("changes", pa.table(row))
    newest, before = alert_quality(store, NOW, 2)
    assert (newest.start, before.start) == (MONDAY, MONDAY - 7 * DAY_MS)
    assert (newest.all.incidents, newest.all.precision, newest.all.recall) == (1, Proportion(1, 1), Proportion(1, 1))
    assert (before.all.precision, before.all.recall.ratio) == (Proportion(0, 1), None)
    told = json.loads(json.dumps(as_json(newest)))
    assert told["all"]["precision"]["part"] == 1
    assert told["seconds_to_detect"]["p50"] == 60.0


@pytest.mark.parametrize("weeks", [0, 54])
def test_an_absurd_number_of_weeks_is_refused(weeks: int) -> None:
    with pytest.raises(ValueError, match="weeks: expected 1 to 53"):
        alert_quality(None, NOW, weeks)  # type: ignore[arg-type]
