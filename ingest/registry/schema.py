"""The registry's file: tables, rights, connections.

Secrets of devices stand in this file in clear, because verifying an HMAC needs the very key (see README.md, "What the
file protects"). Therefore the file is created with mode 0600 and not opened with a wider one.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.registry.errors import RegistryError, RegistryUnavailable

APPLICATION_ID = 0x44495052  # "DIPR", so that another program's file is not taken for a registry
SCHEMA_VERSION = 2
FILE_MODE = 0o600
BUSY_TIMEOUT_S = 5.0  # how long a writer waits for another process's transaction

# `meta.version` counts every write; `changed` on a row is the version that last touched it, so that a reader
# re-reads only what changed since its own version. `meta.catalog` is the version that last touched customers, rules,
# API tokens or accounts, which are few and re-read together. In a replica of the topic (kafka.py) `meta.next_offset`
# is the first record not applied yet, and `meta.removed` the version that last removed a device.
_DDL = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('version', 1), ('catalog', 1);

CREATE TABLE devices (
  device TEXT PRIMARY KEY, created_at INTEGER NOT NULL, revoked_at INTEGER, changed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX devices_changed ON devices (changed);

CREATE TABLE attributes (
  device TEXT NOT NULL REFERENCES devices, valid_from INTEGER NOT NULL, device_isp TEXT NOT NULL,
  device_region TEXT NOT NULL, nat_type TEXT NOT NULL, cohort TEXT NOT NULL, capacity_mbps REAL NOT NULL,
  recorded_at INTEGER NOT NULL, PRIMARY KEY (device, valid_from)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
  key_id TEXT PRIMARY KEY, device TEXT NOT NULL REFERENCES devices, secret BLOB, created_at INTEGER NOT NULL,
  accepted_until INTEGER
) STRICT;
CREATE INDEX keys_device ON keys (device);

CREATE TABLE enrolment_tokens (
  id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, device TEXT, created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL, used_at INTEGER, used_by TEXT, cancelled_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX enrolment_tokens_device ON enrolment_tokens (device);

CREATE TABLE customers (id TEXT PRIMARY KEY, name TEXT NOT NULL, timezone TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE objectives (
  customer TEXT NOT NULL REFERENCES customers, service TEXT NOT NULL, measure TEXT NOT NULL, target REAL NOT NULL,
  threshold REAL, PRIMARY KEY (customer, service, measure)
) STRICT, WITHOUT ROWID;

CREATE TABLE rules (
  id TEXT NOT NULL, version INTEGER NOT NULL, name TEXT NOT NULL, owner TEXT NOT NULL, valid_from INTEGER NOT NULL,
  PRIMARY KEY (id, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_tokens (
  name TEXT PRIMARY KEY, hash BLOB NOT NULL, scopes TEXT NOT NULL, created_at INTEGER NOT NULL, revoked_at INTEGER
) STRICT, WITHOUT ROWID;
"""
# What each version added to the one before; a file is brought up to date when it is opened.
_STEPS = {
    2: """
CREATE TABLE accounts (
  name TEXT PRIMARY KEY, role TEXT NOT NULL, customer TEXT NOT NULL, hash TEXT NOT NULL, stamp TEXT NOT NULL,
  created_at INTEGER NOT NULL, disabled_at INTEGER, removed_at INTEGER
) STRICT, WITHOUT ROWID""",
}


def prepare(path: Path, *, create: bool) -> None:
    """Make sure that a registry of this version stands at a path. Raises RegistryError, RegistryUnavailable."""
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE))
        except OSError as error:
            raise RegistryUnavailable(f"registry {path}: cannot open: {error.strerror}") from None
    _check_mode(path)
    with translated(path):
        connection = connect(path)
        try:
            _prepare_tables(connection, path)
        finally:
            connection.close()


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from any thread under the caller's lock."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as the registry's: busy, full and unreadable are retriable, the rest is not."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise RegistryUnavailable(f"registry {path}: {error}") from None
    except sqlite3.DatabaseError as error:
        raise RegistryError(f"registry {path}: {error}") from None


def _check_mode(path: Path) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise RegistryUnavailable(f"registry {path}: cannot open: {error.strerror}") from None
    if mode & 0o077:
        raise RegistryError(
            f"registry {path}: it holds device keys; expected mode 0600, got {mode:04o} "
            f"(chmod 600 it, and rotate the keys if others may have read it)"
        )


def _prepare_tables(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        application_id: int = connection.execute("PRAGMA application_id").fetchone()[0]
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if tables == 0:
            for statement in _DDL.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            version = 1
        elif application_id != APPLICATION_ID:
            raise RegistryError(f"registry {path}: expected a registry of Dipper, got another program's SQLite file")
        elif not 1 <= version <= SCHEMA_VERSION:
            raise RegistryError(f"registry {path}: expected schema version 1 to {SCHEMA_VERSION}, got {version}")
        for step in range(version + 1, SCHEMA_VERSION + 1):
            connection.execute(_STEPS[step])
            connection.execute(f"PRAGMA user_version={step}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
