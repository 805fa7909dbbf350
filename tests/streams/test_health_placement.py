"""Who serves whom: requests a minute per box and customer."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.times import MINUTE_MS
from streams.health_boxes import MOST_PENDING, Boxes, Placement

T0 = 1_767_600_000_000
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
        self.placement.turn(T0 + self.minute * MINUTE_MS, self.share < 1)

    def out(self) -> float:
        """Part of the cell's capacity that is out, as the job sees it."""
        capacity, _ = self.placement.capacity(self.boxes, self.present)
        everywhere = capacity.cell == capacity.cells - 1
        assert capacity.served is not None
        box, amount = capacity.box[everywhere], capacity.amount[everywhere]
        return float((amount * (1 - self.share[box])).sum() / capacity.served[everywhere].sum())

    def usual(self, box: int) -> float:
        return self.placement.usual(box)["c1"]


def test_a_fifth_that_is_out_is_seen_as_a_fifth_while_its_traffic_moves_and_when_it_has() -> None:
    cell = Cell()
    for minute in range(240):
        if minute == 60:
            cell.share[:8] = PROBE
        cell.turn(c1=60.0)
        if minute >= 60:
            assert cell.out() == pytest.approx(0.2 * (1 - PROBE), rel=1e-9)
            assert cell.usual(0) == pytest.approx(60.0)


def test_rows_that_wait_take_no_more_room_than_their_pairs_while_nothing_is_scored() -> None:
    placement = Placement(15.0)
    placement.since = T0
    customer = placement.customers.of("c1")
    for k in range(1_000):
        placement.add(np.arange(1_000), np.full(1_000, customer), np.full(1_000, k % 3))
        assert placement.pending <= MOST_PENDING + 1_000
    placement.turn(T0 + 10 * MINUTE_MS, np.zeros(1_000, dtype=bool))
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
