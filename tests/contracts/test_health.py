"""Scores and budgets on the wire."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ContractError
from contracts.health import (
    FADE_MS,
    REASONS,
    BudgetState,
    Cell,
    Reason,
    Score,
    budget_from_json,
    faded,
    score_from_json,
)

SCORE = Score(
    device="box-1",
    value=0.2,
    low=0.1,
    high=0.4,
    state="drain",
    share=0.015,
    reasons=(Reason("failures", (19.0, 61.0, 0.5, 15.0)), Reason("temperature", (91.0,))),
    requests=61.0,
    failures=19.0,
    expected=0.5,
    version=7,
    computed_at=1_000,
    expires_at=2_000,
    box={"model": "m1", "device_region": "Hebei"},
    usual_per_minute={"c1": 41.5, "c2": 0.25},
)


def test_a_score_reads_back_as_it_was_written() -> None:
    assert score_from_json(SCORE.to_json()) == SCORE


def test_a_score_of_a_box_that_serves_all_of_its_traffic_does_not_say_how_much_that_is() -> None:
    serves = replace(SCORE, usual_per_minute={})
    assert "usual_per_minute" not in json.loads(serves.to_json())
    assert score_from_json(serves.to_json()) == serves


def test_reasons_say_their_numbers_in_words() -> None:
    reasons = json.loads(SCORE.to_json())["reasons"]
    assert reasons[0]["words"] == "19 of 61 requests failed, 0.5 were expected (15.0 times)"
    assert reasons[0]["expected"] == 0.5
    assert reasons[1]["words"] == "91 °C"


@pytest.mark.parametrize("code", REASONS)
def test_every_reason_has_words(code: str) -> None:
    assert Reason(code, tuple(1.0 for _ in REASONS[code])).words


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("device", "../etc"), ("state", "fine"), ("value", 0.5), ("low", -0.1), ("share", float("nan")),
        ("version", 2**53), ("expires_at", 1.5), ("requests", float("inf")), ("share", True),
        ("usual_per_minute", {"c1": -1.0}), ("usual_per_minute", {"c1": "many"}),
    ],
)  # fmt: skip
def test_a_score_that_breaks_the_contract_is_refused_by_field(field: str, value: object) -> None:
    with pytest.raises(ContractError, match=field):
        replace(SCORE, **{field: value})


@pytest.mark.parametrize(("code", "numbers"), [("astrology", ()), ("memory", (1.0, 2.0))])
def test_a_reason_needs_a_known_code_and_its_numbers(code: str, numbers: tuple[float, ...]) -> None:
    with pytest.raises(ContractError, match="reason"):
        Reason(code, numbers)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(list(json.loads(SCORE.to_json()))), inner),
    max_leaves=20,
)


@given(st.binary() | JSON.map(lambda document: json.dumps(document).encode()))
def test_anything_else_is_refused_and_nothing_else_is_raised(data: bytes) -> None:
    for read in (score_from_json, budget_from_json):
        with pytest.raises(ContractError):
            read(data)


def test_a_budget_reads_back_and_knows_exhausted_cells() -> None:
    cell = Cell({"device_region": "Hebei", "customer": "c1"}, 12, 0.2, 0.2, 0.5)
    state = BudgetState(1_000, 100, 3, 2, 4, (cell, Cell({}, 100, 0.05, 0.2, 0.09)))
    assert budget_from_json(state.to_json()) == state
    assert [c.exhausted for c in state.cells] == [True, False]


def test_an_expired_value_goes_to_neutral_in_a_straight_line() -> None:
    assert faded(0.0, 0.5, 1_000, 1_000) == 0.0
    assert faded(0.0, 0.5, 1_000, 1_000 + FADE_MS // 2) == pytest.approx(0.25)
    assert faded(0.0, 0.5, 1_000, 1_000 + FADE_MS) == 0.5
    assert faded(1.0, 0.5, 1_000, 10**12) == 0.5
