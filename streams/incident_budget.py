"""The removal budget used up: more boxes look ill somewhere than may be taken out, so the cause is not the boxes.

Pure: states of the budget in, incidents of kind health.budget in the book. Of nested cells the narrowest say where; the
customers of one place are one incident.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from contracts.health import BudgetState, Cell
from contracts.incidents import HEALTH_BUDGET, Incident, Sentence, Severity
from contracts.times import MINUTE_MS
from streams.incident_book import IncidentBook
from streams.incident_settings import IncidentSettings
from streams.incident_severity import level_of

_SURE_MS = MINUTE_MS  # used up for so long: one minute may be chance
_ILL_RATIO = 0.08  # a box is drained from about so many failures of its requests on (anomaly.health.BadnessSettings)
_CUSTOMER = "customer"

Place = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Spot:
    """A place whose budget is used up: the fullest of its cells and the customers it concerns."""

    cell: Cell
    customers: set[str] = field(default_factory=set)


class BudgetWatch:
    """Works on the book's incidents of kind health.budget. States may come twice or late; time only goes on."""

    def __init__(self, book: IncidentBook, settings: IncidentSettings) -> None:
        self._book = book
        self._settings = settings
        self._since: dict[Place, int] = {}
        # What the book knows already is not told twice after a restart.
        told = [i.newest for i in book.active(HEALTH_BUDGET)]
        told += [i.resolved_at or 0 for i in book.resolved_since(0, HEALTH_BUDGET)]
        self._newest = max(told, default=0)

    def take(self, state: BudgetState) -> None:
        """A state of the budget."""
        if state.computed_at <= self._newest:
            return
        self._newest = now = state.computed_at
        spots = exhausted_places(state.cells)
        self._since = {place: self._since.get(place, now) for place in spots}
        for place, spot in spots.items():
            incident = self._of(place)
            if incident is not None:
                self._go_on(incident, spot, state, now)
            elif now - self._since[place] >= _SURE_MS:
                self._open(place, spot, state, now)

    def tick(self, now: int) -> None:
        """Time has come to `now`. An incident ends when its budget has not been used up for a while; without states
        nothing is known, and nothing ends."""
        for incident in self._book.active(HEALTH_BUDGET):
            if min(now, self._newest) - incident.newest >= self._settings.end_after_ms:
                self._book.end(incident.id, now, "the budget suffices again")

    def _of(self, place: Place) -> Incident | None:
        return next((i for i in self._book.active(HEALTH_BUDGET) if _place(i.where) == place), None)

    def _go_on(self, incident: Incident, spot: _Spot, state: BudgetState, now: int) -> None:
        self._book.change(
            incident.id,
            newest=now,
            customers=tuple(sorted({*incident.customers, *spot.customers})),
            headline=_said(dict(incident.where), spot.cell, incident.onset),
            severity=self._severity(spot.cell, state),
        )

    def _open(self, place: Place, spot: _Spot, state: BudgetState, now: int) -> None:
        for old in self._book.resolved_since(now - self._settings.return_within_ms, HEALTH_BUDGET):
            if _place(old.where) == place and not old.closed_by_people:
                self._go_on(self._book.come_back(old.id, now, "used up again"), spot, state, now)
                return
        where, onset = dict(place), self._since[place] - MINUTE_MS  # of which its evidence is
        self._book.open(
            HEALTH_BUDGET, now, onset, _said(where, spot.cell, onset), self._severity(spot.cell, state),
            where=where, customers=tuple(sorted(spot.customers)), newest=now,
        )  # fmt: skip

    def _severity(self, cell: Cell, state: BudgetState) -> Severity:
        """By the traffic of boxes that look ill and serve on, taking boxes for equally large."""
        share = cell.boxes / max(1, state.boxes)
        level = level_of(_ILL_RATIO * share * max(0.0, cell.wanted - cell.used), self._settings.levels)
        return Severity(level=level, traffic_share=share)


def exhausted_places(cells: Iterable[Cell]) -> dict[Place, _Spot]:
    """Where the budget is used up. A wide cell counts only if no narrower one of it says where."""
    found = [cell for cell in cells if cell.exhausted]
    spots: dict[Place, _Spot] = {}
    for cell in found:
        if any(_within(other.where, cell.where) for other in found):
            continue
        spot = spots.setdefault(_place(cell.where), _Spot(cell))
        if cell.wanted > spot.cell.wanted:
            spot.cell = cell
        if _CUSTOMER in cell.where:
            spot.customers.add(cell.where[_CUSTOMER])
    return spots


def _within(inner: Mapping[str, str], outer: Mapping[str, str]) -> bool:
    """Whether a cell is a narrower one of another."""
    return len(inner) > len(outer) and all(inner.get(name) == value for name, value in outer.items())


def _place(where: Mapping[str, str]) -> Place:
    return tuple(sorted((name, value) for name, value in where.items() if name != _CUSTOMER))


def _said(where: Mapping[str, str], cell: Cell, onset: int) -> Sentence:
    return Sentence(HEALTH_BUDGET, {"where": where, "used": cell.used, "allowed": cell.allowed, "since": onset})
