"""The registry's content in memory: what look-ups read, and how it follows the file.

Entries are immutable and replaced whole, so a reader in another thread sees an entry before or after a change, never
half of it.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from contracts.entities import Customer, DeviceAttributes, SchedulingRule
from contracts.protocols import DeviceKey
from ingest.registry.accounts import Account, read_accounts
from ingest.registry.catalog import read_api_hashes, read_customers, read_rules

_ATTRIBUTES = (
    "SELECT device, valid_from, device_isp, device_region, nat_type, cohort, capacity_mbps "
    "FROM attributes {where} ORDER BY device, valid_from"
)
_KEYS = (
    "SELECT device, key_id, secret, accepted_until FROM keys {where} secret IS NOT NULL "
    "ORDER BY device, created_at DESC, rowid DESC"
)
_CHANGED = "device IN (SELECT device FROM devices WHERE changed > ?)"


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """One device: attributes ascending by valid_from, keys newest first with the time they end (None: open)."""

    valid_from: tuple[int, ...] = ()
    attributes: tuple[DeviceAttributes, ...] = ()
    keys: tuple[DeviceKey, ...] = ()
    accepted_until: tuple[int | None, ...] = ()

    def attributes_at(self, at_ms: int) -> DeviceAttributes | None:
        """The row valid at a time; the earliest row serves times before it."""
        if not self.attributes:
            return None
        return self.attributes[max(bisect_right(self.valid_from, at_ms) - 1, 0)]


@dataclass(slots=True)
class Snapshot:
    """Everything look-ups need, as of `version`."""

    version: int = 0
    catalog_version: int = 0
    devices: dict[str, DeviceEntry] = field(default_factory=dict)
    customers: dict[str, Customer] = field(default_factory=dict)
    rules: tuple[SchedulingRule, ...] = ()
    api_hashes: tuple[tuple[str, bytes, tuple[str, ...]], ...] = ()
    accounts: dict[str, tuple[Account, str]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)  # one object per dimension value: 50,000 rows share a few


def follow(snapshot: Snapshot, connection: sqlite3.Connection) -> None:
    """Bring a snapshot up to the file's version, reading only what changed, in one read transaction."""
    connection.execute("BEGIN")
    try:
        meta: dict[str, int] = dict(connection.execute("SELECT name, value FROM meta"))
        if snapshot.version == 0 or meta.get("removed", 0) > snapshot.version:
            snapshot.devices = dict(_entries(connection, snapshot.texts, None))
        elif meta["version"] > snapshot.version:
            snapshot.devices.update(_entries(connection, snapshot.texts, snapshot.version))
        if meta["catalog"] != snapshot.catalog_version:
            snapshot.customers = {c.id: c for c in read_customers(connection)}
            snapshot.rules = tuple(read_rules(connection))
            snapshot.api_hashes = tuple(read_api_hashes(connection))
            snapshot.accounts = {account.name: (account, digest) for account, digest in read_accounts(connection)}
            snapshot.catalog_version = meta["catalog"]
        snapshot.version = meta["version"]
    finally:
        connection.execute("COMMIT")


def _entries(
    connection: sqlite3.Connection, texts: dict[str, str], since: int | None
) -> Iterator[tuple[str, DeviceEntry]]:
    """Entries of all devices, or of those changed since a version."""
    parameters = () if since is None else (since,)
    where = "" if since is None else f"WHERE {_CHANGED}"
    keys: dict[str, list[tuple[DeviceKey, int | None]]] = {}
    keys_where = "WHERE" if since is None else f"{where} AND"
    for device, key_id, secret, until in connection.execute(_KEYS.format(where=keys_where), parameters):
        keys.setdefault(device, []).append((DeviceKey(key_id, secret), until))
    share = texts.setdefault
    rows = connection.execute(_ATTRIBUTES.format(where=where), parameters)
    for device, group in groupby(rows, key=itemgetter(0)):
        attributes = tuple(
            DeviceAttributes(
                start, share(isp, isp), share(region, region), share(nat, nat), share(cohort, cohort), mbps
            )
            for _, start, isp, region, nat, cohort, mbps in group
        )
        accepted = keys.get(device, ())
        yield (
            device,
            DeviceEntry(
                valid_from=tuple(a.valid_from for a in attributes),
                attributes=attributes,
                keys=tuple(key for key, _ in accepted),
                accepted_until=tuple(until for _, until in accepted),
            ),
        )
