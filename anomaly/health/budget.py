"""The removal budget: of every cell at most a set share of its live capacity may be taken out.

A cell is a combination of region, ISP and customer; wider cells (ISP and customer, customer) have a budget too, and are
the only one where a cell has too few boxes. Boxes that are away have no capacity, so where boxes vanished less may be
removed. When more boxes look ill than the budget lets go, the cause is not the boxes. A box that carries more of a cell
than may be removed goes in part.

Live capacity is what a cell is asked for now. Traffic that leaves a removed box goes to its neighbours, so what they
serve must not be added to what it could carry: with r of a cell out, that sum would make r look like r / (1 + r).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomaly.health.errors import BadInput
from anomaly.health.settings import BudgetSettings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Of a cell's capacity: sums in another order differ by less. The first is for each decision, the second for their sum.
_ROUNDING, _ROUNDINGS = 1e-10, 1e-9


@dataclass(frozen=True, slots=True)
class Capacity:
    """What each box can carry in each cell, as entries: `box`, `cell` (m,) int64, `amount` (m,) float64 >= 0 in any
    unit, 0 for boxes that are away. `cells`: number of cells, of all widths. `served` (m,) in the same unit: what each
    box serves of it now, a removed one its share; None where nothing is removed, that is `amount`."""

    box: Ints
    cell: Ints
    amount: Floats
    cells: int
    served: Floats | None = None

    def __post_init__(self) -> None:
        served = self.amount if self.served is None else self.served
        if not len(self.box) == len(self.cell) == len(self.amount) == len(served):
            raise BadInput("capacity", "expected as many boxes, cells and served as amounts")
        for name, values in (("amount", self.amount), ("served", served)):
            wrong = ~(np.isfinite(values) & (values >= 0))
            if wrong.any():
                raise BadInput(name, "expected finite numbers of at least 0", _first(wrong))
        if len(self.cell) and not (self.cell.min() >= 0 and self.cell.max() < self.cells):
            raise BadInput("cell", f"expected 0 to {self.cells - 1}")


@dataclass(frozen=True, slots=True)
class Removal:
    """`granted` (n,): what may be removed of each box, 0 or what was `asked` (n,): what was wanted; of a box too large
    for a budget less. Per cell: `live` capacity, what is served of it now; `boxes` with any, `allowed`, `used` and
    `wanted` capacity; `budgeted`: has a budget of its own; `exhausted`: more is wanted."""

    granted: Floats
    asked: Floats
    live: Floats
    boxes: Ints
    allowed: Floats
    used: Floats
    wanted: Floats
    budgeted: Bools

    @property
    def exhausted(self) -> Bools:
        """(cells,) more boxes look ill than may be removed."""
        return self.budgeted & (self.wanted > self.allowed)


def remove(want: Floats, have: Floats, priority: Floats, capacity: Capacity, settings: BudgetSettings) -> Removal:
    """Who may be removed. `want` (n,) 0..1: share of each box to take out; `have` (n,) 0..1: what is out already;
    `priority` (n,): the highest go first. What is out stays out before anything new goes, so that nothing is swapped
    for the sake of a little. Of a box is granted what it asks for, or else what it has, or nothing; it asks for what is
    wanted, but for no more than the budget of each of its cells, and if it has to ask for less it takes what the others
    leave. One that is in no cell with a budget is never removed.

    For every cell with a budget: used <= share x live, whatever comes in.
    """
    n = len(want)
    for name, values in (("want", want), ("have", have)):
        if not ((values >= 0) & (values <= 1)).all():
            raise BadInput(name, "expected 0 to 1", _first(~((values >= 0) & (values <= 1))))
    box, cell, amount = capacity.box, capacity.cell, capacity.amount
    live = _per_cell(amount if capacity.served is None else capacity.served, capacity)
    boxes = np.bincount(cell[amount > 0], minlength=capacity.cells)
    budgeted = boxes >= settings.least_boxes
    allowed = np.where(budgeted, settings.share * live, np.inf)
    most = _most(allowed, capacity, n, settings.part)
    want = np.minimum(want, most)
    wanted = _per_cell(amount * want[box], capacity)

    counts = (amount > 0) & budgeted[cell]
    rank = np.empty(n, dtype=np.int64)
    rank[np.lexsort((np.arange(n), -priority))] = np.arange(n)
    ordered = np.flatnonzero(counts & (want[box] > 0))
    ordered = ordered[np.lexsort((rank[box[ordered]], cell[ordered]))]
    room = allowed + np.where(budgeted, _ROUNDING * live, 0.0)
    base = np.minimum(want, have)
    kept = _grant(base, base > 0, ordered, room, capacity, settings.rounds)
    granted = np.where(kept, base, 0.0)
    more = _grant(want - granted, (want > base) & (kept | (base == 0)), ordered, room, capacity, settings.rounds)
    granted = np.where(more, want, granted)
    large = np.flatnonzero((granted == 0) & (want > 0) & (most < 1))
    _take_the_rest(granted, large[np.argsort(rank[large])], want, ordered, room, capacity, settings.part)

    used = _per_cell(amount * granted[box], capacity)
    while (over := budgeted & (used > allowed + _ROUNDINGS * live)).any():  # cells of sizes that no sum can hold
        granted[box[over[cell] & (amount > 0)]] = 0.0
        used = _per_cell(amount * granted[box], capacity)
    return Removal(granted, want, live, boxes, allowed, used, wanted, budgeted)


def _most(allowed: Floats, capacity: Capacity, n: int, part: float) -> Floats:
    """Share of each box that fits into the budgets of its cells if nobody else goes, in whole parts, (n,)."""
    most = np.ones(n)
    size = capacity.amount
    ratio = np.divide(allowed[capacity.cell], size, out=np.ones_like(size), where=size > 0)
    large = np.flatnonzero(ratio < 1.0)
    np.minimum.at(most, capacity.box[large], np.floor(ratio[large] / part + _ROUNDINGS) * part)
    return most


def _per_cell(amount: Floats, capacity: Capacity) -> Floats:
    # Without an entry bincount counts in integers.
    return np.bincount(capacity.cell, amount, capacity.cells).astype(np.float64)


def _grant(take: Floats, asks: Bools, ordered: Ints, room: Floats, capacity: Capacity, rounds: int) -> Bools:
    """Mask of the boxes whose `take` fits into every cell of theirs; `room` per cell shrinks by it. `ordered`: entries
    by cell and rank. A round grants what fits behind everything of higher rank, whether that fits or not; the next one
    fills what was left."""
    granted: Bools = np.zeros(len(take), dtype=bool)
    entries = ordered[asks[capacity.box[ordered]]]
    for _ in range(rounds):
        box, cell = capacity.box[entries], capacity.cell[entries]
        amount = capacity.amount[entries] * take[box]
        possible = np.ones(len(take), dtype=bool)
        possible[box[amount > room[cell]]] = False
        left = possible[box]
        entries, amount, cell, box = entries[left], amount[left], cell[left], box[left]
        if not len(entries):
            break
        fits = np.zeros(len(take), dtype=bool)
        fits[box] = True
        fits[box[_running(amount, cell) > room[cell]]] = False
        granted |= fits
        gone = fits[box]
        np.subtract.at(room, cell[gone], amount[gone])
        entries = entries[~gone]
    return granted


def _take_the_rest(
    granted: Floats, large: Ints, want: Floats, ordered: Ints, room: Floats, capacity: Capacity, part: float
) -> None:
    """Grant boxes what is left in their cells, in whole parts, one after the other. `large` are few: five fill a
    cell."""
    entries = ordered[np.isin(capacity.box[ordered], large)]
    for i in large.tolist():
        mine = entries[capacity.box[entries] == i]
        if not len(mine):
            continue
        cell, amount = capacity.cell[mine], capacity.amount[mine]
        fits = np.floor((room[cell] / amount).min() / part + _ROUNDINGS) * part
        granted[i] = max(0.0, min(want[i], fits))
        np.subtract.at(room, cell, amount * granted[i])


def _running(take: Floats, cell: Ints) -> Floats:
    """Cumulative sum within each run of equal cells."""
    if not len(take):
        return take
    total = np.cumsum(take)
    starts = np.flatnonzero(np.diff(cell, prepend=cell[0] - 1))
    before = np.concatenate(([0.0], total))[starts]
    result: Floats = total - np.repeat(before, np.diff(starts, append=len(cell)))
    return result


def _first(wrong: Bools) -> int | None:
    where = np.flatnonzero(wrong)
    return int(where[0]) if len(where) else None
