"""Which rows of an open window were seen before. Exact: identities are packed, never hashed down.

Rows of a report arrive side by side, so a stretch of them is looked up at once: its rows are bits of one integer, and
only where the bits of stretches meet are rows compared one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from streams.kernel import Ints
from streams.keytable import KeyTable

STRETCH_BITS = 6  # rows of a stretch share row >> STRETCH_BITS

Bits = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


class SeenRows:
    """Identities (device, boot, seq, row) of one minute. About 50 bytes per report and 64 rows of it."""

    def __init__(self) -> None:
        self._stretches = KeyTable(4)  # device, boot, seq, row >> STRETCH_BITS
        self._seen: Bits = np.zeros(0, np.uint64)

    def first_seen(self, reports: Sequence[Ints], starts: Ints, row: Ints) -> Mask:
        """(n,) True for rows neither seen in an earlier call nor earlier in this one. Remembers them.

        `row` (n,) numbers of rows in their reports, >= 0. `starts` (m,) first rows of stretches that neither a change
        of report nor of row >> STRETCH_BITS interrupts. `reports`: per stretch the codes of device and boot and the
        seq, three (m,) arrays >= 0.
        """
        if not len(row):
            return np.zeros(0, np.bool_)
        lengths = np.diff(starts, append=len(row))
        ids, new = self._stretches.number([*reports, row[starts] >> STRETCH_BITS])
        seen = np.concatenate([self._seen, np.zeros(len(new), np.uint64)])
        bits = np.uint64(1) << (row & (1 << STRETCH_BITS) - 1).astype(np.uint64)
        came = np.zeros(len(seen), np.uint64)
        np.bitwise_or.at(came, ids, np.bitwise_or.reduceat(bits, starts))
        rows = np.zeros(len(seen), np.int64)
        np.add.at(rows, ids, lengths)
        self._seen = seen | came
        plain = (np.bitwise_count(came) == rows) & (came & seen == 0)
        if plain.all():
            return np.ones(len(row), np.bool_)
        return _one_by_one(np.repeat(ids, lengths), bits, plain, seen)


def _one_by_one(stretch: Ints, bits: Bits, plain: Mask, seen: Bits) -> Mask:
    """(n,) first occurrences. `stretch` (n,) indexes `plain` and `seen`, what was seen before this call."""
    fresh: Mask = plain[stretch]
    doubtful = np.flatnonzero(~fresh)
    stretch, bits = stretch[doubtful], bits[doubtful]
    place = np.bitwise_count(bits - np.uint64(1)).astype(np.int64)
    first = np.unique((stretch << STRETCH_BITS) + place, return_index=True)[1]
    new = np.zeros(len(doubtful), np.bool_)
    new[first] = seen[stretch[first]] & bits[first] == 0
    fresh[doubtful] = new
    return fresh
