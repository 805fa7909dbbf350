"""Which incidents explain a customer's lost minutes: told without anything of another customer, or of single boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from contracts.incidents import HEALTH_BUDGET, QUALITY, SELF_LAG, SELF_TEST, SILENCE_REGION, Incident
from contracts.protocols import Store
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from history.query_incidents import incidents_of
from history.sla_account import Cause

LOOK_MS = 7 * DAY_MS  # incidents are read by the week
DETECTED_WITHIN_MS = 6 * HOUR_MS  # an incident may be found after the minutes it explains
MOST = 5_000  # incidents of a customer's week
_NAMELESS = (SILENCE_REGION, SELF_LAG)  # large enough to concern everybody when nobody could tell whom they hit
_PRIVATE = ("device", "since", "causes")  # parameters that say nothing to a customer


class IncidentCauses:
    """history.sla_account.Causes from the incidents of a store. For one report: what was read is kept."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._weeks: dict[tuple[str, int], tuple[Incident, ...]] = {}

    def __call__(
        self, customer: str, service: str, measure: str, start: int, end: int, unmeasured: int
    ) -> Sequence[Cause]:
        """Incidents that explain lost minutes of a customer in [start, end), `unmeasured` of them unmeasured: of
        quality, those of the service and measure; of silence and of our own lag, where minutes were unmeasured, those
        that name the customer, and a dark region or a lag that names nobody. Those of quality first, then the longest
        overlap."""
        found: dict[str, tuple[int, Incident]] = {}
        for week in range(start // LOOK_MS, (end - 1) // LOOK_MS + 1):
            for incident in self._of_week(customer, week):
                overlap = min(end, incident.newest + MINUTE_MS) - max(start, incident.onset)
                if overlap > 0 and _explains(incident, customer, service, measure, unmeasured):
                    found[incident.id] = overlap, incident
        ordered = sorted(found.values(), key=lambda f: (f[1].kind != QUALITY, -f[0], f[1].id))
        return [_cause(incident, customer) for _, incident in ordered]

    def _of_week(self, customer: str, week: int) -> tuple[Incident, ...]:
        key = customer, week
        if key not in self._weeks:
            start, end = week * LOOK_MS, (week + 1) * LOOK_MS + DETECTED_WITHIN_MS
            self._weeks[key] = incidents_of(self._store, customer, start, end, nameless=_NAMELESS, limit=MOST)
        return self._weeks[key]


def _explains(incident: Incident, customer: str, service: str, measure: str, unmeasured: int) -> bool:
    if incident.kind == QUALITY:
        series = {(s.customer, s.service, s.measure) for s in incident.series}
        return (customer, service, measure) in series if series else customer in incident.customers
    if incident.kind == SELF_TEST:
        return False
    if incident.kind != HEALTH_BUDGET and not unmeasured:
        return False  # silence and lag hide minutes, they do not make them bad
    return customer in incident.customers or (not incident.customers and incident.kind in _NAMELESS)


def told(incident: Incident, customer: str) -> dict[str, Any]:
    """Parameters of an incident's sentence as one customer may hear them: without other customers and single boxes."""
    params: dict[str, Any] = {}
    for name, value in incident.headline.params.items():
        if name == "customers":
            params[name] = [customer]
        elif isinstance(value, Mapping):
            others = value.get("customer", customer) != customer
            params[name] = {} if others else {d: v for d, v in value.items() if d not in ("customer", "device")}
        elif name not in _PRIVATE:
            params[name] = list(value) if isinstance(value, tuple) else value
    return params


def _cause(incident: Incident, customer: str) -> Cause:
    end = incident.newest + MINUTE_MS if incident.resolved_at is not None else None
    return Cause(incident.id, incident.onset, end, incident.headline.key, told(incident, customer))
