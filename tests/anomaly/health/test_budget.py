"""The removal budget holds whatever comes in."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.health import BadInput, BudgetSettings, Capacity, Removal, remove

FIFTH = BudgetSettings(share=0.2, least_boxes=5)


def capacity(rows: list[tuple[int, int, float]], cells: int, served: list[float] | None = None) -> Capacity:
    box, cell, amount = zip(*rows, strict=True) if rows else ((), (), ())
    now = None if served is None else np.array(served, np.float64)
    return Capacity(np.array(box, np.int64), np.array(cell, np.int64), np.array(amount, np.float64), cells, now)


def one_cell(amounts: list[float], served: list[float] | None = None) -> Capacity:
    return capacity([(i, 0, amount) for i, amount in enumerate(amounts)], 1, served)


def run(want: list[float], held: Capacity, have: list[float] | None = None, priority: list[float] | None = None) -> Any:
    n = len(want)
    result = remove(
        np.array(want), np.array(have or [0.0] * n), np.array(priority or [1.0] * n), held, FIFTH
    )  # fmt: skip
    return result.granted.tolist(), result


def test_one_ill_box_of_ten_goes() -> None:
    granted, removal = run([1.0, *[0.0] * 9], one_cell([1.0] * 10))
    assert granted == [1.0, *[0.0] * 9]
    assert not removal.exhausted.any()


def test_when_too_many_look_ill_the_worst_go_and_the_cell_says_so() -> None:
    granted, removal = run([1.0] * 10, one_cell([1.0] * 10), priority=[float(i) for i in range(10)])
    assert granted == [0.0] * 8 + [1.0, 1.0]
    assert removal.exhausted.tolist() == [True]
    assert (removal.used[0], removal.allowed[0], removal.wanted[0]) == (2.0, 2.0, 10.0)


def test_what_is_out_stays_out_before_a_worse_one_goes() -> None:
    granted, _ = run(
        [1.0, 1.0, 1.0, *[0.0] * 7], one_cell([1.0] * 10), [1.0, 1.0, *[0.0] * 8], [0.1, 0.1, 0.9, *[0] * 7]
    )
    assert granted[:3] == [1.0, 1.0, 0.0]


def test_traffic_that_left_removed_boxes_is_no_capacity_of_those_that_took_it() -> None:
    """Ten boxes of 8; two are out, and the other eight serve 10 each: a third one would make it 3 of 10."""
    held = one_cell([8.0, 8.0, *[10.0] * 8], [0.0, 0.0, *[10.0] * 8])
    granted, removal = run([1.0, 1.0, 1.0, *[0.0] * 7], held, [1.0, 1.0, *[0.0] * 8])
    assert granted[:3] == [1.0, 1.0, 0.0]
    assert (removal.live[0], removal.used[0], removal.allowed[0]) == (80.0, 16.0, 16.0)


def test_a_reduced_box_that_may_not_be_drained_stays_reduced() -> None:
    have = [0.7, 0.7, *[0.0] * 8]
    granted, _ = run([1.0, 0.7, *[0.0] * 8], one_cell([1.0] * 8 + [0.0] * 2), have)
    assert granted[:2] == [0.7, 0.7]  # 1.6 may go, 1.7 would


def test_boxes_that_vanished_shrink_the_budget_and_bring_boxes_back() -> None:
    before, _ = run([1.0, 1.0, *[0.0] * 8], one_cell([1.0] * 10))
    assert sum(before) == 2.0
    after, _ = run([1.0, 1.0, *[0.0] * 8], one_cell([1.0] * 5 + [0.0] * 5), before, [0.2, 0.9, *[0.0] * 8])
    assert after == [0.0, 1.0, *[0.0] * 8]


def test_a_box_too_large_for_the_budget_goes_in_part() -> None:
    cell = one_cell([9.0, 1.0] + [1.0] * 8)  # 3.6 may go
    granted, removal = run([1.0] + [0.0] * 9, cell)
    assert granted[0] == pytest.approx(0.4)
    assert not removal.exhausted.any()  # that one box is ill explains it
    granted, _ = run([0.3] + [0.0] * 9, cell)
    assert granted[0] == 0.3


def test_a_box_too_large_for_the_budget_takes_what_worse_ones_leave() -> None:
    cell = one_cell([9.0, 1.0] + [1.0] * 8)
    granted, removal = run([1.0] * 2 + [0.0] * 8, cell, priority=[1.0, 9.0] + [0.0] * 8)
    assert granted[:2] == [pytest.approx(0.2), 1.0]  # 2.6 of 9 in tenths
    assert removal.exhausted.tolist() == [True]
    granted, _ = run([1.0] * 2 + [0.0] * 8, cell, priority=[9.0, 1.0] + [0.0] * 8)
    assert granted[:2] == [pytest.approx(0.4), 0.0]


def test_a_small_cell_leans_on_its_wider_one() -> None:
    # cell 0 holds two boxes and has no budget of its own, cell 1 holds all ten
    rows = [(0, 0, 1.0), (1, 0, 1.0)] + [(i, 1, 1.0) for i in range(10)]
    granted, removal = run([1.0, 1.0, *[0.0] * 8], capacity(rows, 2))
    assert granted[:2] == [1.0, 1.0]
    assert removal.budgeted.tolist() == [False, True]


def test_a_box_of_two_cells_goes_only_as_far_as_both_have_room() -> None:
    rows = [(i, 0, 1.0) for i in range(10)] + [(i, 1, 1.0) for i in (0, 10, 11, 12, 13)]
    rows[10] = (0, 1, 3.0)  # of the second cell it carries too much
    granted, _ = run([1.0, 1.0, *[0.0] * 12], capacity(rows, 2), priority=[9.0, 1.0, *[0.0] * 12])
    assert granted[:2] == [pytest.approx(0.4), 1.0]  # 1.4 of 3 in tenths


def test_a_box_nobody_knows_the_place_of_stays() -> None:
    granted, _ = run([0.0] * 5 + [1.0], one_cell([1.0] * 5))
    assert granted == [0.0] * 6


def test_an_empty_fleet_is_no_error() -> None:
    granted, removal = run([], one_cell([]))
    assert granted == []
    assert removal.used.tolist() == [0.0]


@pytest.mark.parametrize("wrong", [[float("nan")], [-0.1], [1.1]])
def test_shares_beyond_0_and_1_are_refused(wrong: list[float]) -> None:
    with pytest.raises(BadInput, match=r"want\[0\]"):
        run(wrong, one_cell([1.0]))
    with pytest.raises(BadInput, match=r"have\[0\]"):
        run([1.0], one_cell([1.0]), wrong)


def test_capacity_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadInput, match=r"amount\[1\]"):
        one_cell([1.0, -1.0])
    with pytest.raises(BadInput, match="cell"):
        capacity([(0, 3, 1.0)], 2)
    for wrong in ([1.0, float("inf")], [1.0, -1.0]):
        with pytest.raises(BadInput, match=r"served\[1\]"):
            one_cell([1.0, 1.0], wrong)
    with pytest.raises(BadInput, match="as many"):
        one_cell([1.0, 1.0], [1.0])


AMOUNT = st.one_of(st.just(0.0), st.floats(1e-6, 1e9))
SHARE = st.sampled_from([0.0, 0.015, 0.3, 0.4, 0.7, 0.9, 0.985, 1.0])


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[float], list[float], list[float], Capacity, BudgetSettings]:
    n, cells = draw(st.integers(1, 25)), draw(st.integers(1, 6))
    rows = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, cells - 1), AMOUNT), max_size=80))
    vector = st.lists(SHARE, min_size=n, max_size=n)
    priority = draw(st.lists(st.floats(-1, 1), min_size=n, max_size=n))
    limits = BudgetSettings(
        share=draw(st.floats(0, 1)), least_boxes=draw(st.integers(1, 6)), rounds=draw(st.integers(1, 4))
    )
    served = draw(st.none() | st.lists(AMOUNT, min_size=len(rows), max_size=len(rows)))
    return draw(vector), draw(vector), priority, capacity(rows, cells, served), limits


def solve(problem: tuple[list[float], list[float], list[float], Capacity, BudgetSettings]) -> Removal:
    want, have, priority, held, limits = problem
    return remove(np.array(want), np.array(have), np.array(priority), held, limits)


@given(problems())
@settings(max_examples=250, deadline=None)
def test_the_budget_holds_for_every_input(
    problem: tuple[list[float], list[float], list[float], Capacity, BudgetSettings],
) -> None:
    want, have, _, held, limits = problem
    removal = solve(problem)
    large: set[int] = set()
    for cell in range(held.cells):
        mine = held.cell == cell
        boxes = int((held.amount[mine] > 0).sum())
        if boxes < limits.least_boxes:
            continue
        live = (held.amount if held.served is None else held.served)[mine].sum()
        used = (held.amount[mine] * removal.granted[held.box[mine]]).sum()
        assert used <= limits.share * live * (1 + 1e-12) + 1e-9 * live
        large |= set(held.box[mine][held.amount[mine] > limits.share * live * (1 - 1e-9)].tolist())
    asked_by = zip(removal.granted.tolist(), want, have, removal.asked.tolist(), strict=True)
    for i, (granted, wanted, had, asked) in enumerate(asked_by):
        if i in large:
            assert 0.0 <= granted <= asked <= wanted
        else:
            assert asked == wanted
            assert granted in (0.0, wanted, min(wanted, had))


@given(problems())
@settings(max_examples=100, deadline=None)
def test_nobody_is_removed_who_did_not_ask_and_the_answer_is_always_the_same(
    problem: tuple[list[float], list[float], list[float], Capacity, BudgetSettings],
) -> None:
    first, second = solve(problem), solve(problem)
    assert (first.granted <= np.array(problem[0])).all()
    assert first.granted.tolist() == second.granted.tolist()


@given(problems())
@settings(max_examples=100, deadline=None)
def test_where_there_is_room_for_all_all_go(
    problem: tuple[list[float], list[float], list[float], Capacity, BudgetSettings],
) -> None:
    want, have, priority, held, limits = problem
    held = dataclasses.replace(held, served=None)
    generous = BudgetSettings(share=1.0, least_boxes=1, rounds=limits.rounds)
    halves = [w / 2 for w in want]
    removal = remove(np.array(halves), np.array(have), np.array(priority), held, generous)
    placed = np.isin(np.arange(len(want)), held.box[held.amount > 0])
    assert removal.granted.tolist() == [w if p else 0.0 for w, p in zip(halves, placed, strict=True)]
