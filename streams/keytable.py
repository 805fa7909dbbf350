"""Numbers for combinations of codes that stay the same as combinations are added: what lets sums grow in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.kernel import Ints, Whole, distinct, pack, spans


class KeyTable:
    """Distinct combinations of `n_keys` codes, numbered 0.. by first occurrence. `keys` (n_keys, n) int64."""

    def __init__(self, n_keys: int) -> None:
        self.keys: Ints = np.zeros((n_keys, 0), np.int64)

    def __len__(self) -> int:
        return int(self.keys.shape[1])

    def number(self, columns: Sequence[Whole]) -> tuple[Ints, Ints]:
        """Numbers (n,) of rows, and of each combination that is new the first row that has it, in order of numbers.

        `columns`: `n_keys` (n,) arrays of integer codes >= 0.
        """
        if not len(columns[0]):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        known = len(self)
        ids, first = self._look_up(columns) if known else distinct(columns)
        if len(first):
            new = np.stack([column[first].astype(np.int64, copy=False) for column in columns])
            self.keys = np.concatenate([self.keys, new], axis=1) if known else new
        return ids, first

    def _look_up(self, columns: Sequence[Whole]) -> tuple[Ints, Ints]:
        known = len(self)
        widths = [max(a, b) for a, b in zip(spans(columns), spans(self.keys), strict=True)]
        packed = pack(columns, widths)
        if packed is None:  # too wide for one integer
            joined = [np.concatenate([old, column]) for old, column in zip(self.keys, columns, strict=True)]
            ids, first = distinct(joined)
            return ids[known:], first[known:] - known
        held = pack(list(self.keys), widths)
        found = pc.index_in(pa.array(packed), pa.array(held))
        missing = found.null_count
        ids = pc.fill_null(found, -1).to_numpy().astype(np.int64)
        if not missing:
            return ids, np.zeros(0, np.int64)
        rows = np.flatnonzero(ids < 0)
        fresh, first = distinct([packed[rows]])
        ids[rows] = fresh + known
        return ids, rows[first]
