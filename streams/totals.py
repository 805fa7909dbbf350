"""Sums and histograms of groups that grow in place: what a window adds its rows to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streams.kernel import MAX_SUM, Ints, Sparse, Whole, concatenate, offsets_of, sum_histograms, sums

_SPARE = 1.5  # how much larger than needed arrays are made when they grow


class Totals:
    """`n_columns` int64 sums per group, exact, saturated at MAX_SUM."""

    def __init__(self, n_columns: int) -> None:
        self._sums = np.zeros((n_columns, 0), np.int64)
        self._groups = 0
        self._bounds = [0] * n_columns  # no sum of the column is larger

    @property
    def sums(self) -> Ints:
        """(n_columns, n_groups) int64, a view."""
        return self._sums[:, : self._groups]

    def grow(self, n_groups: int) -> None:
        """Make room for groups up to `n_groups`; their sums are 0."""
        if n_groups > self._sums.shape[1]:
            larger = np.zeros((len(self._sums), int(n_groups * _SPARE)), np.int64)
            larger[:, : self._groups] = self.sums
            self._sums = larger
        self._groups = n_groups

    def add(self, ids: Ints, columns: Sequence[Ints]) -> None:
        """Add rows: group ids (n,) and values >= 0, (n,) int64 per column."""
        if not len(ids):
            return
        for i, values in enumerate(columns):
            largest = int(values.max())
            if not largest:
                continue
            self._bounds[i] += largest * len(values)
            if self._bounds[i] <= MAX_SUM:
                np.add.at(self._sums[i], ids, values)
            else:
                held = self._sums[i, : self._groups]
                total = held.view(np.uint64) + sums(ids, values, self._groups).view(np.uint64)  # below 2**64
                held[:] = np.minimum(total, np.uint64(MAX_SUM)).astype(np.int64)


class Histograms:
    """One histogram per group. Entries wait until they are asked for or until `most_rows` rows hold some: summing them
    looks at every cell of every group, so it is done seldom."""

    def __init__(self, most_rows: int) -> None:
        self._most = most_rows
        self._summed = Sparse(offsets_of(np.zeros(0, np.int64)), np.zeros(0, np.uint8), np.zeros(0, np.int64))
        self._ids: list[Ints] = []
        self._rows: list[Sparse] = []
        self._waiting = 0

    def add(self, ids: Ints, rows: Sparse) -> None:
        """Add the histograms of rows with group ids (n,)."""
        if not len(rows.cells):
            return
        self._ids.append(ids)
        self._rows.append(rows)
        self._waiting += len(ids)
        if self._waiting >= self._most:
            self.summed(int(max(part.max() for part in self._ids)) + 1)

    def summed(self, n_groups: int) -> Sparse:
        """Histograms of groups 0..n_groups - 1; none that was added may lie beyond."""
        known = len(self._summed.offsets) - 1
        n_groups = max(n_groups, known)
        if self._ids:
            parts = [self._summed, *self._rows] if len(self._summed.cells) else self._rows
            ids = [np.arange(known), *self._ids] if len(self._summed.cells) else self._ids
            self._summed = sum_histograms(np.concatenate(ids), _joined(parts), n_groups)
            self._ids, self._rows, self._waiting = [], [], 0
        elif known < n_groups:
            lengths: Whole = np.concatenate([np.diff(self._summed.offsets), np.zeros(n_groups - known, np.int64)])
            self._summed = Sparse(offsets_of(lengths), self._summed.cells, self._summed.counts)
        return self._summed


def _joined(parts: Sequence[Sparse]) -> Sparse:
    return parts[0] if len(parts) == 1 else concatenate(parts)
