"""The file: its rights, its kind, what happens when it cannot be read."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from ingest.registry import RegistryError, RegistryUnavailable, SqliteRegistry
from tests.ingest.registry.builders import NOW, make_attributes


def test_only_the_owner_may_read_the_files(registry: SqliteRegistry) -> None:
    registry.add_device("box-1", make_attributes(), NOW)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in registry.path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert "registry.sqlite-wal" in modes


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "registry.sqlite"
    SqliteRegistry(path).close()
    path.chmod(mode)
    with pytest.raises(RegistryError, match="0600"):
        SqliteRegistry(path)


def test_a_missing_file_is_not_made_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "registry.sqlite"
    with pytest.raises(RegistryUnavailable, match=r"registry\.sqlite"):
        SqliteRegistry(path, create=False)
    assert not path.exists()


def test_other_files_are_not_taken_for_a_registry(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("hello " * 1000)
    text.chmod(0o600)
    with pytest.raises(RegistryError, match="not a database"):
        SqliteRegistry(text)
    other = tmp_path / "other.sqlite"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (x)")
    connection.commit()
    connection.close()
    other.chmod(0o600)
    with pytest.raises(RegistryError, match="another program"):
        SqliteRegistry(other)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "registry.sqlite"
    SqliteRegistry(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=3")
    connection.close()
    with pytest.raises(RegistryError, match="schema version 1 to 2, got 3"):
        SqliteRegistry(path)


def test_a_locked_file_is_unavailable_and_the_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.registry.schema.BUSY_TIMEOUT_S", 0.05)
    with SqliteRegistry(tmp_path / "registry.sqlite") as registry:
        blocker = sqlite3.connect(registry.path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(RegistryUnavailable, match="locked"):
            registry.add_device("box-1", make_attributes(), NOW)
        assert registry.device_ids() == []
        blocker.execute("ROLLBACK")
        blocker.close()
        registry.add_device("box-1", make_attributes(), NOW)
        assert registry.device_ids() == ["box-1"]
