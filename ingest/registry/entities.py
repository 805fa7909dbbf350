"""Entities of the registry as records of a compacted topic: what a write touched, and each entity as JSON and back.

Names: `device/ID` (with attributes and keys), `customer/ID` (with objectives), `rule/ID/VERSION`, `token/ID` (of
enrolment), `api-token/NAME`, `account/NAME` (of a person). A record holds the whole entity, so that the newest record
per name is the registry. A record without a value removes the entity.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from ingest.registry.errors import RegistryError

FORMAT = 1  # of the JSON; readers refuse a newer one
CATALOG_KINDS = frozenset({"customer", "rule", "api-token", "account"})

# Temporary triggers of the writing connection note what a transaction touches, so that no write function has to.
_NAMES = {
    "devices": "'device/' || {row}.device",
    "attributes": "'device/' || {row}.device",
    "keys": "'device/' || {row}.device",
    "customers": "'customer/' || {row}.id",
    "objectives": "'customer/' || {row}.customer",
    "rules": "'rule/' || {row}.id || '/' || {row}.version",
    "enrolment_tokens": "'token/' || {row}.id",
    "api_tokens": "'api-token/' || {row}.name",
    "accounts": "'account/' || {row}.name",
}
_TABLES_OF_ENTITIES = ("devices", "customers", "rules", "enrolment_tokens", "api_tokens", "accounts")

_ATTRIBUTES = ("valid_from", "device_isp", "device_region", "nat_type", "cohort", "capacity_mbps", "recorded_at")
_KEYS = ("key_id", "secret", "created_at", "accepted_until")
_OBJECTIVES = ("service", "measure", "target", "threshold")
_TOKENS = ("hash", "device", "created_at", "expires_at", "used_at", "used_by", "cancelled_at")
_API_TOKENS = ("hash", "scopes", "created_at", "revoked_at")
_ACCOUNTS = ("role", "customer", "hash", "stamp", "created_at", "disabled_at", "removed_at")
_RULES = ("name", "owner", "valid_from")
_BYTES = frozenset({"secret", "hash"})  # of keys and tokens: hex in JSON


class BadRecord(RegistryError):
    """A record that says nothing this program can read; it is skipped, and reported."""


class NewerRecord(RegistryError):
    """A record of a newer format: what it says may be a revocation, so following stops here until an update."""


def watch(connection: sqlite3.Connection) -> None:
    """Let a connection note what its transactions touch, for `touched`."""
    # Without a unique index: the conflict clause of the statement that fires a trigger overrides the trigger's own.
    connection.execute("CREATE TEMP TABLE touched (entity TEXT)")
    for table, name in _NAMES.items():
        for event, row in (("INSERT", "new"), ("UPDATE", "new"), ("DELETE", "old")):
            note = f"INSERT INTO touched VALUES ({name.format(row=row)})"  # noqa: S608
            connection.execute(f"CREATE TEMP TRIGGER {table}_{event} AFTER {event} ON main.{table} BEGIN {note}; END")


def touched(connection: sqlite3.Connection) -> list[str]:
    """Names of what was touched since the last call, sorted. Belongs to the transaction: a rollback undoes the call."""
    names = [name for (name,) in connection.execute("SELECT DISTINCT entity FROM touched ORDER BY entity")]
    connection.execute("DELETE FROM touched")
    return names


def everything(connection: sqlite3.Connection) -> Iterator[str]:
    """Names of all entities."""
    for table in _TABLES_OF_ENTITIES:
        name = _NAMES[table].format(row=table)
        yield from (found for (found,) in connection.execute(f"SELECT {name} FROM {table} ORDER BY 1"))  # noqa: S608


# --- entity -> JSON ---


def document(connection: sqlite3.Connection, entity: str) -> bytes | None:
    """An entity as the topic holds it; None: it is not there (any more)."""
    kind, _, name = entity.partition("/")
    found = _READERS[kind](connection, name)
    if found is None:
        return None
    return json.dumps({"v": FORMAT, **found}, ensure_ascii=False, separators=(",", ":")).encode()


def _row(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {n: v.hex() if isinstance(v, bytes) else v for n, v in zip(names, values, strict=True)}


def _rows(c: sqlite3.Connection, names: Sequence[str], rest: str, *parameters: Any) -> list[dict[str, Any]]:
    return [_row(names, row) for row in c.execute(f"SELECT {', '.join(names)} FROM {rest}", parameters)]  # noqa: S608


def _read_device(c: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    found = _rows(c, ("created_at", "revoked_at"), "devices WHERE device = ?", name)
    if not found:
        return None
    attributes = _rows(c, _ATTRIBUTES, "attributes WHERE device = ? ORDER BY valid_from", name)
    keys = _rows(c, _KEYS, "keys WHERE device = ? ORDER BY rowid", name)  # of one age, the later one counts as newer
    return {**found[0], "attributes": attributes, "keys": keys}


def _read_customer(c: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    found = _rows(c, ("name", "timezone"), "customers WHERE id = ?", name)
    if not found:
        return None
    return {**found[0], "objectives": _rows(c, _OBJECTIVES, "objectives WHERE customer = ? ORDER BY 1, 2", name)}


def _read_rule(c: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    rule, _, version = name.rpartition("/")
    found = _rows(c, _RULES, "rules WHERE id = ? AND version = ?", rule, int(version))
    return found[0] if found else None


def _read_token(c: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    found = _rows(c, _TOKENS, "enrolment_tokens WHERE id = ?", name)
    return found[0] if found else None


def _read_api_token(c: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    found = _rows(c, _API_TOKENS, "api_tokens WHERE name = ?", name)
    return {**found[0], "scopes": json.loads(found[0]["scopes"])} if found else None


def _read_account(c: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    found = _rows(c, _ACCOUNTS, "accounts WHERE name = ?", name)
    return found[0] if found else None


_READERS = {
    "device": _read_device,
    "customer": _read_customer,
    "rule": _read_rule,
    "token": _read_token,
    "api-token": _read_api_token,
    "account": _read_account,
}


# --- JSON -> entity ---


def apply(connection: sqlite3.Connection, entity: str, value: bytes | None, version: int) -> None:
    """Make a replica's entity what a record says, in the caller's transaction, which makes `version`. Raises BadRecord
    (nothing was changed), NewerRecord."""
    kind, _, name = entity.partition("/")
    if kind not in _WRITERS or not name:
        raise BadRecord(f"key: expected KIND/NAME with a kind of {', '.join(_WRITERS)}, got {entity[:80]!r}")
    content = None if value is None else _content(value)
    connection.execute("SAVEPOINT record")
    try:
        _WRITERS[kind](connection, name, content, version)
    except (KeyError, TypeError, ValueError, OverflowError, sqlite3.IntegrityError) as error:
        connection.execute("ROLLBACK TO record")
        raise BadRecord(f"{entity[:80]!r}: expected an entity of format {FORMAT}, got {error!r:.100}") from None
    finally:
        connection.execute("RELEASE record")


def _content(value: bytes) -> dict[str, Any]:
    try:
        content = json.loads(value)
        written_in = content["v"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadRecord(f"value: expected a JSON object with its format `v`, got {len(value)} other bytes") from None
    if type(written_in) is not int or written_in > FORMAT:
        raise NewerRecord(f"a record has format {written_in!r:.20}, this program reads {FORMAT}: update it")
    assert isinstance(content, dict)
    return content


def _values(names: Sequence[str], content: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(
        bytes.fromhex(content[n]) if n in _BYTES and content[n] is not None else content[n] for n in names
    )  # fmt: skip


def _put(c: sqlite3.Connection, table: str, identity: dict[str, Any], names: Sequence[str], values: Any) -> None:
    """Insert or replace one row, in place: rows of other tables may refer to it."""
    columns = (*identity, *names)
    updates = ", ".join(f"{n} = excluded.{n}" for n in names)
    c.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "  # noqa: S608
        f"ON CONFLICT ({', '.join(identity)}) DO UPDATE SET {updates}",
        (*identity.values(), *values),
    )


def _write_device(c: sqlite3.Connection, name: str, content: dict[str, Any] | None, version: int) -> None:
    c.execute("DELETE FROM attributes WHERE device = ?", (name,))
    c.execute("DELETE FROM keys WHERE device = ?", (name,))
    if content is None:
        c.execute("DELETE FROM devices WHERE device = ?", (name,))
        c.execute(
            "INSERT INTO meta VALUES ('removed', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (version,)
        )
        return
    identity = {"device": name}
    values = (content["created_at"], content["revoked_at"], version)
    _put(c, "devices", identity, ("created_at", "revoked_at", "changed"), values)
    for row in content["attributes"]:
        _put(
            c,
            "attributes",
            {**identity, "valid_from": row["valid_from"]},
            _ATTRIBUTES[1:],
            _values(_ATTRIBUTES[1:], row),
        )
    for row in content["keys"]:
        columns = ("device", *_KEYS[1:])
        _put(c, "keys", {"key_id": row["key_id"]}, columns, (name, *_values(_KEYS[1:], row)))


def _write_customer(c: sqlite3.Connection, name: str, content: dict[str, Any] | None, _: int) -> None:
    c.execute("DELETE FROM objectives WHERE customer = ?", (name,))
    if content is None:
        c.execute("DELETE FROM customers WHERE id = ?", (name,))
        return
    _put(c, "customers", {"id": name}, ("name", "timezone"), _values(("name", "timezone"), content))
    for row in content["objectives"]:
        identity = {"customer": name, "service": row["service"], "measure": row["measure"]}
        _put(c, "objectives", identity, _OBJECTIVES[2:], _values(_OBJECTIVES[2:], row))


def _write_rule(c: sqlite3.Connection, name: str, content: dict[str, Any] | None, _: int) -> None:
    rule, _slash, number = name.rpartition("/")
    identity = {"id": rule, "version": int(number)}
    if content is None:
        c.execute("DELETE FROM rules WHERE id = ? AND version = ?", tuple(identity.values()))
    else:
        _put(c, "rules", identity, _RULES, _values(_RULES, content))


def _write_token(c: sqlite3.Connection, name: str, content: dict[str, Any] | None, _: int) -> None:
    if content is None:
        c.execute("DELETE FROM enrolment_tokens WHERE id = ?", (name,))
    else:
        _put(c, "enrolment_tokens", {"id": name}, _TOKENS, _values(_TOKENS, content))


def _write_api_token(c: sqlite3.Connection, name: str, content: dict[str, Any] | None, _: int) -> None:
    if content is None:
        c.execute("DELETE FROM api_tokens WHERE name = ?", (name,))
    else:
        scopes = json.dumps([str(scope) for scope in content["scopes"]])
        _put(c, "api_tokens", {"name": name}, _API_TOKENS, _values(_API_TOKENS, {**content, "scopes": scopes}))


def _write_account(c: sqlite3.Connection, name: str, content: dict[str, Any] | None, _: int) -> None:
    if content is None:
        c.execute("DELETE FROM accounts WHERE name = ?", (name,))
    else:
        _put(c, "accounts", {"name": name}, _ACCOUNTS, [content[n] for n in _ACCOUNTS])


_WRITERS = {
    "device": _write_device,
    "customer": _write_customer,
    "rule": _write_rule,
    "token": _write_token,
    "api-token": _write_api_token,
    "account": _write_account,
}
