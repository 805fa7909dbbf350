"""Erasing a departed customer or device from history, with a record of it.

Only who has left can be erased: as long as slices of theirs are kept (retention, 8 days), the ledger and recomputed
minutes need them, and the log may hold them too. Sums over several customers or boxes hold no names and stay.

The ledger's books of a device stay as well, else the books of all would not add up: they go on under a pseudonym made
from nothing, which nobody can lead back. What a device did minute by minute, its vital signs, single requests and
bodies of refused reports go. Rows are copied before they are deleted, and those that name boots are deleted last: a
repeat after a crash finds the pseudonym by a boot that both names have.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from contracts.auth import check_id
from contracts.errors import ContractError
from contracts.protocols import Store
from contracts.times import DAY_MS, rfc3339

BOOTS = ("ledger_horizon", "reports")
BOOKS = ("rejected", "stored_reports", *BOOTS)
"""Of a device: what the ledger reads, renamed instead of deleted."""
OF = {
    "customer": (
        "minutes", "hours", "days", "coverage_minutes", "restatements", "stream_minutes", "cell_minutes", "cell_hours",
        "cell_days", "device_minutes", "exemplars", "signals", "objective_versions", "sla_statements", "sla_seals",
        "imported_minutes",
    ),
    "device": ("device_minutes", "box_minutes", "vitals", "exemplars", "devices", *BOOKS),
}  # fmt: skip
"""Tables by kind; each names whom a row is of in the column of the kind's name."""
MAX_REASON_CHARS = 500
GONE_MS = 8 * DAY_MS  # a device not heard for so long has left; nothing that is still worked on names it
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
    """Erase a customer or a device. A repeat, also after a crash half-way, erases the rest and records that. Raises
    ContractError while slices of theirs are kept or a device was heard lately, or without a reason."""
    if kind not in OF:
        raise ContractError("bad_erasure", "kind", f"one of {', '.join(OF)}", kind)
    check_id(kind, identity)
    if not 1 <= len(reason.strip()) <= MAX_REASON_CHARS or not reason.isprintable():
        raise ContractError("bad_erasure", "reason", f"1 to {MAX_REASON_CHARS} printable characters", reason)
    _check_gone(store, kind, identity, now)
    rows = _customer(store, identity) if kind == "customer" else _device(store, identity)
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


def _check_gone(store: Store, kind: str, identity: str, now: int) -> None:
    asked = {"id": identity}
    left = store.query(f"SELECT count() AS n, max(minute) AS newest FROM slices WHERE {kind} = {{id:String}}", asked)
    if left["n"][0]:
        expected = f"a {kind} whose slices are gone (8 days after the last, by retention.slices)"
        raise ContractError("bad_erasure", kind, f"{expected}; the newest is of {rfc3339(left['newest'][0])}", identity)
    if kind == "device":
        heard = store.query("SELECT max(received_at) AS newest FROM reports WHERE device = {id:String}", asked)[
            "newest"
        ]
        if heard[0] and heard[0] > now - GONE_MS:
            expected = f"a device not heard for 8 days; the newest report is of {rfc3339(heard[0])}"
            raise ContractError("bad_erasure", kind, expected, identity)


def _customer(store: Store, identity: str) -> dict[str, int]:
    asked = {"id": identity}
    rows = {table: _erased(store, table, "customer = {id:String}", asked) for table in OF["customer"]}
    own = store.query(_OWN_INCIDENTS, asked)["id"]
    for table, column in (("incidents", "id"), ("incident_actions", "incident")) if own else ():
        rows[table] = _erased(store, table, f"{column} IN {{ids:Array(String)}}", {"ids": own})
    return rows


def _device(store: Store, identity: str) -> dict[str, int]:
    new = _pseudonym(store, identity)
    for table in BOOKS:
        refused = ", '' AS body, '' AS detail" if table == "rejected" else ""
        store.execute(
            f"INSERT INTO {table} SELECT * REPLACE ({{new:String}} AS device{refused}) FROM {table} AS t FINAL "
            "WHERE t.device = {id:String}",
            {"id": identity, "new": new},
        )
    documents = ("incidents", "incident_actions")
    rows = {table: _renamed_in_documents(store, table, identity, new) for table in documents}
    return rows | {table: _erased(store, table, "device = {id:String}", {"id": identity}) for table in OF["device"]}


def _pseudonym(store: Store, identity: str) -> str:
    """No device's id can look like this."""
    for table in BOOTS:
        boots = store.query(f"SELECT DISTINCT boot FROM {table} WHERE device = {{id:String}}", {"id": identity})["boot"]
        half_done = store.query(
            f"SELECT device FROM {table} "
            "WHERE boot IN {boots:Array(String)} AND startsWith(device, '(erased-') LIMIT 1",
            {"boots": boots},
        )["device"]
        if half_done:
            return str(half_done[0])
    return f"(erased-{secrets.token_hex(8)})"


def _renamed_in_documents(store: Store, table: str, identity: str, new: str) -> int:
    """Incidents of several boxes go on without its name, in a version of their own."""
    found = store.query(
        f"SELECT * FROM {table} FINAL WHERE position(document, {{id:String}}) > 0 ORDER BY id", {"id": identity}
    )
    named = re.compile(rf"(?<![A-Za-z0-9._:-]){re.escape(identity)}(?![A-Za-z0-9._:-])")
    changed = [i for i, text in enumerate(found["document"]) if named.search(text)]
    if not changed:
        return 0
    columns: dict[str, Any] = {name: [values[i] for i in changed] for name, values in found.items()}
    documents = [_without(json.loads(text), named, new) for text in columns["document"]]
    if "version" in columns:
        columns["version"] = pa.array([v + 1 for v in columns["version"]], pa.int64())
        documents = [{**document, "version": document["version"] + 1} for document in documents]
    columns["document"] = [json.dumps(document, separators=(",", ":")) for document in documents]
    columns |= {name: pa.array(columns[name], pa.int64()) for name in ("resolved_at",) if name in columns}
    store.insert(table, pa.table(columns))
    store.execute(
        f"DELETE FROM {table} WHERE id IN {{ids:Array(String)}} AND position(document, {{id:String}}) > 0 "
        "AND document NOT IN {kept:Array(String)}",
        {"ids": columns["id"], "id": identity, "kept": columns["document"]},
    )
    return len(changed)


def _without(value: Any, named: re.Pattern[str], new: str) -> Any:
    """A JSON value with a name in all of its texts replaced."""
    if isinstance(value, str):
        return named.sub(new, value)
    if isinstance(value, Mapping):
        return {key: _without(item, named, new) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [_without(item, named, new) for item in value]
    return value


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
