"""Who serves whom: requests a minute per box and customer."""

from __future__ import annotations

import numpy as np

from contracts.times import MINUTE_MS
from streams.health_boxes import MOST_PENDING, Placement

T0 = 1_767_600_000_000


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
