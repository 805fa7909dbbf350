"""The last minutes of the cube as numbers, for the localiser: which cells there were, bad and total of each measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.columns import CELL_DIMENSIONS
from contracts.entities import MEASURES
from contracts.times import MINUTE_MS
from streams.detect_measures import Ints, Promises, codes_of, measures_of

Mask = npt.NDArray[np.bool_]
Where = Mapping[str, str]


@dataclass(slots=True)
class _Minute:
    """Rows as they came: leaf of each, revision, (measures, rows) bad and total."""

    leaves: list[Ints] = field(default_factory=list)
    revisions: list[Ints] = field(default_factory=list)
    bad: list[Ints] = field(default_factory=list)
    total: list[Ints] = field(default_factory=list)

    def settle(self) -> None:
        """One row per leaf: that of the highest revision, the later one of equals."""
        if len(self.leaves) > 1:
            leaves, revisions = np.concatenate(self.leaves), np.concatenate(self.revisions)
            bad, total = np.concatenate(self.bad, axis=1), np.concatenate(self.total, axis=1)
            order = np.lexsort((np.arange(len(leaves)), revisions, leaves))
            last = np.append(leaves[order][1:] != leaves[order][:-1], True)
            keep = order[last]
            self.leaves, self.revisions = [leaves[keep]], [revisions[keep]]
            self.bad, self.total = [bad[:, keep]], [total[:, keep]]


@dataclass(frozen=True, slots=True)
class Table:
    """Cells over groups of minutes. codes: (n, dimensions) of CELL_DIMENSIONS; bad, total: (measures, n, groups)."""

    codes: Ints
    bad: Ints
    total: Ints
    names: tuple[tuple[str, ...], ...]

    def mask(self, where: Where) -> Mask:
        """(n,) cells of a combination; none for a value that never occurred."""
        mask = np.ones(len(self.codes), np.bool_)
        for dimension, value in where.items():
            d = CELL_DIMENSIONS.index(dimension)
            mask &= self.codes[:, d] == self.code(d, value)
        return mask

    def code(self, dimension: int, value: str) -> int:
        """Of a value; -1 for one that never occurred."""
        try:
            return self.names[dimension].index(value)
        except ValueError:
            return -1

    def where(self, combination: Sequence[tuple[int, int]]) -> dict[str, str]:
        """A combination of codes in words."""
        return {CELL_DIMENSIONS[d]: self.names[d][code] for d, code in combination}

    def take(self, mask: Mask) -> Table:
        """Some of the cells."""
        return Table(self.codes[mask], self.bad[:, mask], self.total[:, mask], self.names)


class CellMemory:
    """Cells of the newest `minutes` minutes. Rows of older ones are not taken."""

    def __init__(self, minutes: int) -> None:
        self._keep_ms = minutes * MINUTE_MS
        self._values: list[dict[str, int]] = [{} for _ in CELL_DIMENSIONS]
        self._leaf: dict[bytes, int] = {}
        self._codes: list[Ints] = []
        self._minutes: dict[int, _Minute] = {}
        self._newest = 0

    def add(self, rows: Any, promises: Promises) -> None:
        """A RecordBatch of quality_cube; a later revision of a cell replaces an earlier one."""
        counted = measures_of(rows, promises)
        leaves = self._leaves(np.stack([self._intern(rows, d) for d in range(len(CELL_DIMENSIONS))], axis=1))
        minute = rows.column("minute").to_numpy()
        revision = rows.column("revision").to_numpy()
        for start in np.unique(minute).tolist():
            self._newest = max(self._newest, start)
            if start > self._newest - self._keep_ms:
                mine = minute == start
                held = self._minutes.setdefault(start, _Minute())
                held.leaves.append(leaves[mine])
                held.revisions.append(revision[mine])
                held.bad.append(counted.bad[:, mine])
                held.total.append(counted.total[:, mine])
        self._forget()

    def drop(self, minute: int) -> None:
        """Forget a minute that cannot be trusted."""
        self._minutes.pop(minute, None)

    @property
    def minutes(self) -> list[int]:
        """Which are held, ascending."""
        return sorted(self._minutes)

    def table(self, groups: Sequence[Sequence[int]]) -> Table:
        """Cells that occur in some of the minutes, with sums per group of minutes."""
        leaf, group, bad, total = [], [], [], []
        for g, minutes in enumerate(groups):
            for start in minutes:
                held = self._minutes.get(start)
                if held is not None:
                    held.settle()
                    leaf.append(held.leaves[0])
                    group.append(np.full(len(held.leaves[0]), g))
                    bad.append(held.bad[0])
                    total.append(held.total[0])
        names = tuple(tuple(values) for values in self._values)
        if not leaf:
            empty = np.zeros((len(MEASURES), 0, len(groups)), np.int64)
            return Table(np.zeros((0, len(CELL_DIMENSIONS)), np.int64), empty, empty, names)
        present, place = np.unique(np.concatenate(leaf), return_inverse=True)
        slot = place * len(groups) + np.concatenate(group)
        shape = (len(present), len(groups))
        sums = [
            np.stack(
                [np.bincount(slot, row, shape[0] * shape[1]).reshape(shape) for row in np.concatenate(rows, axis=1)]
            )
            for rows in (bad, total)
        ]
        codes = np.stack([self._codes[i] for i in present.tolist()])
        return Table(codes, sums[0].astype(np.int64), sums[1].astype(np.int64), names)

    def _intern(self, rows: Any, dimension: int) -> Ints:
        codes, texts = codes_of(rows, CELL_DIMENSIONS[dimension])
        known = self._values[dimension]
        return np.array([known.setdefault(text, len(known)) for text in texts], np.int64)[codes]

    def _leaves(self, codes: Ints) -> Ints:
        found = []
        for row in codes.astype(np.int32):
            key = row.tobytes()
            leaf = self._leaf.get(key)
            if leaf is None:
                leaf = self._leaf[key] = len(self._codes)
                self._codes.append(row.astype(np.int64))
            found.append(leaf)
        return np.array(found, np.int64)

    def _forget(self) -> None:
        for start in [m for m in self._minutes if m <= self._newest - self._keep_ms]:
            del self._minutes[start]
        live = sum(len(part) for held in self._minutes.values() for part in held.leaves)
        if len(self._codes) > 100_000 and len(self._codes) > 2 * live:
            self._compact()

    def _compact(self) -> None:
        """Give up leaves that no minute holds any more."""
        used = np.unique(np.concatenate([part for held in self._minutes.values() for part in held.leaves]))
        number = {old: new for new, old in enumerate(used.tolist())}
        for held in self._minutes.values():
            held.leaves = [np.array([number[i] for i in part.tolist()], np.int64) for part in held.leaves]
        self._codes = [self._codes[i] for i in used.tolist()]
        self._leaf = {codes.astype(np.int32).tobytes(): i for i, codes in enumerate(self._codes)}
