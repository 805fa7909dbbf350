"""Erasing a departed customer from history, with a record of it.

Only who has left can be erased: as long as slices of theirs are kept (retention, 8 days), the ledger and recomputed
minutes need them, and the log may hold them too. Sums over several customers hold no names and stay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from contracts.auth import check_id
from contracts.errors import ContractError
from contracts.protocols import Store
from contracts.times import rfc3339

OF = {
    "customer": (
        "minutes", "hours", "days", "coverage_minutes", "restatements", "stream_minutes", "cell_minutes", "cell_hours",
        "cell_days", "device_minutes", "exemplars", "signals", "objective_versions", "sla_statements", "sla_seals",
        "imported_minutes",
    ),
}  # fmt: skip
"""Tables by kind; each names whom a row is of in the column of the kind's name."""
MAX_REASON_CHARS = 500
# ruff: noqa: S608 - tables and columns are this module's own; values are parameters.
_OWN_INCIDENTS = """SELECT id FROM incidents FINAL
WHERE JSONExtract(document, 'customers', 'Array(String)') = [{id:String}]"""


@dataclass(frozen=True, slots=True)
class Erasure:
    """The record of an erasure. `rows`: how many went, by table."""

    erased_at: int
    kind: str
    id: str
    author: str
    reason: str
    rows: dict[str, int]


def erase(store: Store, kind: str, identity: str, author: str, reason: str, now: int) -> Erasure:
    """Erase a customer. A repeat, also after a crash half-way, erases the rest and records that. Raises
    ContractError while slices of theirs are kept, or without a reason."""
    if kind not in OF:
        raise ContractError("bad_erasure", "kind", f"one of {', '.join(OF)}", kind)
    check_id(kind, identity)
    if not 1 <= len(reason.strip()) <= MAX_REASON_CHARS or not reason.isprintable():
        raise ContractError("bad_erasure", "reason", f"1 to {MAX_REASON_CHARS} printable characters", reason)
    asked = {"id": identity}
    left = store.query(f"SELECT count() AS n, max(minute) AS newest FROM slices WHERE {kind} = {{id:String}}", asked)
    if left["n"][0]:
        expected = f"a {kind} whose slices are gone (8 days after the last, by retention.slices)"
        raise ContractError("bad_erasure", kind, f"{expected}; the newest is of {rfc3339(left['newest'][0])}", identity)
    rows = {table: _erased(store, table, f"{kind} = {{id:String}}", asked) for table in OF[kind]}
    own = store.query(_OWN_INCIDENTS, asked)["id"]
    for table, column in (("incidents", "id"), ("incident_actions", "incident")) if own else ():
        rows[table] = _erased(store, table, f"{column} IN {{ids:Array(String)}}", {"ids": own})
    done = Erasure(now, kind, identity, author, reason, {table: n for table, n in rows.items() if n})
    record = {
        "erased_at": pa.array([now], pa.int64()),
        "kind": [kind],
        "id": [identity],
        "author": [author],
        "reason": [reason],
        "erased_rows": [json.dumps(done.rows)],
    }
    store.insert("erasures", pa.table(record))
    return done


def erasures(store: Store) -> list[Erasure]:
    """Every record, oldest first."""
    names = "erased_at, kind, id, author, reason, erased_rows"
    rows = store.query(f"SELECT {names} FROM erasures FINAL ORDER BY erased_at, kind, id")
    return [
        Erasure(at, kind, identity, author, reason, json.loads(erased))
        for at, kind, identity, author, reason, erased in zip(*rows.values(), strict=True)
    ]


def _erased(store: Store, table: str, where: str, parameters: Mapping[str, object]) -> int:
    n: int = store.query(f"SELECT count() AS n FROM {table} WHERE {where}", parameters)["n"][0]
    if n:
        store.execute(f"DELETE FROM {table} WHERE {where}", parameters)
    return n
