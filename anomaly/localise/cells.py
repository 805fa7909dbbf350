"""Every combination of dimension values that carries enough weight, cuboid by cuboid.

A cuboid is a set of dimensions, a cell one combination of their values. Cells are found depth first; a cell
whose support is below the floor is dropped together with everything inside it, which is exact because the
support of a part never exceeds the support of the whole.

Memory bound: with floor = total support / S, a cuboid keeps at most S cells and a dimension at most S values, so
one step needs arrays of at most S x (S + 1) buckets, and at most `max_order` frames of (weights + 2) x n_leaves
numbers are alive at a time. A dimension with thousands of rare values costs one array of its length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from anomaly.localise.model import Combination, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Cuboid:
    dims: tuple[int, ...]
    codes: IntArray
    """(n_cells, len(dims)): the value codes of each cell."""
    sums: FloatArray
    """(n_weights, n_cells): the weights summed over the cell's leaves."""

    def where(self, cell: int) -> Combination:
        return tuple((d, int(v)) for d, v in zip(self.dims, self.codes[cell], strict=True))


@dataclass(frozen=True, slots=True)
class _Column:
    codes: IntArray
    """(n_leaves,): position in `values`, or len(values) for a value below the floor."""
    values: IntArray


@dataclass(frozen=True, slots=True)
class _Frame:
    dims: tuple[int, ...]
    leaves: IntArray | None
    """Leaves inside a kept cell; None stands for all of them."""
    cell: IntArray | int
    """Per leaf the number of its cell."""
    codes: IntArray
    weights: FloatArray


def _column(codes: IntArray, support: FloatArray, floor: float) -> _Column:
    sums = np.bincount(codes, support)
    kept = np.flatnonzero((sums >= floor) & (np.bincount(codes) > 0))
    position = np.full(len(sums), len(kept), dtype=np.int64)
    position[kept] = np.arange(len(kept))
    return _Column(position[codes], kept)


def _grow(frame: _Frame, dim: int, column: _Column, floor: float, last: bool) -> tuple[Cuboid, _Frame] | None:
    """One more dimension for the cells of `frame`; None where nothing reaches the floor."""
    n_values = len(column.values) + 1
    codes = column.codes if frame.leaves is None else column.codes[frame.leaves]
    key = codes + frame.cell * n_values if frame.dims else codes
    n_keys = len(frame.codes) * n_values
    support = np.bincount(key, frame.weights[0], n_keys)
    keep = support >= floor
    keep[n_values - 1 :: n_values] = False
    if floor <= 0:
        keep &= np.bincount(key, minlength=n_keys) > 0
    kept = np.flatnonzero(keep)
    if len(kept) == 0:
        return None
    sums = np.empty((len(frame.weights), len(kept)))
    sums[0] = support[kept]
    for i in range(1, len(frame.weights)):
        sums[i] = np.bincount(key, frame.weights[i], n_keys)[kept]
    parent, value = np.divmod(kept, n_values)
    cell_codes = np.column_stack((frame.codes[parent], column.values[value]))
    dims = (*frame.dims, dim)
    cuboid = Cuboid(dims, cell_codes, sums)
    if last:
        return cuboid, frame
    number = np.full(n_keys, -1, dtype=np.int64)
    number[kept] = np.arange(len(kept))
    cell = number[key]
    inside = np.flatnonzero(cell >= 0)
    if len(inside) == len(cell):
        return cuboid, _Frame(dims, frame.leaves, cell, cell_codes, frame.weights)
    leaves = inside if frame.leaves is None else frame.leaves[inside]
    return cuboid, _Frame(dims, leaves, cell[inside], cell_codes, frame.weights[:, inside])


def walk(codes: IntArray, weights: FloatArray, dims: Sequence[int], max_order: int, floor: float) -> Iterator[Cuboid]:
    """All cuboids of 1 to `max_order` of the dimensions `dims`, with the cells whose support reaches `floor`.

    codes: (n_leaves, n_dims) non-negative integers; weights: (n_weights, n_leaves) float64, of which
    weights[0] >= 0 is the support. Yields cuboids in a fixed order (depth first, as `dims` has them).
    """
    columns = [_column(codes[:, d], weights[0], floor) for d in dims]
    root = _Frame((), None, 0, np.empty((1, 0), dtype=np.int64), weights)
    stack = [(root, 0)]
    while stack:
        frame, position = stack.pop()
        if position == len(dims):
            continue
        stack.append((frame, position + 1))
        last = len(frame.dims) + 1 >= max_order
        grown = _grow(frame, dims[position], columns[position], floor, last)
        if grown is None:
            continue
        cuboid, child = grown
        yield cuboid
        if not last:
            stack.append((child, position + 1))


def varying(codes: IntArray) -> list[int]:
    """Dimensions with more than one value: a constant one tells nothing apart."""
    return [d for d in range(codes.shape[1]) if len(codes) and (codes[:, d] != codes[0, d]).any()]


def select(codes: IntArray, where: Combination) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Boolean mask over the leaves of a combination."""
    mask = np.ones(len(codes), dtype=np.bool_)
    for dim, value in where:
        mask &= codes[:, dim] == value
    return mask
