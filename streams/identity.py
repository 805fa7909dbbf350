"""Which rows of an open window were seen before. Exact: identities are packed, never hashed down."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streams.kernel import Ints, Whole, factorise
from streams.rows import Coded

_ROW_BITS = 11  # contracts.report.MAX_SLICES is 2,000
_SEQ_BITS = 30
_BOOT_BITS = 22


class SeenRows:
    """Identities (device, boot, seq, row) of one minute. About 8 bytes per row and 200 per (device, boot).

    An identity is one int64: a number for (device, boot), seq and row side by side. The few that do not fit, which
    no working agent produces, are kept as tuples in a set.
    """

    def __init__(self) -> None:
        self._boots: dict[tuple[str, str], int] = {}
        self._sorted: list[Ints] = []  # sorted runs, each at least twice as long as the next
        self._wide: set[tuple[int, int, int]] = set()

    def first_seen(self, device: Coded, boot: Coded, seq: Ints, row: Ints) -> npt.NDArray[np.bool_]:
        """(n,) True for rows neither seen in an earlier call nor earlier in this one. Remembers them."""
        numbers = self._numbers(device, boot)
        fits = (numbers < 1 << _BOOT_BITS) & (seq < 1 << _SEQ_BITS) & (row < 1 << _ROW_BITS)
        fresh = np.zeros(len(seq), np.bool_)
        index = np.flatnonzero(fits)
        packed = (numbers[index] << _SEQ_BITS | seq[index]) << _ROW_BITS | row[index]
        fresh[index] = self._packed_first_seen(packed)
        for i in np.flatnonzero(~fits).tolist():
            identity = (int(numbers[i]), int(seq[i]), int(row[i]))
            fresh[i] = identity not in self._wide
            self._wide.add(identity)
        return fresh

    def _numbers(self, device: Coded, boot: Coded) -> Ints:
        ids, pairs = factorise([device.codes, boot.codes])
        known = self._boots
        numbers = [
            known.setdefault((device.values[d], boot.values[b]), len(known))
            for d, b in zip(*pairs.tolist(), strict=True)
        ]
        return np.array(numbers, np.int64)[ids]

    def _packed_first_seen(self, packed: Ints) -> npt.NDArray[np.bool_]:
        fresh = np.zeros(len(packed), np.bool_)
        values, first = np.unique(packed, return_index=True)
        known = np.zeros(len(values), np.bool_)
        for run in self._sorted:
            known |= _contains(run, values)
        fresh[first[~known]] = True
        self._sorted.append(values[~known])
        while len(self._sorted) > 1 and len(self._sorted[-2]) < 2 * len(self._sorted[-1]):
            self._sorted[-2:] = [np.sort(np.concatenate(self._sorted[-2:]))]
        return fresh


def _contains(run: Ints, values: Whole) -> npt.NDArray[np.bool_]:
    if not len(run):
        return np.zeros(len(values), np.bool_)
    at = np.searchsorted(run, values)
    found: npt.NDArray[np.bool_] = run[np.minimum(at, len(run) - 1)] == values
    return found
