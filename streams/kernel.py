"""The aggregation kernel: rows into groups, all counts and sparse histograms at once, in exact integers.

Keys are integer codes (dictionary codes of text columns, minutes since the first). They are packed into one int64,
hashed by pyarrow's dictionary encoder, and summed by scatter-adds over group ids; a histogram cell's address is
`group * CELLS + cell`. Sums are int64 throughout: exact, and saturated at MAX_SUM where they would overflow, so that
no input can turn a large count into a small or negative one. Saturating addition of counts is associative, so
aggregating partial results gives what aggregating the rows gives.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.histogram import CELLS

Ints = npt.NDArray[np.int64]
Cells = npt.NDArray[np.uint8]
Whole = npt.NDArray[np.integer]

MAX_SUM = 2**63 - 1
_PACK_LIMIT = 2**62
_MAX_DENSE_SLOTS = 16_000_000  # 128 MB of int64; above it entries are sorted instead
_BLOCK_ROWS = 1 << 16
_DENSE_SLOTS_PER_ENTRY = 32  # fewer entries than slots / this: sorting them is cheaper than scanning the slots


@dataclass(frozen=True, slots=True)
class Sparse:
    """Histograms of n rows: row r owns entries offsets[r]:offsets[r+1] of `cells` (ascending within a row) and
    `counts`. `offsets` (n + 1,) int64 from 0, `cells` (n_entries,) uint8, `counts` (n_entries,) integers: uint32 as
    on the wire, int64 in aggregates."""

    offsets: Ints
    cells: Cells
    counts: Whole

    def take(self, rows: Ints) -> Sparse:
        """Histograms of the given rows, in that order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = offsets_of(lengths)
        entries = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Sparse(offsets, self.cells[entries], self.counts[entries])

    def dense(self) -> Ints:
        """(n, CELLS) int64."""
        n = len(self.offsets) - 1
        out = np.zeros(n * CELLS, np.int64)
        rows = np.repeat(np.arange(n) * CELLS, np.diff(self.offsets))
        out[rows + self.cells] = self.counts
        return out.reshape(n, CELLS)


@dataclass(frozen=True, slots=True)
class Groups:
    """`keys` (n_keys, n_groups) int64 codes, `counts` (n_counts, n_groups) int64, one Sparse per histogram.
    Columns are contiguous; `.counts.T` is the (n_groups, n_counts) view."""

    keys: Ints
    counts: Ints
    histograms: tuple[Sparse, ...]

    def __len__(self) -> int:
        return int(self.keys.shape[1])

    def take(self, rows: Ints) -> Groups:
        """The given groups, in that order."""
        return Groups(self.keys[:, rows], self.counts[:, rows], tuple(h.take(rows) for h in self.histograms))


def offsets_of(lengths: Whole) -> Ints:
    """(n,) lengths to (n + 1,) int64 offsets from 0."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def factorise(keys: Sequence[Whole]) -> tuple[Ints, Ints]:
    """Group ids (n,) int64 of rows with equal keys, numbered by first occurrence, and the groups' keys
    (n_keys, n_groups) int64.

    `keys`: at least one (n,) array of int32 or int64 codes >= 0. Keys whose packed form would overflow 62 bits are
    first replaced, prefix by prefix, by the ids of their distinct combinations.
    """
    if len(keys[0]) == 0:
        return np.zeros(0, np.int64), np.zeros((len(keys), 0), np.int64)
    ids, first = distinct(keys)
    return ids, np.stack([key[first].astype(np.int64) for key in keys])


def distinct(keys: Sequence[Whole]) -> tuple[Ints, Ints]:
    """Group ids (n,) as of `factorise`, and the first row of each group. At least one row."""
    widths = spans(keys)
    packed = pack(keys, widths)
    if packed is None and len(keys) > 1:
        fits = 1
        while math.prod(widths[: fits + 1]) <= _PACK_LIMIT:
            fits += 1
        return distinct([distinct(keys[:fits])[0], distinct(keys[fits : fits + 1])[0], *keys[fits + 1 :]])
    encoded = pa.array(keys[0].astype(np.int64, copy=False) if packed is None else packed).dictionary_encode()
    ids = encoded.indices.to_numpy().astype(np.int64)
    first = np.empty(len(encoded.dictionary), np.int64)
    first[ids[::-1]] = np.arange(len(ids) - 1, -1, -1)  # the last write is a group's first row
    return ids, first


def spans(keys: Iterable[Whole]) -> list[int]:
    """One more than the largest code of each key. At least one row."""
    return [int(key.max()) + 1 for key in keys]


def pack(keys: Sequence[Whole], widths: Sequence[int]) -> Ints | None:
    """One int64 per row from codes below their key's width; None where that would not fit 62 bits."""
    if math.prod(widths) > _PACK_LIMIT:
        return None
    packed = np.empty(len(keys[0]), np.int64)
    for begin in range(0, len(packed), _BLOCK_ROWS):
        block = packed[begin : begin + _BLOCK_ROWS]
        block[:] = keys[0][begin : begin + _BLOCK_ROWS]
        for key, width in zip(keys[1:], widths[1:], strict=True):
            block *= width
            block += key[begin : begin + _BLOCK_ROWS]
    return packed


def ascending(keys: Sequence[Whole]) -> Ints:
    """(n,) rows ordered by the first key, then the second and so on; combinations are distinct."""
    if not len(keys[0]):
        return np.zeros(0, np.int64)
    packed = pack(keys, spans(keys))
    order: Ints = np.lexsort(list(keys)[::-1]) if packed is None else np.argsort(packed)
    return order


def starts_of_runs(columns: Sequence[Whole]) -> Ints:
    """(m,) first rows of the stretches in which no column changes. At least one row."""
    starts = np.ones(len(columns[0]), np.bool_)
    np.not_equal(columns[0][1:], columns[0][:-1], out=starts[1:])
    for column in columns[1:]:
        starts[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(starts)


def sums(ids: Ints, values: Whole, n_groups: int) -> Ints:
    """(n_groups,) int64 sums of integers >= 0 by group id; saturated at MAX_SUM."""
    if len(values) == 0 or len(values) * int(values.max()) <= MAX_SUM:
        out = np.zeros(n_groups, np.int64)
        np.add.at(out, ids, values.astype(np.int64, copy=False))
        return out
    high, low = np.zeros(n_groups, np.int64), np.zeros(n_groups, np.int64)
    np.add.at(high, ids, values >> 32)
    np.add.at(low, ids, values & 0xFFFF_FFFF)
    high += low >> 32
    return np.where(high < 2**31, (high << 32) + (low & 0xFFFF_FFFF), MAX_SUM)


def aggregate(keys: Sequence[Whole], counts: Sequence[Ints], histograms: Sequence[Sparse]) -> Groups:
    """Group n rows by their keys and sum counts and histograms.

    `keys`: (n,) integer code arrays, at least one. `counts`: (n,) int64 arrays, values >= 0. `histograms`: Sparse of n
    rows each. Groups come in order of first occurrence.
    """
    ids, group_keys = factorise(keys)
    n_groups = group_keys.shape[1]
    summed = np.empty((len(counts), n_groups), np.int64)
    for i, values in enumerate(counts):
        summed[i] = sums(ids, values, n_groups)
    return Groups(group_keys, summed, tuple(sum_histograms(ids, h, n_groups) for h in histograms))


def merge(parts: Sequence[Groups]) -> Groups:
    """Partial aggregates of the same columns into one."""
    keys = np.concatenate([p.keys for p in parts], axis=1)
    counts = np.concatenate([p.counts for p in parts], axis=1)
    histograms = [concatenate([p.histograms[i] for p in parts]) for i in range(len(parts[0].histograms))]
    return aggregate(list(keys), list(counts), histograms)


def concatenate(parts: Sequence[Sparse]) -> Sparse:
    """Histograms of all rows of the parts, in order."""
    return Sparse(
        offsets_of(np.concatenate([np.diff(p.offsets) for p in parts])),
        np.concatenate([p.cells for p in parts]),
        np.concatenate([p.counts for p in parts]),
    )


def sum_histograms(ids: Ints, rows: Sparse, n_groups: int) -> Sparse:
    """Histograms of `n_groups` groups from those of rows and the rows' group ids; empty cells are left out."""
    slots = n_groups * CELLS
    if slots >= _DENSE_SLOTS_PER_ENTRY * len(rows.cells):
        return _sort_histograms(ids, rows, n_groups)
    at_once = _MAX_DENSE_SLOTS // CELLS
    if n_groups <= at_once:
        return _sum_dense(ids, rows, n_groups)
    parts = []
    for begin in range(0, n_groups, at_once):
        end = min(begin + at_once, n_groups)
        mine = np.flatnonzero((ids >= begin) & (ids < end))
        parts.append(_sum_dense(ids[mine] - begin, rows.take(mine), end - begin))
    return concatenate(parts)


def _sum_dense(ids: Ints, rows: Sparse, n_groups: int) -> Sparse:
    if not len(rows.cells):
        return Sparse(np.zeros(n_groups + 1, np.int64), rows.cells, rows.counts.astype(np.int64))
    dense = _scatter_histograms(ids, rows, n_groups * CELLS)
    mask = dense != 0
    filled = np.flatnonzero(mask)
    lengths = np.count_nonzero(mask.reshape(n_groups, CELLS), axis=1)
    return _from_addresses(filled, dense[filled], lengths)


def _sort_histograms(ids: Ints, rows: Sparse, n_groups: int) -> Sparse:
    address = np.repeat(ids * CELLS, np.diff(rows.offsets))
    address += rows.cells
    order = np.argsort(address)
    address = address[order]
    first = np.flatnonzero(np.diff(address, prepend=-1))
    entry = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(address))))
    summed = sums(entry, rows.counts[order], len(first))
    filled = np.flatnonzero(summed != 0)
    address = address[first][filled]
    return _from_addresses(address, summed[filled], np.bincount(address // CELLS, minlength=n_groups))


def _scatter_histograms(ids: Ints, rows: Sparse, slots: int) -> Whole:
    # Blocks of rows keep the addresses in the processor's cache: one large array of them costs more in page faults
    # than the additions.
    largest = len(rows.counts) * int(rows.counts.max())
    if largest > MAX_SUM:
        return sums(np.repeat(ids * CELLS, np.diff(rows.offsets)) + rows.cells, rows.counts, slots)
    dtype = np.int32 if largest < 2**31 else np.int64
    out: Whole = np.zeros(slots, dtype)
    for begin in range(0, len(ids), _BLOCK_ROWS):
        bounds = rows.offsets[begin : begin + _BLOCK_ROWS + 1]
        address = np.repeat(ids[begin : begin + _BLOCK_ROWS] * CELLS, np.diff(bounds))
        address += rows.cells[bounds[0] : bounds[-1]]
        np.add.at(out, address, rows.counts[bounds[0] : bounds[-1]].astype(dtype))
    return out


def _from_addresses(address: Ints, counts: Whole, lengths: Whole) -> Sparse:
    # Bytes suffice: a cell is below 256, so it survives the subtraction modulo 256.
    base = (np.arange(len(lengths)) * CELLS).astype(np.uint8)
    cells = address.astype(np.uint8) - np.repeat(base, lengths)
    return Sparse(offsets_of(lengths), cells, counts.astype(np.int64, copy=False))
