"""What was stated of a month, each restatement, and the seal that ends them.

A month can be sealed once no gateway takes its data any more (48 h after its end), once history holds everything that
was received until then, and once every minute of it is recomputed. The sealed account is kept whole with its hash. It
is added once; nothing here changes or removes it, and it is read back only when text and hash agree.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from contracts.errors import ContractError
from contracts.protocols import Store, StoreError
from contracts.sla import Month
from contracts.times import HOUR_MS, rfc3339
from history.objectives import Version
from history.sla_account import Causes, Document, account, canonical, digest, no_causes, sealable_from

_SEAL = """SELECT sealed_at, sha256, document FROM sla_seals FINAL
WHERE customer = {customer:String} AND name = {name:String} AND month = {month:String}
ORDER BY sealed_at, sha256 LIMIT 1"""
_STATEMENTS = """SELECT stated_at, good, bad, unmeasured, no_traffic, excluded, lower, upper, coverage, sha256
FROM sla_statements FINAL
WHERE customer = {customer:String} AND name = {name:String} AND month = {month:String} ORDER BY stated_at, sha256"""
_DIRTY = """SELECT count() AS n FROM dirty_minutes FINAL
WHERE dirty = 1 AND minute >= {start:Int64} AND minute < {end:Int64}"""


class SealBroken(StoreError):
    """A sealed account is not what was sealed: its text and its hash disagree."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What was stated of a month at a time, ms UTC. Minutes, and the figures made of them."""

    stated_at: int
    good: int
    bad: int
    unmeasured: int
    no_traffic: int
    excluded: int
    lower: float | None
    upper: float | None
    coverage: float | None


def statements(store: Store, customer: str, name: str, month: Month) -> list[Statement]:
    """Every statement of a month that had ended, oldest first; each differs from the one before."""
    rows = store.query(_STATEMENTS, _key(customer, name, month))
    return [Statement(*row[:-1]) for row in zip(*rows.values(), strict=True)]


def state(store: Store, document: Document, now: int) -> bool:
    """Log what a month's account says, if it differs from what was stated last; returns whether it did."""
    key = document["customer"], document["objective"]["name"], Month.parse(document["month"])
    minutes, attainment = document["minutes"], document["attainment"]
    names = ("good", "bad", "unmeasured", "no_traffic", "excluded")
    figures = {**{n: minutes[n] for n in names}, **attainment, "coverage": document["coverage"]}
    sha256 = digest(canonical(figures))
    told = store.query(_STATEMENTS, _key(*key))["sha256"]
    if told and told[-1] == sha256:
        return False
    row: dict[str, Any] = {
        "customer": [key[0]],
        "name": [key[1]],
        "month": [str(key[2])],
        "stated_at": [now],
        **{n: [minutes[n]] for n in names},
        **{n: pa.array([figures[n]], pa.float64()) for n in ("lower", "upper", "coverage")},
        "sha256": [sha256],
    }
    store.insert("sla_statements", pa.table(row))
    return True


def sealed(store: Store, customer: str, name: str, month: Month) -> Document | None:
    """The sealed account of a month with its `seal` {sha256, sealed_at}, None while there is none. Raises SealBroken
    when it is not the text that was sealed."""
    rows = store.query(_SEAL, _key(customer, name, month))
    if not rows["sha256"]:
        return None
    text, sha256 = rows["document"][0], rows["sha256"][0]
    if digest(text) != sha256:
        raise SealBroken(
            f"sla: {customer} {name} {month}: expected the account sealed as {sha256}, got one of {digest(text)}"
        )
    document: Document = json.loads(text)
    document["seal"] = {"sha256": sha256, "sealed_at": rfc3339(rows["sealed_at"][0])}
    return document


def verify(document: Document) -> bool:
    """Whether an account with its `seal`, as it was handed out, is the one that was sealed."""
    plain = {
        name: value for name, value in document.items() if name not in ("seal", "status", "statements", "restated")
    }
    return bool(digest(canonical(plain)) == document["seal"]["sha256"])


def seal(
    store: Store, version: Version, month: Month, now: int, complete_through: int, causes: Causes = no_causes
) -> Document:
    """Seal a month, or read back its seal. `complete_through`: history holds all that was received before, ms UTC.
    Raises ContractError `not_sealable` that says what is missing, SealBroken."""
    level = version.level
    found = sealed(store, level.customer, level.name, month)
    if found is not None:
        return found
    start, end = month.span(level.zone)
    due = sealable_from(end)
    if now < due:
        raise _refusal(month, f"one that ended 48 h ago; it can be sealed from {rfc3339(due)} on")
    if complete_through < due:
        expected = f"all that was received before {rfc3339(due)} to be in history"
        raise _refusal(month, f"{expected}; it holds what was received before {rfc3339(complete_through)}")
    waiting = store.query(_DIRTY, {"start": start - HOUR_MS, "end": end})["n"][0]
    if waiting:
        raise _refusal(month, f"all its minutes to be recomputed; {waiting} are waiting")
    document = account(store, version, month, end, causes)
    state(store, document, now)
    text = canonical(document)
    row = {
        "customer": [level.customer],
        "name": [level.name],
        "month": [str(month)],
        "sealed_at": [now],
        "sha256": [digest(text)],
        "document": [text],
    }
    store.insert("sla_seals", pa.table(row))
    found = sealed(store, level.customer, level.name, month)
    assert found is not None, "what was inserted is read back"
    return found


def _key(customer: str, name: str, month: Month) -> dict[str, Any]:
    return {"customer": customer, "name": name, "month": str(month)}


def _refusal(month: Month, expected: str) -> ContractError:
    return ContractError("not_sealable", "month", expected, str(month))
