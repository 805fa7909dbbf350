"""The aggregation kernel: rows into groups, all counts and sparse histograms at once, in exact integers.

Keys are integer codes (dictionary codes of text columns, minutes since the first). They are packed into one int64,
hashed by pyarrow's dictionary encoder, and summed by scatter-adds over group ids; a histogram cell's address is
`group * CELLS + cell`. Sums are int64 throughout: exact, and saturated at MAX_SUM where they would overflow, so that
no input can turn a large count into a small or negative one. Saturating addition of counts is associative, so
aggregating partial results gives what aggregating the rows gives.
"""

from __future__ import annotations

from collections.abc import Sequence
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
_DENSE_SLOTS_PER_ENTRY = 8  # fewer entries than slots / this: sorting them is cheaper than scanning the slots


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
    ids, first = _distinct(keys)
    return ids, np.stack([key[first].astype(np.int64) for key in keys])


def _distinct(keys: Sequence[Whole]) -> tuple[Ints, Ints]:
    """Group ids (n,) and the first row of each group."""
    widths = [int(key.max()) + 1 for key in keys]
    fits, span = 0, 1
    while fits < len(keys) and span <= _PACK_LIMIT // widths[fits]:
        span *= widths[fits]
        fits += 1
    if fits < len(keys) and len(keys) > 1:
        fits = max(fits, 1)
        return _distinct([_distinct(keys[:fits])[0], _distinct(keys[fits : fits + 1])[0], *keys[fits + 1 :]])
    packed = np.empty(len(keys[0]), np.int64)
    for begin in range(0, len(packed), _BLOCK_ROWS):
        block = packed[begin : begin + _BLOCK_ROWS]
        block[:] = keys[0][begin : begin + _BLOCK_ROWS]
        for key, width in zip(keys[1:], widths[1:], strict=True):
            block *= width
            block += key[begin : begin + _BLOCK_ROWS]
    encoded = pa.array(packed).dictionary_encode()
    ids = encoded.indices.to_numpy().astype(np.int64)
    first = np.empty(len(encoded.dictionary), np.int64)
    first[ids[::-1]] = np.arange(len(ids) - 1, -1, -1)  # the last write is a group's first row
    return ids, first


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
    return Groups(group_keys, summed, tuple(_sum_histograms(ids, h, n_groups) for h in histograms))


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


def _sum_histograms(ids: Ints, rows: Sparse, n_groups: int) -> Sparse:
    slots = n_groups * CELLS
    if slots < min(_MAX_DENSE_SLOTS, _DENSE_SLOTS_PER_ENTRY * len(rows.cells)):
        dense = _scatter_histograms(ids, rows, slots)
        mask = dense != 0
        filled = np.flatnonzero(mask)
        lengths = np.count_nonzero(mask.reshape(n_groups, CELLS), axis=1)
        return _from_addresses(filled, dense[filled], lengths)
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
