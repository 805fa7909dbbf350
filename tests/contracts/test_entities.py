"""What people declare: objectives, rules, changes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.columns import CELL_DIMENSIONS
from contracts.entities import CHANGE_KINDS, MEASURES, Change, Objective, SchedulingRule, change_from_json
from contracts.errors import ContractError, shorten
from contracts.times import MAX_TIME_MS, rfc3339
from tests.contracts.builders import START
from tests.contracts.strategies import ids

GOOD = {
    "id": "rollout-7",
    "kind": "firmware",
    "scope": {"model": "m1", "cohort": "canary"},
    "start": "2026-01-01T08:00:00+08:00",
    "end": START + 60_000,
    "author": "release robot",
    "reference": "https://example.org/7",
    "note": "first 5 %\nthen more",
}


def refusal(document: object) -> ContractError:
    with pytest.raises(ContractError) as caught:
        change_from_json(document)
    return caught.value


def test_a_change_is_read_field_by_field() -> None:
    assert change_from_json(GOOD) == Change(
        id="rollout-7",
        kind="firmware",
        scope={"model": "m1", "cohort": "canary"},
        start=START,
        end=START + 60_000,
        author="release robot",
        reference="https://example.org/7",
        note="first 5 %\nthen more",
    )


def test_what_a_change_may_leave_out() -> None:
    least = {name: GOOD[name] for name in ("id", "kind", "start", "author")}
    change = change_from_json(least)
    assert (change.scope, change.end, change.reference, change.note) == ({}, None, "", "")
    assert change_from_json({**GOOD, "end": GOOD["start"]}).end == START


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"id": "a b"}, "id", "bad_id"),
        ({"id": None}, "id", "bad_id"),
        ({"kind": "party"}, "kind", "bad_change"),
        ({"kind": ["firmware"]}, "kind", "bad_change"),
        ({"scope": []}, "scope", "bad_change"),
        ({"scope": {"model": 1}}, "scope", "bad_change"),
        ({"scope": {"model": ""}}, "scope", "bad_change"),
        ({"scope": {"model": "x" * 65}}, "scope", "bad_change"),
        ({"scope": {"model": "\ud800"}}, "scope", "bad_change"),
        ({"scope": {"device": "box-1"}}, "scope", "bad_change"),
        ({"start": None}, "start", "bad_change"),
        ({"start": "2026-01-01"}, "start", "bad_change"),
        ({"start": -1}, "start", "bad_change"),
        ({"start": "1969-12-31T23:59:59Z"}, "start", "bad_change"),
        ({"start": True}, "start", "bad_change"),
        ({"start": MAX_TIME_MS + 1}, "start", "bad_change"),
        ({"end": "2025-01-01T00:00:00Z"}, "end", "bad_change"),
        ({"end": 1.5}, "end", "bad_change"),
        ({"author": ""}, "author", "bad_change"),
        ({"author": "x" * 65}, "author", "bad_change"),
        ({"author": None}, "author", "bad_change"),
        ({"reference": 5}, "reference", "bad_change"),
        ({"note": "x" * 2_001}, "note", "bad_change"),
        ({"note": "lone \ud800"}, "note", "bad_change"),
    ],
)
def test_every_refusal_names_its_field(change: dict[str, Any], field: str, reason: str) -> None:
    error = refusal({**GOOD, **change})
    assert (error.field, error.reason) == (field, reason)


@pytest.mark.parametrize("document", [None, [], "x", 7])
def test_what_is_not_an_object_is_refused(document: object) -> None:
    assert refusal(document).field == "change"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300)
@given(field=st.sampled_from(sorted(GOOD)), value=json_values)
def test_any_value_gives_a_storable_change_or_a_refusal(field: str, value: Any) -> None:
    try:
        change = change_from_json({**GOOD, field: value})
    except ContractError:
        return
    json.dumps([change.id, change.kind, change.scope, change.author, change.note], ensure_ascii=False).encode()
    rfc3339(change.start)
    assert change.end is None or change.start <= change.end


@given(
    identity=ids,
    kind=st.sampled_from(CHANGE_KINDS),
    scope=st.dictionaries(st.sampled_from(CELL_DIMENSIONS), ids),
    start=st.integers(0, 2**41),
    lasting=st.none() | st.integers(0, 2**41),
)
def test_good_changes_are_accepted(
    identity: str, kind: str, scope: dict[str, str], start: int, lasting: int | None
) -> None:
    end = None if lasting is None else start + lasting
    document = {"id": identity, "kind": kind, "scope": scope, "start": start, "end": end, "author": "x"}
    assert change_from_json(document) == Change(identity, kind, scope, start, end, "x")


@pytest.mark.parametrize("measure", MEASURES)
def test_objectives_of_every_measure(measure: str) -> None:
    threshold = 800.0 if measure in {"slow_requests", "low_throughput"} else None
    assert Objective("acme", "video", measure, 0.995, threshold).target == 0.995


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("speed", 0.9, None), "objective.measure"),
        (("failures", 0.0, None), "objective.target"),
        (("failures", 1.0, None), "objective.target"),
        (("failures", math.nan, None), "objective.target"),
        (("slow_requests", 0.9, None), "objective.threshold"),
        (("slow_requests", 0.9, 0.0), "objective.threshold"),
        (("slow_requests", 0.9, math.nan), "objective.threshold"),
        (("slow_requests", 0.9, math.inf), "objective.threshold"),
        (("low_throughput", 0.9, -1.0), "objective.threshold"),
        (("failures", 0.9, 5.0), "objective.threshold"),
    ],
)
def test_bad_objectives_name_the_field(arguments: tuple[str, float, float | None], field: str) -> None:
    with pytest.raises(ContractError) as caught:
        Objective("acme", "video", *arguments)
    assert (caught.value.reason, caught.value.field) == ("bad_objective", field)


def test_a_rule_is_named_as_traffic_carries_it() -> None:
    assert SchedulingRule("near", 3, "Nearest", "traffic", 0).sched_rule == "near@3"


def test_shown_values_are_short_whatever_they_are() -> None:
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    for value in ("x" * 10_000, deep, 10**10_000, {"a": [1] * 10_000}, "\ud800", b"\x00" * 1_000):
        text = shorten(value)
        assert len(text) <= 120
        text.encode()
    assert shorten("short") == "'short'"
    assert shorten("x" * 200) == "'" + "x" * 118 + "…"
