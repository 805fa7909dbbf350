"""The removal budget in what boxes usually serve."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from contracts.entities import DeviceAttributes
from dipper.loop_budget import UsualCells
from simulator.placement import Placement


def rows(device: list[int], customer: list[int], weight: list[float]) -> Placement:
    """Rows of which the rest does not matter."""
    columns = {f.name: np.zeros(len(device)) for f in fields(Placement)}
    columns |= {"device": np.array(device), "customer": np.array(customer), "weight": np.array(weight)}
    return Placement(**columns)


def box(isp: str, region: str) -> DeviceAttributes:
    return DeviceAttributes(0, isp, region, "n", "c", 100.0)


def test_what_is_out_of_each_cell_is_counted_by_its_usual_traffic() -> None:
    boxes = [box("i1", "r1"), box("i1", "r1"), box("i1", "r2"), box("i2", "r1")]
    # Box 0 serves customer 0 in two rows, box 2 both customers.
    placement = rows([0, 0, 1, 2, 2, 3], [0, 0, 0, 0, 1, 0], [1.0, 2.0, 1.0, 4.0, 10.0, 8.0])
    cells = UsualCells(boxes, placement, least_boxes=2)
    out = cells.out(np.array([0.0, 1.0, 0.5, 1.0]))
    # r1 x i1 x 0: 3 of 4; i1 x 0: 3 + 2 of 8; customer 0: 5 of 16; all: 5 + 5 of 26. Customer 1 has one box.
    assert sorted(out.tolist()) == pytest.approx(sorted([3 / 4, 5 / 8, 5 / 16, 10 / 26]))
    assert cells.out(np.ones(4)).tolist() == [0.0] * 4


def test_a_fleet_of_fewer_boxes_has_no_budget() -> None:
    cells = UsualCells([box("i1", "r1")], rows([0], [0], [1.0]), least_boxes=15)
    assert cells.out(np.zeros(1)).tolist() == []
