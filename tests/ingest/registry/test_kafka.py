"""The registry on a compacted topic: one writer at a time, replicas that follow, and what happens when things break."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import KafkaProducer

from contracts.entities import SchedulingRule
from contracts.errors import ContractError
from contracts.kafka import KafkaSettings, client_options
from contracts.protocols import DeviceKey
from ingest.registry import RegistryError, RegistryUnavailable, SqliteRegistry, entities
from ingest.registry.kafka import KafkaRegistry
from ingest.registry.topic import Unsettled, Writer
from tests.ingest.registry.builders import NOW, make_attributes, make_customer
from tests.ingest.registry.conftest import OpenKafka, make_topic
from tests.services.kafka import Broker

HOUR = 3_600_000
NOWHERE = KafkaSettings(("127.0.0.1:9",))  # the discard port: nobody listens
RULE = SchedulingRule("near", 3, "Nearest box first", "traffic team", NOW)


def wait_for(condition: Callable[[], bool], deadline_s: float = 20.0) -> None:
    """Fail unless something becomes true before a deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        threading.Event().wait(0.005)


def content(registry: SqliteRegistry) -> dict[str, Any]:
    """Every entity by name, as the topic would hold it."""
    return registry._read(lambda c: {name: entities.document(c, name) for name in entities.everything(c)})


def fill(registry: SqliteRegistry) -> DeviceKey:
    """One of each kind; returns the key of box-1."""
    registry.add_device("box-1", make_attributes(), NOW)
    registry.set_attributes("box-1", make_attributes(valid_from=NOW + 5, cohort="canary"), NOW)
    registry.add_key("box-1", NOW)
    registry.issue_token(None, NOW, NOW + HOUR)
    registry.add_customer(make_customer())
    registry.add_rule(RULE)
    registry.add_api_token("ci", ["changes:write", "customer:acme"], NOW)
    registry.add_account("ana", "customer", "correct horse battery", NOW, customer="acme")
    return registry.rotate("box-1", NOW)


def produce(broker: Broker, registry: KafkaRegistry, *records: tuple[str, bytes | None]) -> None:
    """Put records on a registry's topic as somebody else."""
    producer = KafkaProducer(**client_options(broker.settings))
    for key, value in records:
        producer.send(registry._topic, value, key=key.encode()).get(20)
    producer.close()


def test_what_one_process_writes_the_others_know_in_a_moment(open_kafka: OpenKafka) -> None:
    writing, reading = open_kafka("a"), open_kafka("b")
    key = fill(writing)
    wait_for(lambda: content(reading) == content(writing))
    # Look-ups follow the file a moment later: one never waits for another that reads it anew.
    wait_for(
        lambda: (
            (reading.keys("box-1"), reading.rules(), reading.customers())
            == (writing.keys("box-1"), writing.rules(), writing.customers())
        )
    )
    assert reading.keys("box-1")[0] == key
    assert reading.attributes("box-1", NOW + 5) == make_attributes(valid_from=NOW + 5, cohort="canary")
    assert reading.rules() == (RULE,)
    assert reading.customer("acme") == make_customer()
    writing.revoke("box-1", NOW + 9)
    wait_for(lambda: list(reading.keys("box-1")) == [])


def enroll_at_once(gateways: list[KafkaRegistry], token: str) -> tuple[list[DeviceKey], list[str]]:
    """Each gateway gets the same token in a thread of its own; returns keys and reasons of refusals."""
    keys: list[DeviceKey] = []
    refused: list[str] = []
    gate = threading.Barrier(len(gateways))

    def use(gateway: KafkaRegistry) -> None:
        gate.wait(timeout=20)
        try:
            keys.append(gateway.enroll("box-1", token, NOW))
        except ContractError as error:
            refused.append(error.reason)

    run_all(use, gateways)
    return keys, refused


def run_all(call: Callable[[KafkaRegistry], None], registries: list[KafkaRegistry]) -> None:
    threads = [threading.Thread(target=call, args=(registry,)) for registry in registries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)


def test_a_token_is_used_once_though_two_gateways_get_it_at_the_same_moment(open_kafka: OpenKafka) -> None:
    one, two = open_kafka("a"), open_kafka("b")
    one.add_device("box-1", make_attributes(), NOW)
    for _ in range(3):
        token = one.issue_token("box-1", NOW, NOW + HOUR)
        keys, refused = enroll_at_once([one, two, one, two], token)
        assert len(keys) == 1
        assert refused == ["bad_token"] * 3
        wait_for(lambda expected=keys: list(one.keys("box-1")) == list(two.keys("box-1")) == expected)


def test_writers_that_take_turns_lose_nothing(open_kafka: OpenKafka) -> None:
    registries = [open_kafka(name) for name in "abc"]
    failed: list[BaseException] = []

    def write(registry: KafkaRegistry) -> None:
        try:
            for i in range(5):
                registry.add_device(f"box-{registries.index(registry)}-{i}", make_attributes(), NOW)
        except BaseException as error:
            failed.append(error)

    run_all(write, registries)
    assert not failed
    expected = sorted(f"box-{n}-{i}" for n in range(3) for i in range(5))
    wait_for(lambda: all(sorted(registry.device_ids()) == expected for registry in registries))


def test_a_write_that_was_overtaken_runs_again_on_what_the_other_wrote(open_kafka: OpenKafka) -> None:
    slow, fast = open_kafka("a"), open_kafka("b")
    slow.add_device("box-0", make_attributes(), NOW)
    seen: list[list[str]] = []

    def body(c: Any, version: int) -> str:
        seen.append([d for (d,) in c.execute("SELECT device FROM devices ORDER BY device")])
        if len(seen) == 1:
            fast.add_device("box-1", make_attributes(), NOW)
        c.execute("UPDATE devices SET revoked_at = ?, changed = ? WHERE device = 'box-0'", (len(seen), version))
        return f"run {len(seen)}"

    assert slow._write(body) == "run 2"
    assert seen == [["box-0"], ["box-0", "box-1"]]
    wait_for(lambda: content(fast) == content(slow))
    found = fast.device("box-0")
    assert found is not None
    assert found.revoked_at == 2


@pytest.mark.parametrize("stored", [True, False], ids=["answer lost", "request lost"])
def test_a_commit_without_answer_counts_once(
    open_kafka: OpenKafka, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    registry, other = open_kafka("a"), open_kafka("b")
    registry.add_device("box-1", make_attributes(), NOW)
    token = registry.issue_token("box-1", NOW, NOW + HOUR)
    commit, calls = Writer._commit, []

    def lose(writer: Writer) -> None:
        calls.append(writer)
        if len(calls) > 1 or stored:
            commit(writer)
        if len(calls) == 1:
            raise Unsettled("no answer")

    monkeypatch.setattr(Writer, "_commit", lose)
    key = registry.enroll("box-1", token, NOW)
    assert len(calls) == (1 if stored else 2)
    assert list(registry.keys("box-1")) == [key]
    wait_for(lambda: list(other.keys("box-1")) == [key])
    assert content(other) == content(registry)


def test_a_lost_replica_is_built_again_and_a_kept_one_reads_the_tail(
    open_kafka: OpenKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, kept = open_kafka("a"), open_kafka("b")
    fill(first)
    wait_for(lambda: content(kept) == content(first))
    kept.close()
    first.add_customer(make_customer("later"))
    applied: list[str] = []
    apply = entities.apply
    monkeypatch.setattr(entities, "apply", lambda c, name, *rest: (applied.append(name), apply(c, name, *rest)))
    again = open_kafka("b")
    assert applied == ["customer/later"]
    assert content(again) == content(first)
    anew = open_kafka("c")
    assert content(anew) == content(first)
    assert anew.keys("box-1") == first.keys("box-1")


def test_a_fleet_in_one_write_spans_batches_and_is_all_or_nothing(open_kafka: OpenKafka) -> None:
    registry, other = open_kafka("a"), open_kafka("b")
    fleet = [(f"box-{i:05d}", make_attributes(device_region=f"r{i % 31}")) for i in range(3_000)]
    with pytest.raises(ContractError, match="capacity_mbps"):
        registry.bulk_add_devices([*fleet, ("bad", make_attributes(capacity_mbps=-1.0))], NOW)
    assert registry.device_ids() == []
    keys = registry.bulk_add_devices(fleet, NOW)
    wait_for(lambda: len(other.device_ids()) == len(fleet))
    for device, attributes in fleet[::97]:
        assert other.attributes(device, NOW) == attributes
        assert list(other.keys(device)) == [keys[device]]


def test_without_kafka_look_ups_go_on_and_writes_come_later(open_kafka: OpenKafka) -> None:
    registry = open_kafka("a")
    key = fill(registry)
    registry.close()
    options = {"topic": registry._topic, "answer_s": 0.3, "write_s": 0.5, "clock": lambda: NOW}
    with KafkaRegistry(NOWHERE, registry.path, **options) as cut_off:  # type: ignore[arg-type]
        assert cut_off.keys("box-1")[0] == key
        assert cut_off.customer("acme") == make_customer()
        assert cut_off.status()["error"]
        with pytest.raises(RegistryUnavailable, match="later"):
            cut_off.revoke("box-1", NOW)
        assert cut_off.keys("box-1")[0] == key


def test_a_replica_that_never_was_complete_does_not_open_without_kafka(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnavailable, match="not complete"):
        KafkaRegistry(NOWHERE, tmp_path / "r.sqlite", answer_s=0.3)


def test_garbage_on_the_topic_is_skipped_and_said(
    open_kafka: OpenKafka, kafka: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    registry = open_kafka("a")
    garbage = [
        ("device/x", b"not json"),
        ("device/x", b'{"v": 1}'),
        ("device/x", b'{"v": 1, "created_at": "soon", "revoked_at": null, "attributes": [], "keys": []}'),
        ("nonsense", b'{"v": 1}'),
        ("rule/near", b'{"v": 1, "name": "n", "owner": "o", "valid_from": 1}'),
        ("token/e-1", b'{"v": 1, "hash": "zz"}'),
        ("customer/c", b"[1]"),
        ("customer/c", b"[" * 50_000),
    ]
    produce(kafka, registry, *garbage, ("customer/acme", b'{"v":1,"name":"A","timezone":"UTC","objectives":[]}'))
    wait_for(lambda: registry.customer("acme") is not None)
    assert list(content(registry)) == ["customer/acme"]
    assert sum("skipped" in r.getMessage() for r in caplog.records) == len(garbage)
    registry.add_device("box-1", make_attributes(), NOW)


def test_a_record_without_value_removes_the_entity(open_kafka: OpenKafka, kafka: Broker) -> None:
    registry = open_kafka("a")
    fill(registry)
    names = list(content(registry))
    kinds = {"device", "customer", "rule", "token", "api-token", "account"}
    assert {name.partition("/")[0] for name in names} == kinds
    produce(kafka, registry, *((name, None) for name in names))
    wait_for(lambda: not content(registry))
    assert registry.device_ids() == []
    assert list(registry.keys("box-1")) == []
    assert registry.customers() == ()
    assert registry.rules() == ()


def test_a_record_of_a_newer_program_stops_following_until_the_update(open_kafka: OpenKafka, kafka: Broker) -> None:
    registry = open_kafka("a")
    fill(registry)
    before = registry.status()["next_offset"]
    produce(kafka, registry, ("device/box-2", b'{"v": 2, "what": "ever"}'))
    wait_for(lambda: "update" in registry.status()["error"])
    assert registry.keys("box-1")
    with pytest.raises(RegistryUnavailable, match="format 2"):
        registry.revoke("box-1", NOW)
    assert registry.status()["next_offset"] <= before + 1  # the marker of the last write may have been passed


def test_another_registry_is_taken_over_whole(open_kafka: OpenKafka, sqlite_registry: SqliteRegistry) -> None:
    key = fill(sqlite_registry)
    token = sqlite_registry.issue_token("box-1", NOW, NOW + HOUR)
    registry, other = open_kafka("a"), open_kafka("b")
    expected = {"device": 1, "customer": 1, "rule": 1, "token": 2, "api-token": 1, "account": 1}
    assert registry.copy_from(sqlite_registry) == expected
    assert content(registry) == content(sqlite_registry)
    assert registry.keys("box-1")[0] == key
    assert registry.copy_from(sqlite_registry) == dict.fromkeys(expected, 0)
    wait_for(lambda: content(other) == content(registry))
    assert other.enroll("box-1", token, NOW)
    registry.add_customer(replace(make_customer(), name="Renamed"), replace=True)
    with pytest.raises(ContractError, match="other content"):
        registry.copy_from(sqlite_registry)
    assert registry.copy_from(sqlite_registry, replace=True)["customer"] == 1
    assert registry.customer("acme") == make_customer()


def test_a_replica_of_another_topic_is_refused(open_kafka: OpenKafka, kafka: Broker, tmp_path: Path) -> None:
    registry = open_kafka("a")
    fill(registry)
    registry.close()
    with pytest.raises(RegistryError, match="delete this process's replica"):
        KafkaRegistry(kafka.settings, registry.path, topic=make_topic(kafka))


def test_replicas_and_registries_are_not_taken_for_each_other(
    open_kafka: OpenKafka, kafka: Broker, sqlite_registry: SqliteRegistry
) -> None:
    sqlite_registry.add_device("box-1", make_attributes(), NOW)
    with pytest.raises(RegistryError, match="of its own"):
        KafkaRegistry(kafka.settings, sqlite_registry.path, topic=open_kafka("a")._topic)
    with pytest.raises(RegistryError, match="replica"):
        SqliteRegistry(open_kafka("b").path)


def test_no_password_stands_in_messages(tmp_path: Path) -> None:
    guarded = replace(NOWHERE, security="SASL_PLAINTEXT", user="gateway", password="s3cret")
    with pytest.raises(RegistryUnavailable) as caught:
        KafkaRegistry(guarded, tmp_path / "r.sqlite", answer_s=0.3)
    assert "s3cret" not in str(caught.value)


# --- entities and records, without a broker ---

ids = st.sampled_from(["a", "b"])
writes = st.lists(
    st.one_of(
        st.tuples(st.just("device"), ids, st.integers(0, 5)),
        st.tuples(st.just("key"), ids, st.integers(0, 5)),
        st.tuples(st.just("rotate"), ids, st.integers(0, 5)),
        st.tuples(st.just("revoke"), ids, st.integers(0, 5)),
        st.tuples(st.just("token"), ids, st.integers(0, 5)),
        st.tuples(st.just("customer"), ids, st.integers(0, 5)),
        st.tuples(st.just("rule"), ids, st.integers(1, 5)),
        st.tuples(st.just("api-token"), ids, st.integers(0, 5)),
    ),
    max_size=12,
)


def do(registry: SqliteRegistry, what: str, name: str, number: int) -> None:
    """One write; refusals (unknown, revoked) are part of the game."""
    actions: dict[str, Callable[[], object]] = {
        "device": lambda: registry.upsert_devices([(name, make_attributes(valid_from=number))], number),
        "key": lambda: registry.add_key(name, number),
        "rotate": lambda: registry.rotate(name, number, number),
        "revoke": lambda: registry.revoke(name, number),
        "token": lambda: registry.enroll(name, registry.issue_token(name, number, number + 1), number),
        "customer": lambda: registry.add_customer(make_customer(name, name=f"N{number}"), replace=True),
        "rule": lambda: registry.add_rule(replace(RULE, id=name, version=number), replace=True),
        "api-token": lambda: registry.add_api_token(f"{name}{number}", ["feed:read"], number),
    }
    try:
        actions[what]()
    except (ContractError, RegistryError):
        return


@settings(max_examples=40)
@given(done=writes)
def test_touched_entities_in_order_make_an_equal_registry(
    tmp_path_factory: pytest.TempPathFactory, done: list[tuple[str, str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("r")
    clock = {"clock": lambda: 3, "check_every_s": 0.0}
    with SqliteRegistry(folder / "a", **clock) as first, SqliteRegistry(folder / "b", **clock) as second:
        entities.watch(first._writer)
        for write in done:
            do(first, *write)
            changes = [(name, entities.document(first._writer, name)) for name in entities.touched(first._writer)]
            second._write(
                lambda c, version, changes=changes: [entities.apply(c, *change, version) for change in changes],
                catalog_too=True,
            )
        assert content(second) == content(first)
        assert second.devices() == first.devices()
        assert [second.keys(d) for d in "ab"] == [first.keys(d) for d in "ab"]
        assert second.customers() == first.customers()
        assert second.rules() == first.rules()
        assert second.api_tokens() == first.api_tokens()


@settings(max_examples=60)
@given(
    name=st.sampled_from(["device/a", "customer/a", "rule/a/1", "rule/a", "token/a", "api-token/a", "x/a", ""]),
    value=st.one_of(
        st.binary(max_size=20),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from(["v", "created_at", "keys", "attributes", "hash", "name"]), inner)
            ),
        ).map(lambda found: json.dumps(found if not isinstance(found, dict) else {**found, "v": 1}).encode()),
    ),
)
def test_any_record_is_applied_or_refused_and_never_half(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: bytes
) -> None:
    with SqliteRegistry(tmp_path_factory.mktemp("r") / "r") as registry:
        fill(registry)
        before = content(registry)
        try:
            registry._write(lambda c, version: entities.apply(c, name, value, version))
        except RegistryError:
            assert content(registry) == before
