"""What a customer is told of a month: every objective in force, its account, what was restated, and its seal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from zoneinfo import ZoneInfo

from contracts.errors import ContractError
from contracts.protocols import Store
from contracts.sla import Month
from contracts.times import DAY_MS, rfc3339
from history.objectives import Version, in_force, versions
from history.sla_account import OPEN, SEALED, Causes, Document, account, no_causes, sealable_from, status_of
from history.sla_minutes import known_through, restated
from history.sla_seal import seal, sealed, state, statements

_SEALED = "SELECT DISTINCT customer, name, month FROM sla_seals"
OLDEST_MS = 400 * DAY_MS  # minutes are kept no longer


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose report: id, name for people, month."""

    customer: str
    name: str
    month: Month


def report(store: Store, asked: Asked, now: int, causes: Causes = no_causes, *, issue: bool = False) -> Document:
    """The report of a customer's month as of `now`: {customer, name, month, timezone, start, end, status, as_of,
    known_through, objectives: [account with status, seal or None, statements, restated]}, worst objective first.

    `issue`: figures of a month that has ended for history are logged as stated, so that a later change shows. Raises
    ContractError for a month that has not begun or for which nothing was promised, SealBroken."""
    known = versions(store, asked.customer)
    held = in_force(known, asked.month)
    if not held:
        raise _nothing_promised(asked, known)
    zone = held[0].level.zone
    start, end = asked.month.span(zone)
    if start > now:
        raise ContractError("bad_month", "month", f"{Month.at(now, zone)} or earlier", str(asked.month))
    through = min(known_through(store), now)
    accounts = [_told(store, version, asked.month, now, through, causes, issue=issue) for version in held]
    accounts.sort(key=_badness)
    states = {a["status"] for a in accounts}
    return {
        "customer": asked.customer,
        "name": asked.name,
        "month": str(asked.month),
        "timezone": zone.key,
        "start": rfc3339(start),
        "end": rfc3339(end),
        "status": states.pop() if len(states) == 1 else next(s for s in ("provisional", OPEN, SEALED) if s in states),
        "as_of": rfc3339(now),
        "known_through": rfc3339(through),
        "sealable_from": rfc3339(sealable_from(end)),
        "objectives": accounts,
    }


def _told(
    store: Store, version: Version, month: Month, now: int, through: int, causes: Causes, *, issue: bool
) -> Document:
    level = version.level
    start, end = month.span(level.zone)
    document = sealed(store, level.customer, level.name, month)
    if document is None:
        document = account(store, version, month, through, causes)
        if issue and through >= end:
            state(store, document, now)
        document["seal"] = None
    times, minutes, last = restated(store, level, start, end)
    return {
        **document,
        "status": SEALED if document["seal"] else status_of({}, end, now),
        "statements": [
            asdict(s) | {"stated_at": rfc3339(s.stated_at)}
            for s in statements(store, level.customer, level.name, month)
        ],
        "restated": {"times": times, "minutes": minutes, "last": None if last is None else rfc3339(last)},
    }


def _badness(document: Document) -> tuple[int, float, str]:
    """Missed before undecided before met; within these, the most of its budget spent first."""
    order = ("missed", "undecided", "met", "no_data")
    budget = document["budget"]
    spent = budget["spent_at_most"] / budget["allowed"] if budget["allowed"] else 0.0
    return order.index(document["verdict"]), -spent, document["objective"]["name"]


def _nothing_promised(asked: Asked, known: Iterable[Version]) -> ContractError:
    months = sorted({str(v.level.valid_from) for v in known if not v.retired})
    expected = f"one for which {asked.customer} has an objective"
    expected += f" (the first is {months[0]})" if months else " (it has none: dipper objectives apply FILE)"
    return ContractError("bad_month", "month", expected, str(asked.month))


def settle(store: Store, now: int, complete_through: int, causes: Causes = no_causes) -> tuple[int, int]:
    """State every month that has ended for history too and is not sealed yet, and seal those that can be: (stated,
    sealed). What cannot be sealed yet is left for the next time; a month of which history still has minutes to come
    would be stated anew as they come, though nothing of it was late."""
    known = versions(store)
    began, through = _began(store), known_through(store)
    changed = closed = 0
    for version, month in _unsealed(store, known, began, now):
        _, end = month.span(version.level.zone)
        if through >= end:
            changed += state(store, account(store, version, month, end, causes), now)
        if now >= sealable_from(end):
            try:
                seal(store, version, month, now, complete_through, causes)
            except ContractError:
                continue
            closed += 1
    return changed, closed


def _unsealed(store: Store, known: list[Version], began: int | None, now: int) -> list[tuple[Version, Month]]:
    if began is None:
        return []
    seals = store.query(_SEALED)
    closed = set(zip(*seals.values(), strict=True))
    found = []
    month = Month.at(max(began - DAY_MS, now - OLDEST_MS), ZoneInfo("UTC"))
    last = Month.at(now + DAY_MS, ZoneInfo("UTC"))
    while month <= last:
        for version in in_force(known, month):
            level = version.level
            _, end = month.span(level.zone)
            if began < end <= now and (level.customer, level.name, str(month)) not in closed:
                found.append((version, month))
        month = month.next()
    return found


def _began(store: Store) -> int | None:
    row = store.query("SELECT count() AS n, min(day) AS first FROM days")
    return int(row["first"][0]) if row["n"][0] else None


def promised_months(store: Store, customer: str, now: int) -> list[Month]:
    """Months up to now for which a customer has an objective, newest first; as far back as minutes are kept."""
    known = versions(store, customer)
    if not known:
        return []
    month = min(v.level.valid_from for v in known)
    month = max(month, Month.at(max(0, now - OLDEST_MS), known[0].level.zone))
    found = []
    while month <= Month.at(now, known[0].level.zone):
        if in_force(known, month):
            found.append(month)
        month = month.next()
    return found[::-1]
