"""Who serves whom: requests a minute per box and customer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from contracts.times import MINUTE_MS
from streams.health_boxes import MOST_PENDING, Boxes, Placement

T0 = 1_767_600_000_000
DAY = 1_440  # minutes
PROBE = 0.015


class Cell:
    """Boxes of one place. What each customer asks for is spread over those that are there and serve, evenly; removed
    ones get their share of what would be theirs."""

    def __init__(self, boxes: int = 40) -> None:
        self.boxes = Boxes()
        for i in range(boxes):
            self.boxes.devices.of(f"box-{i}")
        self.boxes.grow()
        self.placement = Placement(15.0)
        self.share = np.ones(boxes)
        self.present = np.ones(boxes, dtype=bool)
        self.dark = np.zeros(boxes, dtype=bool)
        self.minute = 0

    def turn(self, **demand: float) -> None:
        """A minute in which customers ask for so many requests of a box."""
        n, there = len(self.share), ~self.dark
        serving = there & (self.share == 1)
        for customer, rate in demand.items():
            usual = np.where(there, rate * n / there.sum(), 0.0)
            taken = np.where(serving, 1.0, self.share) * usual
            served = taken + serving * (usual.sum() - taken.sum()) / serving.sum()
            served[served < 0.005] = 0.0
            heard = np.flatnonzero(served)
            code = np.full(len(heard), self.placement.customers.of(customer))
            self.placement.add(heard, code, served[heard])
        self.minute += 1
        self.placement.turn(T0 + self.minute * MINUTE_MS, self.share < 1, self.present)

    def out(self) -> float:
        """Part of the cell's capacity that is out, as the job sees it."""
        capacity, _ = self.placement.capacity(self.boxes, self.present)
        everywhere = capacity.cell == capacity.cells - 1
        assert capacity.served is not None
        box, amount = capacity.box[everywhere], capacity.amount[everywhere]
        return float((amount * (1 - self.share[box])).sum() / capacity.served[everywhere].sum())

    def usual(self, box: int) -> float:
        return self.placement.usual(box)["c1"]


def of_day(minute: float) -> float:
    """A day's rhythm of 4 to 1, in requests a minute of a box; the peak is in the middle."""
    return 50.0 * math.exp(-math.log(2.0) * math.cos(2 * math.pi * minute / DAY))


@pytest.mark.parametrize("removed_at", [0, DAY // 4, DAY // 2])
def test_boxes_that_stay_out_for_a_day_take_the_same_part_of_the_budget_by_night_and_at_the_peak(
    removed_at: int,
) -> None:
    cell = Cell()
    for minute in range(-120, DAY + 1):
        if minute == 0:
            cell.share[:6] = PROBE
        # Customers with rhythms of their own, six hours apart.
        cell.turn(c1=of_day(removed_at + minute), c2=2.0 * of_day(removed_at + minute - 360))
        if minute >= 0:
            assert cell.out() == pytest.approx(6 * (1 - PROBE) / 40, rel=0.02)


def test_a_fifth_that_is_out_is_seen_as_a_fifth_while_its_traffic_moves_and_when_it_has() -> None:
    cell = Cell()
    for minute in range(240):
        if minute == 60:
            cell.share[:8] = PROBE
        cell.turn(c1=60.0)
        if minute >= 60:
            assert cell.out() == pytest.approx(0.2 * (1 - PROBE), rel=1e-9)
            assert cell.usual(0) == pytest.approx(60.0)


def test_a_box_that_returns_is_measured_again() -> None:
    cell = Cell()
    for minute in range(400):
        cell.share[0] = PROBE if 60 <= minute < 120 else 1.0
        cell.turn(c1=60.0 if minute < 120 else 30.0)
    assert cell.usual(0) == pytest.approx(30.0, rel=1e-3)


@pytest.mark.parametrize(("moves", "most"), [(False, 60.0), (True, 60.0 * 40 / 28)])
def test_boxes_that_go_dark_take_their_clients_with_them_or_leave_them_to_the_others(moves: bool, most: float) -> None:
    cell = Cell()
    cell.share[0] = 1.0
    for minute in range(600):
        cell.share[0] = PROBE if minute >= 60 else 1.0
        cell.dark[28:] = 100 <= minute < 300
        cell.present[28:] = not 106 <= minute < 300
        cell.turn(c1=60.0 if moves or not cell.dark.any() else 60.0 * 28 / 40)
        if minute == 299:
            assert cell.usual(0) == pytest.approx(most, rel=0.04)
    assert cell.usual(0) == pytest.approx(60.0, rel=0.04)


def test_a_customer_that_asks_for_nothing_at_night_finds_what_its_boxes_carried() -> None:
    cell = Cell()
    for minute in range(1_500):
        cell.share[:6] = PROBE if minute >= 60 else 1.0
        cell.turn(c1=0.0 if 100 <= minute < 1_000 else 60.0, c2=30.0)
        if 400 <= minute < 1_000:
            assert cell.out() == pytest.approx(6 * (1 - PROBE) / 40, rel=0.02)
    assert cell.usual(0) == pytest.approx(60.0, rel=0.02)
    assert cell.out() == pytest.approx(6 * (1 - PROBE) / 40, rel=0.02)


def test_boxes_with_a_request_now_and_then_do_not_make_demand_seem_to_grow() -> None:
    """A request every 4 minutes of every box; in 12 hours nothing but chance moves."""
    cell = Cell(200)
    for minute in range(720):
        cell.share[0] = PROBE if minute >= 120 else 1.0
        heard = np.flatnonzero((np.arange(200) + minute) % 4 == 0)
        heard = heard[(heard > 0) | (cell.share[0] == 1)]
        cell.placement.add(heard, np.full(len(heard), cell.placement.customers.of("c1")), np.ones(len(heard)))
        cell.turn()
    assert cell.usual(0) == pytest.approx(0.25, rel=0.15)


def test_a_box_that_is_there_and_serves_nobody_any_more_carries_nothing() -> None:
    cell = Cell()
    for minute in range(400):
        cell.dark[0] = minute >= 60
        cell.turn(c1=60.0)
    assert cell.placement.usual(0) == {}


def restored(cell: Cell, faded_minute: int) -> None:
    cell.placement.restore({0: {"c1": 60.0}}, {0: T0 + faded_minute * MINUTE_MS})
    cell.placement.since = T0
    cell.share[0] = PROBE


def test_what_a_removed_box_carried_comes_back_with_its_score_and_goes_on_with_demand() -> None:
    cell = Cell()
    restored(cell, 5)  # it may have been steered while these rows came in
    cell.turn(c1=60.0)
    assert cell.usual(0) == 60.0
    for _ in range(300):
        cell.turn(c1=20.0)
    assert cell.usual(0) == pytest.approx(20.0, rel=0.01)


def test_a_box_whose_score_had_faded_before_the_job_came_back_is_measured() -> None:
    """For hours nobody was told to spare it: it serves as it always did, of what is asked for now."""
    cell = Cell()
    restored(cell, 0)
    cell.share[0] = 1.0
    cell.turn(c1=20.0)
    assert cell.usual(0) == pytest.approx(20.0)
    silent = Cell()
    restored(silent, 0)
    silent.dark[0] = True
    silent.turn(c1=20.0)
    assert silent.usual(0) == 60.0


def test_rows_that_wait_take_no_more_room_than_their_pairs_while_nothing_is_scored() -> None:
    placement = Placement(15.0)
    placement.since = T0
    customer = placement.customers.of("c1")
    for k in range(1_000):
        placement.add(np.arange(1_000), np.full(1_000, customer), np.full(1_000, k % 3))
        assert placement.pending <= MOST_PENDING + 1_000
    placement.turn(T0 + 10 * MINUTE_MS, np.zeros(1_000, dtype=bool), np.ones(1_000, dtype=bool))
    # 333 times 0 + 1 + 2 in ten minutes
    assert [placement.usual(box) for box in (0, 999)] == [{"c1": 99.9}, {"c1": 99.9}]
    assert placement.pending == 0


def test_pairs_beyond_the_room_are_put_together_as_often_as_they_double() -> None:
    placement = Placement(15.0)
    customer = placement.customers.of("c1")
    boxes = MOST_PENDING + 1
    for _ in range(4):
        placement.add(np.arange(boxes), np.full(boxes, customer), np.ones(boxes, np.int64))
        assert placement.pending <= 2 * boxes
