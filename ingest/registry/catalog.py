"""Customers, scheduling rules and operators' API tokens in the registry's tables, inside the caller's transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from contracts.auth import check_id
from contracts.entities import Customer, Objective, SchedulingRule
from contracts.errors import ContractError
from ingest.registry.checks import check_customer, check_rule, check_scopes
from ingest.registry.errors import NotFound


@dataclass(frozen=True, slots=True)
class ApiToken:
    """An operator's token, without its secret. Times in ms UTC."""

    name: str
    scopes: tuple[str, ...]
    created_at: int
    revoked_at: int | None


def read_customers(connection: sqlite3.Connection) -> Iterator[Customer]:
    """All customers by id, objectives by service and measure."""
    objectives: dict[str, list[Objective]] = {}
    for row in connection.execute(
        "SELECT customer, service, measure, target, threshold FROM objectives ORDER BY customer, service, measure"
    ):
        objectives.setdefault(row[0], []).append(Objective(*row))
    for identity, name, timezone in connection.execute("SELECT id, name, timezone FROM customers ORDER BY id"):
        yield Customer(identity, name, timezone, tuple(objectives.get(identity, ())))


def read_rules(connection: sqlite3.Connection) -> Iterator[SchedulingRule]:
    """All scheduling rules by id and version."""
    for row in connection.execute("SELECT id, version, name, owner, valid_from FROM rules ORDER BY id, version"):
        yield SchedulingRule(*row)


def read_api_hashes(connection: sqlite3.Connection) -> Iterator[tuple[str, bytes, tuple[str, ...]]]:
    """(name, hash, scopes) of the tokens that are accepted."""
    for name, digest, scopes in connection.execute(
        "SELECT name, hash, scopes FROM api_tokens WHERE revoked_at IS NULL ORDER BY name"
    ):
        yield name, digest, tuple(json.loads(scopes))


def read_api_tokens(connection: sqlite3.Connection) -> list[ApiToken]:
    """All operators' tokens by name, revoked ones included."""
    rows = connection.execute("SELECT name, scopes, created_at, revoked_at FROM api_tokens ORDER BY name")
    return [ApiToken(name, tuple(json.loads(scopes)), created, revoked) for name, scopes, created, revoked in rows]


def write_customer(connection: sqlite3.Connection, customer: Customer, *, replace: bool) -> None:
    """Store a customer and its objectives. Raises ContractError `exists` unless `replace`."""
    check_customer(customer)
    known = connection.execute("SELECT 1 FROM customers WHERE id = ?", (customer.id,)).fetchone()
    if known and not replace:
        raise ContractError("exists", "customer.id", "an id that is not taken", customer.id)
    connection.execute("DELETE FROM objectives WHERE customer = ?", (customer.id,))
    connection.execute(
        "INSERT INTO customers (id, name, timezone) VALUES (?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET name = excluded.name, timezone = excluded.timezone",
        (customer.id, customer.name, customer.timezone),
    )
    connection.executemany(
        "INSERT INTO objectives (customer, service, measure, target, threshold) VALUES (?, ?, ?, ?, ?)",
        [(o.customer, o.service, o.measure, o.target, o.threshold) for o in customer.objectives],
    )


def write_rule(connection: sqlite3.Connection, rule: SchedulingRule, *, replace: bool) -> None:
    """Store a rule's version. Raises ContractError `exists` unless `replace`."""
    check_rule(rule)
    known = connection.execute("SELECT 1 FROM rules WHERE id = ? AND version = ?", (rule.id, rule.version)).fetchone()
    if known and not replace:
        raise ContractError("exists", "rule", "a version that is not taken", rule.sched_rule)
    connection.execute(
        "INSERT OR REPLACE INTO rules (id, version, name, owner, valid_from) VALUES (?, ?, ?, ?, ?)",
        (rule.id, rule.version, rule.name, rule.owner, rule.valid_from),
    )


def write_api_token(
    connection: sqlite3.Connection, name: str, digest: bytes, scopes: tuple[str, ...], now: int
) -> None:
    """Store a token's hash. A name is used once, so that a log line names one token for ever."""
    check_id("name", name)
    check_scopes(scopes)
    if connection.execute("SELECT 1 FROM api_tokens WHERE name = ?", (name,)).fetchone():
        raise ContractError("exists", "name", "a name that was never taken", name)
    connection.execute(
        "INSERT INTO api_tokens (name, hash, scopes, created_at) VALUES (?, ?, ?, ?)",
        (name, digest, json.dumps(scopes), now),
    )


def revoke_api_token(connection: sqlite3.Connection, name: str, now: int) -> None:
    """End a token at once. Revoking twice keeps the first time. Raises NotFound."""
    done = connection.execute("UPDATE api_tokens SET revoked_at = coalesce(revoked_at, ?) WHERE name = ?", (now, name))
    if not done.rowcount:
        raise NotFound(f"token: no token is named {name!r}")
