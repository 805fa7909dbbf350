"""Quantiles of many merged histograms at once, by the meaning of contracts.histogram (nearest rank, bucket middle)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contracts.histogram import CELLS, middle_of

UNIT_MIDDLES = np.array([middle_of(cell, 1.0) for cell in range(CELLS)])


def dense(
    groups: int, group: NDArray[np.int64], cell: NDArray[np.int64], count: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Histograms, shape (groups, CELLS), from flat (group, cell, count) entries of one base; entries may repeat."""
    flat = np.bincount(group * CELLS + cell, count, groups * CELLS)
    return flat.astype(np.int64).reshape(groups, CELLS)


def quantiles(
    histograms: NDArray[np.int64], qs: Sequence[float], base: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Values in the unit of `base` (one, or one per histogram), shape (histograms, len(qs)); NaN where a histogram is
    empty. Nearest rank: the smallest cell with at least ceil(q n) values up to it."""
    seen = np.cumsum(histograms, axis=1)
    total = seen[:, -1]
    result = np.full((len(histograms), len(qs)), np.nan)
    scale = np.broadcast_to(np.asarray(base, np.float64), (len(histograms),))
    for i, q in enumerate(qs):
        rank = np.maximum(1, np.ceil(q * total))
        cell = (seen < rank[:, None]).sum(axis=1)
        some = total > 0
        result[some, i] = UNIT_MIDDLES[cell[some]] * scale[some]
    return result
