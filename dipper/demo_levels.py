"""Service levels of a simulated fleet's customers, and what they came to, in the form of `sla.json`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from contracts.entities import Customer
from contracts.protocols import Store
from contracts.sla import CreditTier, Month, ServiceLevel, zone_of
from contracts.times import MINUTE_MS
from history.objectives import Version, in_force, record, versions
from history.sla_account import account
from history.sla_minutes import known_through

AUTHOR = "simulated-operators"
# A demo lasts an hour or a few, with faults of up to a quarter of an hour: promises that such a time can keep or break.
TARGET = 0.95
CREDITS = (CreditTier(0.95, 0.10), CreditTier(0.90, 0.25), CreditTier(0.75, 0.50))


def promise(store: Store, customers: Iterable[Customer], now: int) -> list[Version]:
    """Promise every customer each of its objectives for TARGET of the minutes, from the month of `now` on."""
    levels = [
        ServiceLevel(
            customer=customer.id,
            name=f"{customer.id}-{objective.service}-{objective.measure}".replace("_", "-")[:64],
            service=objective.service,
            measure=objective.measure,
            minute_target=objective.target,
            target=TARGET,
            timezone=customer.timezone,
            valid_from=Month.at(now, zone_of("timezone", customer.timezone)),
            threshold=objective.threshold,
            credits=CREDITS,
        )
        for customer in customers
        for objective in customer.objectives
    ]
    return record(store, levels, AUTHOR, now)


def sla(store: Store, until: int) -> list[dict[str, Any]]:
    """Every objective of the month that holds the minutes before `until` (ms UTC), as far as history knows them, by
    customer and name. `credits`: share of the fee due surely, `credits_at_most` if every unmeasured minute was bad."""
    through = min(known_through(store), until)
    known = versions(store)
    months = {v.level.timezone: Month.at(until - MINUTE_MS, v.level.zone) for v in known}
    found = [
        _summary(account(store, version, month, through))
        for month in sorted(set(months.values()))
        for version in in_force(known, month)
        if months[version.level.timezone] == month
    ]
    return sorted(found, key=lambda row: (row["customer"], row["objective"]))


def _summary(document: dict[str, Any]) -> dict[str, Any]:
    objective, minutes = document["objective"], document["minutes"]
    return {
        "customer": document["customer"],
        "objective": objective["name"],
        "month": document["month"],
        "service": objective["service"],
        "measure": objective["measure"],
        "minute_target": objective["minute_target"],
        "target": objective["target"],
        **document["attainment"],
        "coverage": document["coverage"],
        **{name: minutes[name] for name in ("good", "bad", "unmeasured", "no_traffic", "excluded")},
        "verdict": document["verdict"],
        "credits": document["credits"]["due"],
        "credits_at_most": document["credits"]["at_most"],
    }
