"""Every combination of dimension values that carries enough weight, cuboid by cuboid.

A cuboid is a set of dimensions, a cell one combination of their values. A value whose own support is below the floor
cannot be part of a cell that reaches it, because the support of a part never exceeds that of the whole: rare values
share one bucket, which is no cell. What is left is added up in tables of several dimensions, and the cuboids inside a
table are its margins.

Memory bound: beside copies of the columns and weights (n_leaves numbers each), one table of at most
`MAX_TABLE_CELLS` numbers per weight at a time; cuboids too large for that are narrowed down column by column, in
three times n_leaves numbers per column and at most `MAX_KEYS` counters. With a floor of total support / S, a dimension
keeps at most S values and a cuboid at most S cells.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import prod

import numpy as np

from anomaly.localise.model import Combination, FloatArray, IntArray

MIN_TABLE_CELLS = 1 << 10
MAX_TABLE_CELLS = 1 << 17
MAX_KEYS = 1 << 22


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
    dim: int
    codes: IntArray
    """(n_leaves,): position in `values`, or len(values) for a value below the floor."""
    values: IntArray

    @property
    def size(self) -> int:
        return len(self.values) + 1


def walk(codes: IntArray, weights: FloatArray, dims: Sequence[int], max_order: int, floor: float) -> Iterator[Cuboid]:
    """All cuboids of 1 to `max_order` of the dimensions `dims`, with the cells whose support reaches `floor`.

    codes: (n_leaves, n_dims) non-negative integers; weights: (n_weights, n_leaves) float64, of which
    weights[0] >= 0 is the support; cells without any are left out, and so are cuboids without cells. Yields cuboids
    in an order that depends on the dimensions and their numbers of values only.
    """
    columns = [_column(codes[:, d], d, weights[0], floor) for d in dims]
    columns = [column for column in columns if len(column.values)]
    # Most values first: narrowing then drops most leaves at its first step, and later steps share the few left.
    columns.sort(key=lambda column: -column.size)
    done: set[tuple[int, ...]] = set()
    # A table much larger than the leaves that fill it takes longer to add up than the leaves themselves.
    room = min(max(2 * len(codes), MIN_TABLE_CELLS), MAX_TABLE_CELLS)
    narrowing = _Narrowing(columns, weights, floor)
    for block in _blocks(tuple(column.size for column in columns), max_order, room):
        chosen = [columns[i] for i in block]
        if prod(column.size for column in chosen) > room:
            yield from narrowing.cuboid(block)
            continue
        parts = _Parts(block, _table(chosen, weights))
        for order in range(min(max_order, len(block)), 0, -1):
            for members in combinations(block, order):
                if members not in done:
                    done.add(members)
                    yield from _cells([columns[i] for i in members], parts.table(members), floor)


def _column(codes: IntArray, dim: int, support: FloatArray, floor: float) -> _Column:
    sums = np.bincount(codes, support)
    kept = np.flatnonzero((sums >= floor) & (sums > 0))
    position = np.full(len(sums), len(kept), dtype=np.int64)
    position[kept] = np.arange(len(kept))
    return _Column(dim, position[codes], kept)


@lru_cache(maxsize=64)
def _blocks(sizes: tuple[int, ...], max_order: int, room: int) -> tuple[tuple[int, ...], ...]:
    """Sets of columns, few of them, such that each set of up to `max_order` columns lies inside one whose table is
    small enough; or, where even its own table is too large, stands alone."""
    blocks: list[tuple[int, ...]] = []
    tables: list[set[int]] = []
    for order in range(min(max_order, len(sizes)), 0, -1):
        open_sets = {s for s in combinations(range(len(sizes)), order) if not any(t.issuperset(s) for t in tables)}
        while open_sets:
            block = min(open_sets)
            if prod(sizes[i] for i in block) <= room:
                block = _extended(block, sizes, open_sets, room)
                tables.append(set(block))
            blocks.append(block)
            open_sets.difference_update(combinations(block, order))
    return tuple(blocks)


def _extended(
    block: tuple[int, ...], sizes: tuple[int, ...], open_sets: set[tuple[int, ...]], room: int
) -> tuple[int, ...]:
    """The block with further columns as long as its table is small enough, each the one that covers most."""
    order = len(block)
    while True:
        factor = room // prod(sizes[i] for i in block)
        wider = [tuple(sorted((*block, i))) for i in range(len(sizes)) if i not in block and sizes[i] <= factor]
        if not wider:
            return block
        block = max(
            wider, key=lambda b: (len(open_sets.intersection(combinations(b, order))), -prod(sizes[i] for i in b), b)
        )


def _key(columns: list[_Column]) -> IntArray:
    """(n_leaves,): the position of each leaf's cell in the table of the columns."""
    key = columns[0].codes
    for column in columns[1:]:
        key = key * column.size + column.codes
    return key


def _table(columns: list[_Column], weights: FloatArray) -> FloatArray:
    """(n_weights, size, size, ...): weights added up per combination of the columns."""
    shape = [column.size for column in columns]
    key = _key(columns)
    flat: FloatArray = np.stack([np.bincount(key, weight, prod(shape)) for weight in weights]).astype(np.float64)
    return flat.reshape(len(weights), *shape)


class _Parts:
    """Tables of the parts of a block; each is added up from one with one member more."""

    def __init__(self, block: tuple[int, ...], table: FloatArray) -> None:
        self._block = block
        self._tables = {block: table}

    def table(self, members: tuple[int, ...]) -> FloatArray:
        """(n_weights, size, size, ...) of some members of the block."""
        if members not in self._tables:
            extra = next(member for member in self._block if member not in members)
            wider = tuple(sorted((*members, extra)))
            self._tables[members] = self.table(wider).sum(axis=1 + wider.index(extra))
        return self._tables[members]


def _cells(columns: list[_Column], table: FloatArray, floor: float) -> Iterator[Cuboid]:
    """The cuboid of a table, if it has cells; the last bucket of each axis holds the rare values."""
    inner: list[slice] = [slice(None), *(slice(None, -1) for _ in columns)]
    sums = table[tuple(inner)]
    flat: FloatArray = sums.reshape(len(sums), -1)
    kept = np.flatnonzero((flat[0] >= floor) & (flat[0] > 0))
    if len(kept):
        positions = np.unravel_index(kept, sums.shape[1:])
        codes = np.array([column.values[k] for column, k in zip(columns, positions, strict=True)]).T
        yield _cuboid(columns, codes, flat[:, kept])


def _cuboid(columns: list[_Column], codes: IntArray, sums: FloatArray) -> Cuboid:
    """With its dimensions ascending. codes: (n_cells, len(columns))."""
    order = sorted(range(len(columns)), key=lambda i: columns[i].dim)
    return Cuboid(tuple(columns[i].dim for i in order), codes[:, order], sums)


@dataclass(frozen=True, slots=True)
class _Level:
    """The kept cells of a prefix of columns and the leaves inside them."""

    member: int
    codes: IntArray
    """(n_cells, depth)."""
    leaves: IntArray
    cell: IntArray
    """(len(leaves),): the number of each leaf's cell."""


class _Narrowing:
    """Cuboids too large for a table, column by column: leaves of cells below the floor drop out at each step.

    What was found for a prefix of columns is kept for the next cuboid that begins with it.
    """

    def __init__(self, columns: list[_Column], weights: FloatArray, floor: float) -> None:
        self._columns = columns
        self._weights = weights
        self._floor = floor
        leaves = np.arange(weights.shape[1])
        self._levels = [_Level(-1, np.zeros((1, 0), dtype=np.int64), leaves, np.zeros_like(leaves))]

    def cuboid(self, members: tuple[int, ...]) -> Iterator[Cuboid]:
        """The cuboid of the columns `members`, if it has cells."""
        depth = 0
        while (
            depth < len(members) and depth + 1 < len(self._levels) and self._levels[depth + 1].member == members[depth]
        ):
            depth += 1
        del self._levels[depth + 1 :]
        for member in members[depth:]:
            self._levels.append(self._next(self._levels[-1], member))
        last = self._levels[-1]
        if len(last.codes):
            sums = [np.bincount(last.cell, weight[last.leaves], len(last.codes)) for weight in self._weights]
            columns = [self._columns[i] for i in members]
            yield _cuboid(columns, last.codes, np.array(sums, dtype=np.float64))

    def _next(self, level: _Level, member: int) -> _Level:
        column = self._columns[member]
        key = level.cell * column.size + column.codes[level.leaves]
        n_keys = len(level.codes) * column.size
        names = np.arange(n_keys)
        if n_keys > MAX_KEYS:
            names, key = np.unique(key, return_inverse=True)
        support = np.bincount(key, self._weights[0, level.leaves], len(names))
        is_cell = (support >= self._floor) & (support > 0) & (names % column.size < len(column.values))
        kept = np.flatnonzero(is_cell)
        parent, value = np.divmod(names[kept], column.size)
        number = np.full(len(names), -1, dtype=np.int64)
        number[kept] = np.arange(len(kept))
        cell = number[key]
        inside = np.flatnonzero(cell >= 0)
        codes = np.column_stack((level.codes[parent], column.values[value]))
        return _Level(member, codes, level.leaves[inside], cell[inside])


def varying(codes: IntArray) -> list[int]:
    """Dimensions with more than one value: a constant one tells nothing apart."""
    return [d for d in range(codes.shape[1]) if len(codes) and (codes[:, d] != codes[0, d]).any()]


def select(codes: IntArray, where: Combination) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Boolean mask over the leaves of a combination."""
    mask = np.ones(len(codes), dtype=np.bool_)
    for dim, value in where:
        mask &= codes[:, dim] == value
    return mask
