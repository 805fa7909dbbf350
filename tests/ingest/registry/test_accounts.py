"""People's accounts: who gets in, with what, for how long; the same in a file and on the topic."""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ContractError
from ingest.registry import NotFound, SqliteRegistry, passwords
from ingest.registry.passwords import Cost, check_password, hashed, matches
from tests.ingest.registry.builders import NOW, make_customer
from tests.ingest.registry.conftest import OpenKafka

PASSWORD = "correct horse battery"
IN_USE = passwords.COST


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "COST", Cost(log2_n=4, r=8, p=1))


def test_a_hash_is_scrypt_with_its_cost_and_a_salt_of_its_own() -> None:
    """Against hashlib itself, and RFC 7914's second vector (N=1024, r=8, p=16, cut to 32 bytes)."""
    name, log2_n, r, p, salt, digest = hashed(PASSWORD).split("$")
    assert (name, log2_n, r, p) == ("scrypt", "4", "8", "1")
    again = hashlib.scrypt(PASSWORD.encode(), salt=base64.b64decode(salt), n=16, r=8, p=1, dklen=32)
    assert base64.b64decode(digest) == again
    assert hashed(PASSWORD) != hashed(PASSWORD)
    vector = "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
    stored = f"scrypt$10$8$16${base64.b64encode(b'NaCl').decode()}${base64.b64encode(bytes.fromhex(vector)).decode()}"
    assert matches("password", stored)
    assert not matches("passwore", stored)


def test_the_cost_in_use_takes_32_mib() -> None:
    assert 128 * IN_USE.r * 2**IN_USE.log2_n == 32 * 1024 * 1024


@given(st.text(max_size=120))
def test_no_text_is_taken_for_a_hash(text: str) -> None:
    assert not matches(PASSWORD, text)
    assert not matches(PASSWORD, f"scrypt$4$8$1${text}")


@pytest.mark.parametrize(
    ("password", "name"),
    [
        ("short", ""),
        ("a" * 300, ""),
        ("aaaaaaaaaaaaa", ""),
        ("ana.bell-ana.bell", "ana.bell"),
        ("tab\tin the middle", ""),
    ],
)
def test_a_weak_password_is_refused_without_being_quoted(password: str, name: str) -> None:
    with pytest.raises(ContractError) as caught:
        check_password(password, name)
    assert caught.value.reason == "bad_password"
    assert password not in str(caught.value)


def test_an_account_lets_in_with_its_password_only(registry: SqliteRegistry) -> None:
    registry.add_account("ana", "operator", PASSWORD, NOW)
    account = registry.check_password("ana", PASSWORD)
    assert account is not None
    assert (account.name, account.role, account.customer, account.open) == ("ana", "operator", "", True)
    for name, password in (("ana", "correct horse batterz"), ("ana", ""), ("Ana", PASSWORD), ("bo", PASSWORD)):
        assert registry.check_password(name, password) is None


def test_password_role_and_state_change_the_stamp_that_sessions_carry(registry: SqliteRegistry) -> None:
    registry.add_customer(make_customer("acme"))
    registry.add_account("ana", "viewer", PASSWORD, NOW)
    stamps = [_stamp(registry)]
    registry.set_password("ana", "another long password")
    stamps.append(_stamp(registry))
    assert registry.check_password("ana", PASSWORD) is None
    assert registry.check_password("ana", "another long password") is not None
    registry.set_role("ana", "customer", customer="acme")
    stamps.append(_stamp(registry))
    registry.disable_account("ana", NOW + 1)
    stamps.append(_stamp(registry))
    assert registry.check_password("ana", "another long password") is None
    registry.enable_account("ana")
    stamps.append(_stamp(registry))
    assert registry.check_password("ana", "another long password") is not None
    assert len(set(stamps)) == len(stamps)


def _stamp(registry: SqliteRegistry) -> str:
    account = registry.account("ana")
    assert account is not None
    return account.stamp


def test_a_removed_account_stays_closed_and_its_name_taken(registry: SqliteRegistry) -> None:
    registry.add_account("ana", "admin", PASSWORD, NOW)
    registry.remove_account("ana", NOW + 5)
    assert registry.check_password("ana", PASSWORD) is None
    assert [(a.name, a.removed_at) for a in registry.accounts()] == [("ana", NOW + 5)]
    with pytest.raises(ContractError, match="never taken"):
        registry.add_account("ana", "viewer", PASSWORD, NOW)
    for change in (registry.enable_account, lambda name: registry.remove_account(name, NOW)):
        with pytest.raises(NotFound, match="nobody is named 'ana'"):
            change("ana")


@pytest.mark.parametrize(
    ("role", "customer", "expected"),
    [
        ("root", "", "one of viewer, operator, admin, customer"),
        ("customer", "", "a customer's id for the role customer"),
        ("viewer", "acme", "a customer's id for the role customer"),
        ("customer", "nobody", "a registered customer"),
    ],
)
def test_a_role_is_known_and_a_customer_account_belongs_to_a_registered_customer(
    registry: SqliteRegistry, role: str, customer: str, expected: str
) -> None:
    registry.add_customer(make_customer("acme"))
    with pytest.raises(ContractError, match=expected):
        registry.add_account("ana", role, PASSWORD, NOW, customer=customer)
    assert registry.accounts() == []


def test_another_process_of_the_cluster_knows_of_a_change(open_kafka: OpenKafka) -> None:
    one, other = open_kafka("one"), open_kafka("other")
    one.add_account("ana", "viewer", PASSWORD, NOW)
    other.set_role("ana", "admin")  # a write reads what others wrote first
    account = other.check_password("ana", PASSWORD)
    assert account is not None
    assert account.role == "admin"


def test_a_file_from_before_there_were_accounts_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "registry.sqlite"
    with SqliteRegistry(path) as registry:
        registry.add_customer(make_customer("acme"))
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE accounts")
    connection.execute("PRAGMA user_version=1")
    connection.close()
    with SqliteRegistry(path, check_every_s=0.0) as registry:
        assert registry.accounts() == []
        assert registry.customer("acme") is not None
        registry.add_account("ana", "viewer", PASSWORD, NOW)
        assert registry.check_password("ana", PASSWORD) is not None
