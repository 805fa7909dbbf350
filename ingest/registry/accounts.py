"""People's accounts in the registry's tables, inside the caller's transaction.

A name is used once for ever, so that a line in a log names one person: an account that was removed keeps its row.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from contracts.auth import check_id
from contracts.errors import ContractError
from ingest.registry.errors import NotFound

ROLES = ("viewer", "operator", "admin", "customer")
CUSTOMER = "customer"


@dataclass(frozen=True, slots=True)
class Account:
    """An account without its password. `customer`: whose data alone it sees, of role customer; else empty. `stamp`
    changes with password, role, disabling and removal: whoever logged in before has to again. Times in ms UTC."""

    name: str
    role: str
    customer: str
    stamp: str
    created_at: int
    disabled_at: int | None = None
    removed_at: int | None = None

    @property
    def open(self) -> bool:
        """Whether it may be used."""
        return self.disabled_at is None and self.removed_at is None


def read_accounts(connection: sqlite3.Connection) -> Iterator[tuple[Account, str]]:
    """All accounts by name, each with its stored hash; removed ones included."""
    for row in connection.execute(
        "SELECT name, role, customer, stamp, created_at, disabled_at, removed_at, hash FROM accounts ORDER BY name"
    ):
        yield Account(*row[:-1]), row[-1]


def insert(connection: sqlite3.Connection, name: str, role: str, customer: str, digest: str, now: int) -> None:
    """A new account. Raises ContractError `bad_id`, `bad_role`, `exists`."""
    check_id("name", name)
    _check_role(connection, role, customer)
    if connection.execute("SELECT 1 FROM accounts WHERE name = ?", (name,)).fetchone():
        raise ContractError("exists", "name", "a name that was never taken", name)
    connection.execute(
        "INSERT INTO accounts (name, role, customer, hash, stamp, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        (name, role, customer, digest, _stamp(), now),
    )


def set_password(connection: sqlite3.Connection, name: str, digest: str) -> None:
    """Another password. Raises NotFound."""
    _change(connection, name, "hash = ?", digest)


def set_role(connection: sqlite3.Connection, name: str, role: str, customer: str) -> None:
    """Another role. Raises NotFound, ContractError `bad_role`."""
    _check_role(connection, role, customer)
    _change(connection, name, "role = ?, customer = ?", role, customer)


def set_disabled(connection: sqlite3.Connection, name: str, at: int | None) -> None:
    """Close an account from now on, or open it again (None). Raises NotFound."""
    _change(connection, name, "disabled_at = ?", at)


def remove(connection: sqlite3.Connection, name: str, now: int) -> None:
    """End an account; its password is forgotten. Raises NotFound."""
    _change(connection, name, "removed_at = ?, hash = ''", now)


def _change(connection: sqlite3.Connection, name: str, assignments: str, *values: object) -> None:
    done = connection.execute(
        f"UPDATE accounts SET {assignments}, stamp = ? WHERE name = ? AND removed_at IS NULL",  # noqa: S608 - ours
        (*values, _stamp(), name),
    )
    if not done.rowcount:
        raise NotFound(f"account: nobody is named {name!r}")


def _check_role(connection: sqlite3.Connection, role: str, customer: str) -> None:
    if role not in ROLES:
        raise ContractError("bad_role", "role", f"one of {', '.join(ROLES)}", role)
    if (role == CUSTOMER) != bool(customer):
        raise ContractError(
            "bad_role", "customer", f"a customer's id for the role {CUSTOMER}, and for no other", customer
        )
    if customer and not connection.execute("SELECT 1 FROM customers WHERE id = ?", (customer,)).fetchone():
        raise ContractError("bad_role", "customer", "the id of a registered customer", customer)


def _stamp() -> str:
    return secrets.token_hex(8)
