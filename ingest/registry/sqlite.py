"""The registry of the embedded mode: one SQLite file, looked up from memory, shared by any number of processes.

Look-ups read a snapshot. At most every `check_every_s` one of them asks SQLite whether another connection has
committed (`PRAGMA data_version`, microseconds) and then re-reads what changed. A process sees its own writes at once.
"""

from __future__ import annotations

import hmac
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

from contracts.entities import Customer, DeviceAttributes, SchedulingRule
from contracts.protocols import DeviceKey
from contracts.times import DAY_MS
from ingest.registry import accounts, catalog, devices, passwords
from ingest.registry.accounts import Account
from ingest.registry.catalog import ApiToken
from ingest.registry.devices import DeviceInfo, EnrolmentToken, Outcome
from ingest.registry.errors import RegistryError
from ingest.registry.schema import connect, prepare, translated
from ingest.registry.snapshot import Snapshot, follow

DEFAULT_OVERLAP_MS = DAY_MS  # how long an old key is accepted after a rotation
CHECK_EVERY_S = 0.2  # how stale a look-up may be after another process changed the file

T = TypeVar("T")
Body = Callable[[sqlite3.Connection, int], T]  # what a write does, given the version it makes; it may run again


def wall_clock_ms() -> int:
    """Now, ms UTC."""
    return time.time_ns() // 1_000_000


class SqliteRegistry:
    """Implements contracts.protocols.Registry. Safe to use from several threads.

    `clock` (ms UTC) decides only whether a rotated key's overlap is over; every other time is an argument. Reading and
    writing raise RegistryUnavailable when the file cannot be reached; bad input raises ContractError; NotFound names
    what is not there.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        clock: Callable[[], int] = wall_clock_ms,
        monotonic: Callable[[], float] = time.monotonic,
        check_every_s: float = CHECK_EVERY_S,
    ) -> None:
        prepare(path, create=create)
        self.path = path
        self._clock = clock
        self._monotonic = monotonic
        self._check_every_s = check_every_s
        self._read_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._snapshot = Snapshot()
        with translated(path):
            self._reader = connect(path)
            self._writer = connect(path)
            try:
                self._check_kind()
            except BaseException:
                self._writer.close()
                self._reader.close()
                raise
        self._data_version = -1
        self._next_check = 0.0
        self._refresh_now()

    def close(self) -> None:
        """Release the file. Look-ups and writes are over after this."""
        with self._write_lock, self._read_lock:
            self._writer.close()
            self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- look-ups: the Protocol ---

    def keys(self, device: str) -> Sequence[DeviceKey]:
        """Accepted keys, newest first; empty for an unknown or revoked device."""
        entry = self._current().devices.get(device)
        if entry is None:
            return ()
        if not any(entry.accepted_until):
            return entry.keys
        now = self._clock()
        return tuple(
            k for k, until in zip(entry.keys, entry.accepted_until, strict=True) if until is None or now < until
        )

    def attributes(self, device: str, at_ms: int) -> DeviceAttributes | None:
        """Attributes valid at a time (the earliest row serves times before it); None: unknown device."""
        entry = self._current().devices.get(device)
        return None if entry is None else entry.attributes_at(at_ms)

    def customer(self, customer_id: str) -> Customer | None:
        """A customer, or None."""
        return self._current().customers.get(customer_id)

    def customers(self) -> Sequence[Customer]:
        """All customers, by id."""
        return tuple(self._current().customers.values())

    def rules(self) -> Sequence[SchedulingRule]:
        """All scheduling rules, by id and version."""
        return self._current().rules

    def version(self) -> int:
        """Counts up with every change that any process or thread made."""
        return self._current().version

    def check_api_token(self, token: str, scope: str) -> str | None:
        """The name of the token if it is accepted for a scope. Compares with every accepted token in constant time."""
        digest = devices.hash_of(token)
        found: str | None = None
        for name, expected, scopes in self._current().api_hashes:
            if hmac.compare_digest(digest, expected) and scope in scopes:
                found = name
        return found

    def account(self, name: str) -> Account | None:
        """A person's account, removed ones included, or None."""
        found = self._current().accounts.get(name)
        return None if found is None else found[0]

    def accounts(self) -> list[Account]:
        """All accounts by name, removed ones included: as long as there is one, pages ask who somebody is."""
        return [account for account, _ in self._current().accounts.values()]

    def check_password(self, name: str, password: str) -> Account | None:
        """The account, when it is open and this is its password. Takes as long for a name that nobody has."""
        account, stored = self._current().accounts.get(name, (None, ""))
        usable = account is not None and account.open
        right = passwords.matches(password, stored if usable else passwords.nobodys())
        return account if usable and right else None

    def device_ids(self) -> list[str]:
        """Ids of all devices, revoked ones included, in no particular order."""
        return list(self._current().devices)

    # --- what people look at: read from the file ---

    def device(self, device: str) -> DeviceInfo | None:
        """All that is kept of a device, or None."""
        found = self._read(lambda c: devices.read_devices(c, device))
        return found[0] if found else None

    def devices(self) -> list[DeviceInfo]:
        """All devices by id."""
        return self._read(devices.read_devices)

    def enrolment_tokens(self) -> list[EnrolmentToken]:
        """All enrolment tokens, newest first, without their secrets."""
        return self._read(devices.read_tokens)

    def api_tokens(self) -> list[ApiToken]:
        """All operators' tokens by name, without their secrets."""
        return self._read(catalog.read_api_tokens)

    # --- devices ---

    def add_device(self, device: str, attributes: DeviceAttributes, now: int) -> None:
        """Register a device; it has no key yet. Raises ContractError `bad_id`, `bad_field`, `exists`."""
        self._write(lambda c, version: devices.insert(c, device, attributes, now, version))

    def bulk_add_devices(
        self, fleet: Iterable[tuple[str, DeviceAttributes]], now: int, given: Mapping[str, bytes] | None = None
    ) -> dict[str, DeviceKey]:
        """Register a fleet in one transaction, all or nothing, and return one accepted key per device. `given`: secrets
        by device that were made elsewhere (a factory, the simulator). Devices that are already there keep their newest
        open key unless another is given, and get a row where their attributes differ. Raises ContractError."""
        rows = list(fleet)
        secrets_of = given or {}

        def add(c: sqlite3.Connection, version: int) -> dict[str, DeviceKey]:
            result: dict[str, DeviceKey] = {}
            for device, attributes in rows:
                devices.upsert(c, device, attributes, now, version)
                result[device] = devices.ensure_key(c, device, secrets_of.get(device), now, version)
            return result

        return self._write(add)

    def upsert_devices(self, rows: Iterable[tuple[str, DeviceAttributes]], now: int) -> list[Outcome]:
        """Add or update devices, all or nothing: per row `added`, `changed` or `unchanged`. No keys are made."""
        found = list(rows)
        return self._write(lambda c, version: [devices.upsert(c, d, a, now, version) for d, a in found])

    def set_attributes(self, device: str, attributes: DeviceAttributes, now: int) -> None:
        """A row valid from `attributes.valid_from`; the same valid_from again corrects that row. Raises NotFound."""
        self._write(lambda c, version: devices.set_attributes(c, device, attributes, now, version))

    def issue_token(self, device: str | None, now: int, expires_at: int) -> str:
        """A one-time enrolment token for a device, or (None) for any device that never had a key. Shown once."""
        return self._write(lambda c, _: devices.issue_token(c, device, now, expires_at))

    def enroll(self, device: str, token: str, now: int) -> DeviceKey:
        """Exchange a token for the device's key. Raises ContractError `bad_token`, `bad_id`."""
        return self._write(lambda c, version: devices.enroll(c, device, token, now, version))

    def add_key(self, device: str, now: int) -> DeviceKey:
        """A further key beside the present ones. Raises NotFound; ContractError `revoked`."""
        return self._write(lambda c, version: devices.add_key(c, device, now, version))

    def rotate(self, device: str, now: int, overlap_ms: int = DEFAULT_OVERLAP_MS) -> DeviceKey:
        """A new key; the old ones are accepted for `overlap_ms` more. Raises as add_key."""
        return self._write(lambda c, version: devices.rotate(c, device, now, overlap_ms, version))

    def revoke(self, device: str, now: int) -> None:
        """No key of the device is accepted any more and its open tokens are cancelled. Raises NotFound."""
        self._write(lambda c, version: devices.revoke(c, device, now, version))

    # --- customers, rules, operators' tokens ---

    def add_customer(self, customer: Customer, *, replace: bool = False) -> None:
        """Store a customer with its objectives. Raises ContractError `exists` unless `replace`."""
        self._write(lambda c, _: catalog.write_customer(c, customer, replace=replace), catalog_too=True)

    def upsert_customers(self, customers: Iterable[Customer]) -> list[Outcome]:
        """Add or replace customers, all or nothing: per customer `added`, `changed` or `unchanged`."""
        given = list(customers)

        def upsert(c: sqlite3.Connection, _: int) -> list[Outcome]:
            known = {k.id: k for k in catalog.read_customers(c)}
            outcomes: list[Outcome] = []
            for customer in given:
                before = known.get(customer.id)
                catalog.write_customer(c, customer, replace=True)
                outcomes.append("added" if before is None else _changed(_sorted(before), _sorted(customer)))
            return outcomes

        return self._write(upsert, catalog_too=True)

    def add_rule(self, rule: SchedulingRule, *, replace: bool = False) -> None:
        """Store a version of a scheduling rule. Raises ContractError `exists` unless `replace`."""
        self._write(lambda c, _: catalog.write_rule(c, rule, replace=replace), catalog_too=True)

    def upsert_rules(self, rules: Iterable[SchedulingRule]) -> list[Outcome]:
        """Add or replace rules' versions, all or nothing: per rule `added`, `changed` or `unchanged`."""
        given = list(rules)

        def upsert(c: sqlite3.Connection, _: int) -> list[Outcome]:
            known = {r.sched_rule: r for r in catalog.read_rules(c)}
            outcomes: list[Outcome] = []
            for rule in given:
                before = known.get(rule.sched_rule)
                catalog.write_rule(c, rule, replace=True)
                outcomes.append("added" if before is None else _changed(before, rule))
            return outcomes

        return self._write(upsert, catalog_too=True)

    def add_api_token(self, name: str, scopes: Iterable[str], now: int) -> str:
        """A token for a program or operator, shown once. Raises ContractError `bad_scope`, `bad_id`, `exists`."""
        token, wanted = f"dpa_{secrets.token_urlsafe(24)}", tuple(scopes)
        digest = devices.hash_of(token)
        self._write(lambda c, _: catalog.write_api_token(c, name, digest, wanted, now), catalog_too=True)
        return token

    def revoke_api_token(self, name: str, now: int) -> None:
        """End a token at once. Raises NotFound."""
        self._write(lambda c, _: catalog.revoke_api_token(c, name, now), catalog_too=True)

    # --- people's accounts ---

    def add_account(self, name: str, role: str, password: str, now: int, *, customer: str = "") -> None:
        """An account for a person. Raises ContractError `bad_id`, `bad_role`, `bad_password`, `exists`."""
        digest = passwords.hashed(passwords.check_password(password, name))
        self._write(lambda c, _: accounts.insert(c, name, role, customer, digest, now), catalog_too=True)

    def set_password(self, name: str, password: str) -> None:
        """Another password; whoever is logged in with the old one has to log in again. Raises NotFound."""
        digest = passwords.hashed(passwords.check_password(password, name))
        self._write(lambda c, _: accounts.set_password(c, name, digest), catalog_too=True)

    def set_role(self, name: str, role: str, *, customer: str = "") -> None:
        """Another role. Raises NotFound, ContractError `bad_role`."""
        self._write(lambda c, _: accounts.set_role(c, name, role, customer), catalog_too=True)

    def disable_account(self, name: str, now: int) -> None:
        """Close an account until `enable_account`. Raises NotFound."""
        self._write(lambda c, _: accounts.set_disabled(c, name, now), catalog_too=True)

    def enable_account(self, name: str) -> None:
        """Open it again. Raises NotFound."""
        self._write(lambda c, _: accounts.set_disabled(c, name, None), catalog_too=True)

    def remove_account(self, name: str, now: int) -> None:
        """End an account; its name is never given again. Raises NotFound."""
        self._write(lambda c, _: accounts.remove(c, name, now), catalog_too=True)

    # --- how the snapshot follows the file ---

    def _check_kind(self) -> None:
        if position(self._writer) is not None:
            raise RegistryError(
                f"registry {self.path}: it is a replica of the registry on Kafka; write through the cluster's commands"
            )

    def _current(self) -> Snapshot:
        if self._monotonic() >= self._next_check and self._read_lock.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._read_lock.release()
        return self._snapshot

    def _refresh(self) -> None:
        with translated(self.path):
            data_version: int = self._reader.execute("PRAGMA data_version").fetchone()[0]
            if data_version != self._data_version:
                follow(self._snapshot, self._reader)
                self._data_version = data_version
        self._next_check = self._monotonic() + self._check_every_s

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        with self._read_lock, translated(self.path):
            return query(self._reader)

    def _write(self, body: Body[T], *, catalog_too: bool = False) -> T:
        """Run a body in a transaction; afterwards this process's look-ups know of it."""
        with self._write_lock:
            result = self._transact(body, catalog_too=catalog_too)
            self._refresh_now()
        return result

    def _transact(
        self, body: Body[T], *, catalog_too: bool, publish: Callable[[sqlite3.Connection, T], None] | None = None
    ) -> T:
        """One transaction of the writer, all or nothing. `publish` runs between the body and the commit; when it
        raises, nothing was changed."""
        with translated(self.path):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                result = body(self._writer, next_version(self._writer, catalog_too=catalog_too))
                if publish is not None:
                    publish(self._writer, result)
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
        return result

    def _refresh_now(self) -> None:
        with self._read_lock:
            self._refresh()


def position(connection: sqlite3.Connection) -> int | None:
    """In a replica of the registry's topic, the first offset that is not applied yet; None: this is no replica."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'next_offset'").fetchone()
    return None if row is None else int(row[0])


def next_version(connection: sqlite3.Connection, *, catalog_too: bool) -> int:
    """The version that the present transaction makes; `catalog_too`: it touches customers, rules or API tokens."""
    version: int = connection.execute(
        "UPDATE meta SET value = value + 1 WHERE name = 'version' RETURNING value"
    ).fetchone()[0]
    if catalog_too:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'catalog'", (version,))
    return version


def _sorted(customer: Customer) -> tuple[object, ...]:
    objectives = sorted((o.service, o.measure, o.target, o.threshold or 0.0) for o in customer.objectives)
    return customer.name, customer.timezone, objectives


def _changed(before: object, after: object) -> Outcome:
    return "unchanged" if before == after else "changed"
