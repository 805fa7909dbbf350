"""Enrolment, rotation, revocation, operators' tokens; what is on disk."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from contracts.errors import ContractError
from contracts.protocols import DeviceKey
from ingest.registry import NotFound, SqliteRegistry
from tests.ingest.registry.builders import NOW, make_attributes

HOUR = 3_600_000


def refused(registry: SqliteRegistry, device: str, token: str, now: int = NOW) -> ContractError:
    with pytest.raises(ContractError) as caught:
        registry.enroll(device, token, now)
    assert token not in str(caught.value)
    return caught.value


@pytest.fixture
def with_box(registry: SqliteRegistry) -> SqliteRegistry:
    registry.add_device("box-1", make_attributes(), NOW)
    return registry


def test_a_token_makes_one_key(with_box: SqliteRegistry) -> None:
    token = with_box.issue_token("box-1", NOW, NOW + HOUR)
    key = with_box.enroll("box-1", token, NOW + 1)
    assert list(with_box.keys("box-1")) == [key]
    assert len(key.secret) == 32
    assert key.secret.hex() not in repr(key.key_id)
    error = refused(with_box, "box-1", token)
    assert error.reason == "bad_token"
    assert "already used" in error.got
    assert list(with_box.keys("box-1")) == [key]


def test_unknown_expired_and_foreign_tokens_are_refused(with_box: SqliteRegistry) -> None:
    with_box.add_device("box-2", make_attributes(), NOW)
    token = with_box.issue_token("box-1", NOW, NOW + HOUR)
    assert "never issued" in refused(with_box, "box-1", "dpe_guess").got
    assert "never issued" in refused(with_box, "box-1", "\udcff").got
    assert "another device" in refused(with_box, "box-2", token).got
    assert "expired" in refused(with_box, "box-1", token, NOW + HOUR).got
    assert with_box.enroll("box-1", token, NOW + HOUR - 1)


def test_a_refused_token_is_not_used_up(with_box: SqliteRegistry) -> None:
    with_box.add_device("box-2", make_attributes(), NOW)
    token = with_box.issue_token("box-1", NOW, NOW + HOUR)
    refused(with_box, "box-2", token)
    assert list(with_box.keys("box-1")) == []
    assert with_box.enroll("box-1", token, NOW) in with_box.keys("box-1")


def test_enrolling_again_replaces_the_key(with_box: SqliteRegistry) -> None:
    old = with_box.enroll("box-1", with_box.issue_token("box-1", NOW, NOW + HOUR), NOW)
    new = with_box.enroll("box-1", with_box.issue_token("box-1", NOW, NOW + HOUR), NOW)
    assert old != new
    assert list(with_box.keys("box-1")) == [new]


def test_an_open_token_registers_a_new_device_with_unknown_attributes(registry: SqliteRegistry) -> None:
    key = registry.enroll("fresh", registry.issue_token(None, NOW, NOW + HOUR), NOW)
    found = registry.attributes("fresh", NOW)
    assert list(registry.keys("fresh")) == [key]
    assert found is not None
    assert (found.device_isp, found.device_region, found.nat_type, found.cohort) == ("unknown",) * 4


def test_an_open_token_never_takes_over_an_id_in_use(with_box: SqliteRegistry) -> None:
    key = with_box.enroll("box-1", with_box.issue_token(None, NOW, NOW + HOUR), NOW)
    open_token = with_box.issue_token(None, NOW, NOW + HOUR)
    assert "new devices only" in refused(with_box, "box-1", open_token).got
    assert list(with_box.keys("box-1")) == [key]
    with_box.revoke("box-1", NOW)
    assert "new devices only" in refused(with_box, "box-1", open_token).got
    assert list(with_box.keys("box-1")) == []


def test_a_bad_device_id_does_not_enrol(registry: SqliteRegistry) -> None:
    token = registry.issue_token(None, NOW, NOW + HOUR)
    assert refused(registry, "no spaces", token).reason == "bad_id"
    assert registry.device_ids() == []


def test_two_threads_cannot_both_use_a_token(sqlite_registry: SqliteRegistry) -> None:
    with_box = sqlite_registry
    with_box.add_device("box-1", make_attributes(), NOW)
    token = with_box.issue_token("box-1", NOW, NOW + HOUR)
    keys: list[DeviceKey] = []
    errors: list[ContractError] = []
    gate = threading.Barrier(4)

    def use() -> None:
        with SqliteRegistry(with_box.path) as mine:
            gate.wait(timeout=20)
            try:
                keys.append(mine.enroll("box-1", token, NOW))
            except ContractError as error:
                errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(keys) == 1
    assert len(errors) == 3
    assert list(with_box.keys("box-1")) == keys


def test_tokens_need_a_known_device_and_a_time_ahead(registry: SqliteRegistry) -> None:
    with pytest.raises(NotFound, match="ghost"):
        registry.issue_token("ghost", NOW, NOW + 1)
    with pytest.raises(ContractError, match="expires_at"):
        registry.issue_token(None, NOW, NOW)


def test_rotation_accepts_the_old_key_until_the_overlap_ends(tmp_path: Path) -> None:
    now = NOW
    with SqliteRegistry(tmp_path / "r.sqlite", clock=lambda: now) as registry:
        registry.add_device("box-1", make_attributes(), NOW)
        old = registry.add_key("box-1", NOW)
        new = registry.rotate("box-1", NOW, overlap_ms=1000)
        assert list(registry.keys("box-1")) == [new, old]
        now = NOW + 999
        assert list(registry.keys("box-1")) == [new, old]
        now = NOW + 1000
        assert list(registry.keys("box-1")) == [new]


def test_a_second_rotation_does_not_lengthen_the_first_overlap(tmp_path: Path) -> None:
    now = NOW
    with SqliteRegistry(tmp_path / "r.sqlite", clock=lambda: now) as registry:
        registry.add_device("box-1", make_attributes(), NOW)
        registry.add_key("box-1", NOW)
        second = registry.rotate("box-1", NOW, overlap_ms=1000)
        third = registry.rotate("box-1", NOW + 500, overlap_ms=1000)
        now = NOW + 1000
        assert list(registry.keys("box-1")) == [third, second]
        now = NOW + 1500
        assert list(registry.keys("box-1")) == [third]


def test_rotation_without_overlap_ends_the_old_key_now(with_box: SqliteRegistry) -> None:
    with_box.add_key("box-1", NOW)
    new = with_box.rotate("box-1", NOW, overlap_ms=0)
    assert list(with_box.keys("box-1")) == [new]


def test_revocation_ends_keys_and_open_tokens_and_a_new_token_lifts_it(with_box: SqliteRegistry) -> None:
    with_box.add_key("box-1", NOW)
    token = with_box.issue_token("box-1", NOW, NOW + HOUR)
    with_box.revoke("box-1", NOW + 7)
    assert list(with_box.keys("box-1")) == []
    assert "cancelled" in refused(with_box, "box-1", token).got
    with pytest.raises(ContractError, match="revoked"):
        with_box.add_key("box-1", NOW)
    with pytest.raises(ContractError, match="revoked"):
        with_box.rotate("box-1", NOW)
    info = with_box.device("box-1")
    assert info is not None
    assert info.revoked_at == NOW + 7
    key = with_box.enroll("box-1", with_box.issue_token("box-1", NOW, NOW + HOUR), NOW + 8)
    assert list(with_box.keys("box-1")) == [key]


@pytest.mark.parametrize("verb", ["revoke", "rotate", "add_key"])
def test_unknown_devices_are_named(registry: SqliteRegistry, verb: str) -> None:
    with pytest.raises(NotFound, match="ghost"):
        getattr(registry, verb)("ghost", NOW)


def test_api_tokens_are_accepted_for_their_scopes_only(registry: SqliteRegistry) -> None:
    reader = registry.add_api_token("scheduler", ["feed:read"], NOW)
    writer = registry.add_api_token("ci", ["changes:write", "customer:acme"], NOW)
    assert registry.check_api_token(reader, "feed:read") == "scheduler"
    assert registry.check_api_token(reader, "changes:write") is None
    assert registry.check_api_token(writer, "customer:acme") == "ci"
    assert registry.check_api_token(writer, "customer:other") is None
    assert registry.check_api_token(reader[:-1], "feed:read") is None
    assert registry.check_api_token("", "feed:read") is None
    assert registry.check_api_token("\udcff", "feed:read") is None


def test_a_revoked_api_token_is_refused_and_its_name_stays_taken(registry: SqliteRegistry) -> None:
    token = registry.add_api_token("ci", ["changes:write"], NOW)
    registry.revoke_api_token("ci", NOW + 1)
    registry.revoke_api_token("ci", NOW + 2)
    assert registry.check_api_token(token, "changes:write") is None
    assert [(t.name, t.revoked_at) for t in registry.api_tokens()] == [("ci", NOW + 1)]
    with pytest.raises(ContractError, match="name"):
        registry.add_api_token("ci", ["changes:write"], NOW)
    with pytest.raises(NotFound, match="ghost"):
        registry.revoke_api_token("ghost", NOW)


@pytest.mark.parametrize("scopes", [[], ["everything"], ["customer:"], ["customer:a b"]])
def test_unknown_scopes_are_refused(registry: SqliteRegistry, scopes: list[str]) -> None:
    with pytest.raises(ContractError, match="scope"):
        registry.add_api_token("ci", scopes, NOW)


def test_no_token_and_no_revoked_secret_stands_in_the_files(with_box: SqliteRegistry) -> None:
    enrolment = with_box.issue_token("box-1", NOW, NOW + HOUR)
    api = with_box.add_api_token("ci", ["changes:write"], NOW)
    key = with_box.enroll("box-1", enrolment, NOW)

    def on_disk() -> bytes:
        return b"".join(p.read_bytes() for p in with_box.path.parent.iterdir())

    assert enrolment.encode() not in on_disk()
    assert api.encode() not in on_disk()
    assert key.secret in on_disk(), "the file holds the secret in clear: see README, what the file protects"
    with_box.revoke("box-1", NOW)
    with_box.close()
    assert key.secret not in on_disk()
