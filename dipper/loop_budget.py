"""The removal budget by what boxes usually serve, which the simulator knows and the health job has to measure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from contracts.entities import DeviceAttributes
from simulator.placement import Placement

Floats = npt.NDArray[np.float64]

# A fifth may go. The job measures by counted traffic of the last minutes, here it is the mean of a day: 5% more.
BREACHED_ABOVE = 0.21


class UsualCells:
    """Cells of the boxes' region and ISP and a customer, and the wider ones that leave out the first, the first two,
    all; of them those of at least `least_boxes`. `boxes`: attributes in the order of the placement's codes. Their
    capacity is requests a minute, mean of a day."""

    def __init__(self, boxes: Sequence[DeviceAttributes], rows: Placement, least_boxes: int) -> None:
        place = [np.unique(names, return_inverse=True)[1][rows.device] for names in (
            [b.device_region for b in boxes], [b.device_isp for b in boxes]
        )]  # fmt: skip
        columns = np.stack([*place, rows.customer])
        found, amounts, first = [], [], 0
        for width in range(len(columns) + 1):
            own = columns.copy()
            own[:width] = -1  # narrower dimensions come first
            cell = np.unique(own, axis=1, return_inverse=True)[1].reshape(-1)
            pairs, of_row = np.unique(np.stack([cell, rows.device]), axis=1, return_inverse=True)
            budgeted = np.bincount(pairs[0]) >= least_boxes
            kept = budgeted[pairs[0]]
            pairs[0] = first - 1 + np.cumsum(budgeted)[pairs[0]]
            found.append(pairs[:, kept])
            amounts.append(np.bincount(of_row.reshape(-1), rows.weight)[kept])
            first += int(budgeted.sum())
        self._cell, self._box = np.concatenate(found, axis=1)
        self._amount = np.concatenate(amounts)
        self._total = np.bincount(self._cell, self._amount, first)

    def out(self, share: Floats) -> Floats:
        """Part of the usual traffic of each cell that is out, (cells,), when boxes get `share` (n,) 0..1 of theirs."""
        gone = np.bincount(self._cell, self._amount * (1 - share[self._box]), len(self._total))
        result: Floats = gone / self._total
        return result
