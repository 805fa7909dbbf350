"""All that a customer may see, and the one place where it is scoped: nothing here takes a customer as an argument."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts.errors import ContractError
from contracts.incidents import QUALITY, Incident
from contracts.protocols import Store
from contracts.sla import Month
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, rfc3339
from history.objectives import in_force, versions
from history.query_customers import customer_series, services
from history.query_incidents import incidents_of
from history.sla_account import Document
from history.sla_causes import IncidentCauses, told
from history.sla_report import Asked, promised_months, report

STEPS_MS = {"1m": MINUTE_MS, "5m": 5 * MINUTE_MS, "1h": HOUR_MS, "1d": DAY_MS}
MOST_STEPS = 1_500
MOST_INCIDENTS = 500
COUNTS = ("requests", "s2xx", "s3xx", "s4xx", "s5xx", "bytes", "sessions", "stalled_sessions")


class Tenant:
    """What one customer may see of history. `name`: the customer's name for people."""

    def __init__(self, store: Store, customer: str, name: str = "") -> None:
        self._store = store
        self.customer = customer
        self.name = name or customer

    def quality(self, start: int, end: int, step: str, service: str | None = None) -> Document:
        """Counts, failures, coverage and latency in steps of STEPS_MS over [start, end) ms UTC. Raises ContractError
        for more than MOST_STEPS steps."""
        step_ms = STEPS_MS[step]
        start -= start % step_ms
        if not 0 < -(-(end - start) // step_ms) <= MOST_STEPS:
            expected = f"an end after the start, at most {MOST_STEPS} steps of {step}"
            raise ContractError("bad_span", "end", expected, f"{rfc3339(start)} to {rfc3339(end)}")
        series = customer_series(self._store, self.customer, service, start, end, step_ms)
        rows = []
        for i, at in enumerate(series.start):
            requests, unmeasured = series.requests[i], series.unmeasured[i]
            expected_requests = requests + unmeasured
            rows.append(
                {
                    "start": rfc3339(at),
                    **{name: series.counts[name][i] for name in COUNTS},
                    "failures": series.failures[i],
                    "coverage": round(requests / expected_requests, 9) if expected_requests > 0 else None,
                    **{f"latency_{q}_ms": values[i] for q, values in series.latency_ms.items()},
                    "provisional": series.provisional[i],
                }
            )
        return {"customer": self.customer, "service": service, "step": step, "steps": rows}

    def services(self) -> tuple[str, ...]:
        """Services with traffic."""
        return services(self._store, self.customer)

    def months(self, now: int) -> list[Month]:
        """Months with a service level, newest first."""
        return promised_months(self._store, self.customer, now)

    def report(self, month: Month, now: int) -> Document:
        """The report of a month. Raises ContractError."""
        asked = Asked(self.customer, self.name, month)
        return report(self._store, asked, now, IncidentCauses(self._store))

    def current_month(self, now: int) -> Month | None:
        """The month of `now` in the zone of the customer's objectives."""
        known = versions(self._store, self.customer)
        held = in_force(known, Month.at(now, known[-1].level.zone)) if known else []
        return Month.at(now, held[0].level.zone) if held else None

    def incidents(self, start: int, end: int) -> Document:
        """Incidents that touched the customer in [start, end), the newest detected first. `truncated`: there are more
        than MOST_INCIDENTS; what was detected before `oldest` is left out then."""
        found = incidents_of(self._store, self.customer, start, end, limit=MOST_INCIDENTS + 1)
        listed = found[:MOST_INCIDENTS]
        truncated = len(found) > len(listed)
        return {
            "customer": self.customer,
            "incidents": [seen_by(i, self.customer) for i in listed],
            "truncated": truncated,
            "oldest": rfc3339(listed[-1].detected_at) if truncated else None,
        }


def seen_by(incident: Incident, customer: str) -> Mapping[str, Any]:
    """An incident as one customer may see it, whoever else it hit: what the read API and webhooks say."""
    own = [s for s in incident.series if s.customer == customer]
    return {
        "id": incident.id,
        "kind": incident.kind,
        "state": incident.state,
        "onset": rfc3339(incident.onset),
        "detected_at": rfc3339(incident.detected_at),
        "newest": rfc3339(incident.newest),
        "resolved_at": None if incident.resolved_at is None else rfc3339(incident.resolved_at),
        "headline": {"key": incident.headline.key, "params": told(incident, customer)},
        "verdict": incident.verdict,
        "series": [
            {
                "service": s.service,
                "measure": s.measure,
                "onset": rfc3339(s.onset),
                "bad": s.bad,
                "total": s.total,
                "expected": s.expected,
            }
            for s in own
        ]
        if incident.kind == QUALITY
        else [],
    }
