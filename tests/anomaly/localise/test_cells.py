"""The walk over cuboids against a slow reference."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.localise.cells import select, varying, walk


def slow_cells(codes, weights, max_order, floor):
    cells = {}
    for order in range(1, max_order + 1):
        for dims in combinations(range(codes.shape[1]), order):
            for row, values in enumerate(codes[:, dims]):
                key = (dims, tuple(int(v) for v in values))
                cells[key] = cells.get(key, 0) + weights[:, row]
    return {k: v for k, v in cells.items() if v[0] >= floor and v[0] > 0}


@st.composite
def cubes(draw):
    n_dims = draw(st.integers(1, 4))
    rows = draw(st.lists(st.tuples(*[st.integers(0, 3)] * n_dims), min_size=1, max_size=25))
    weights = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 3)), min_size=len(rows), max_size=len(rows)))
    return np.array(rows), np.array(weights, dtype=float).T


@given(cubes(), st.integers(1, 4), st.sampled_from([0.0, 1.0, 4.0, 1000.0]))
@pytest.mark.parametrize("table_cells", [4, 30, 1 << 17])
def test_walk_finds_the_cells_of_a_slow_reference(table_cells, cube, max_order, floor):
    codes, weights = cube
    with pytest.MonkeyPatch.context() as patch:
        # Small tables force several blocks, and cuboids that are sorted up instead.
        patch.setattr("anomaly.localise.cells.MIN_TABLE_CELLS", table_cells)
        patch.setattr("anomaly.localise.cells.MAX_TABLE_CELLS", table_cells)
        check_walk(codes, weights, max_order, floor)


def check_walk(codes, weights, max_order, floor):
    found = {}
    for cuboid in walk(codes, weights, range(codes.shape[1]), max_order, floor):
        for i, values in enumerate(cuboid.codes):
            found[(cuboid.dims, tuple(int(v) for v in values))] = cuboid.sums[:, i]
    expected = slow_cells(codes, weights, max_order, floor)
    assert found.keys() == expected.keys()
    for key, sums in expected.items():
        assert found[key] == pytest.approx(sums)


def test_select_takes_the_leaves_with_all_the_values():
    codes = np.array([[0, 0], [0, 1], [1, 1]])
    assert select(codes, ((0, 0), (1, 1))).tolist() == [False, True, False]
    assert select(codes, ()).tolist() == [True, True, True]


def test_a_constant_dimension_does_not_vary():
    assert varying(np.array([[7, 0], [7, 1]])) == [1]


def test_thousands_of_rare_values_cost_no_cells():
    codes = np.column_stack((np.arange(5000), np.arange(5000) % 2))
    weights = np.ones((1, 5000))
    dims = [cuboid.dims for cuboid in walk(codes, weights, range(2), 2, floor=100.0)]
    assert dims == [(1,)]
