"""Erasing a departed customer or device: nothing of theirs is left, everything of others is, and a record says so."""

import random
import re
from dataclasses import replace

import pytest

from contracts.errors import ContractError
from contracts.protocols import StoreUnavailable
from contracts.times import DAY_MS
from history import erasure
from history.erasure import OF, erase, erasures
from history.ledger import ledger
from history.maintenance import Retention, expire
from history.migrate import migrations
from history.objectives import record, versions
from history.sink import Sink, SinkSettings
from tests.history.builders import MINUTE, T0, random_fleet, send
from tests.history.sla_world import level
from tests.history.test_sla_causes import incident, store_incidents

PROMPT = SinkSettings(flush_every_ms=0, late_refresh_ms=0)
LATER = T0 + 9 * DAY_MS


@pytest.fixture
def old(store, log):
    """A fleet's six minutes, nine days later: slices are gone, sums and books are kept."""
    send(log, *random_fleet(random.Random(21)))
    sink = Sink(log, store, PROMPT)
    sink.drain(T0 + 10 * MINUTE)
    sink.close()
    record(store, [level(customer=name, name=f"{name}-x", service="video") for name in ("acme", "beta")], "ana", 0)
    shared = incident("inc-both")
    store_incidents(store, shared, replace(shared, id="inc-acme", customers=("acme",), series=shared.series[:1]))
    expire(store, LATER, Retention())
    return store


def holding(store, column, value):
    """Tables that hold a value in a column, of all tables there are."""
    tables = store.query(
        "SELECT table FROM system.columns WHERE database = currentDatabase() AND name = {c:String}", {"c": column}
    )["table"]
    tables = [t for t in tables if not t.endswith("_local")]
    count = "SELECT count() AS n FROM {} WHERE {} = {{v:String}}"
    return {t for t in tables if store.query(count.format(t, column), {"v": value})["n"][0]}


def test_nothing_of_a_customer_is_left_and_all_of_the_others(old):
    others = {t: old.query(f"SELECT count() AS n FROM {t} WHERE customer = 'beta'")["n"][0] for t in OF["customer"]}
    assert len(holding(old, "customer", "acme")) > 5
    done = erase(old, "customer", "acme", "ana", "contract ended", LATER)
    assert holding(old, "customer", "acme") == set()
    assert {t: old.query(f"SELECT count() AS n FROM {t} WHERE customer = 'beta'")["n"][0] for t in others} == others
    assert [v.level.customer for v in versions(old)] == ["beta"]
    assert old.query("SELECT id FROM incidents FINAL")["id"] == ["inc-both"]
    assert done.rows["minutes"] > 0
    assert erasures(old) == [done]


def test_erasing_again_erases_what_is_left_and_is_recorded(old):
    first = erase(old, "customer", "acme", "ana", "contract ended", LATER)
    again = erase(old, "customer", "acme", "ben", "to be sure", LATER + 1)
    assert (bool(first.rows), again.rows) == (True, {})
    assert [e.author for e in erasures(old)] == ["ana", "ben"]


def test_who_has_not_left_is_not_erased(store, log):
    send(log, *random_fleet(random.Random(21)))
    Sink(log, store, PROMPT).drain(T0 + 10 * MINUTE)
    with pytest.raises(ContractError, match="customer: expected a customer whose slices are gone"):
        erase(store, "customer", "acme", "ana", "left", LATER)
    assert erasures(store) == []


@pytest.mark.parametrize(
    ("kind", "identity", "reason", "message"),
    [
        ("town", "x", "left", "kind: expected one of customer, device, got 'town'"),
        ("customer", "x' OR 1=1", "left", "customer: expected 1 to 64"),
        ("device", "(erased-1)", "left", "device: expected 1 to 64"),
        ("customer", "x", " ", "reason: expected 1 to 500 printable characters"),
    ],
)
def test_wrong_input_is_named(store, kind, identity, reason, message):
    with pytest.raises(ContractError, match=re.escape(message)):
        erase(store, kind, identity, "ana", reason, LATER)


def a_device(store):
    """One that has books of all kinds."""
    return store.query("SELECT device FROM reports WHERE requests > 0 ORDER BY device LIMIT 1")["device"][0]


def test_a_device_goes_and_the_books_of_all_still_add_up(old):
    device, before = a_device(old), ledger(old, LATER)
    kept = incident("inc-boxes")
    store_incidents(old, replace(kept, devices=(device, f"{device}0"), reason=f"{device} and {device}0 fell silent"))
    done = erase(old, "device", device, "ana", "owner asked", LATER)
    assert holding(old, "device", device) == set()
    after = ledger(old, LATER)
    assert (after.requests, after.slices, after.balanced) == (before.requests, before.slices, before.balanced)
    mine = [boot for boot in before.boots if boot.device == device]
    assert mine
    renamed = [boot for boot in after.boots if boot.device.startswith("(erased-")]
    assert [replace(boot, device=device) for boot in renamed] == mine
    (document,) = old.query("SELECT document FROM incidents WHERE id = 'inc-boxes'")["document"]
    assert re.search(rf'"{device}"|{device} ', document) is None
    assert f"{device}0" in document
    assert done.rows["reports"] > 0
    assert erasures(old) == [done]
    assert renamed[0].device not in str(done)


@pytest.mark.parametrize("emptied", [0, len(OF["device"]) - 1])
def test_a_device_that_was_half_erased_is_erased_under_the_same_pseudonym(old, monkeypatch, emptied):
    device, before = a_device(old), ledger(old, LATER)
    whole = erasure._erased
    tables = []

    def crash(store, table, *rest):
        if len(tables) == emptied:
            raise StoreUnavailable("the server went away")
        tables.append(table)
        return whole(store, table, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(erasure, "_erased", crash)
        with pytest.raises(StoreUnavailable):
            erase(old, "device", device, "ana", "owner asked", LATER)
    assert erasures(old) == []
    erase(old, "device", device, "ana", "owner asked", LATER)
    after = ledger(old, LATER)
    assert (after.requests, after.slices, after.balanced) == (before.requests, before.slices, before.balanced)
    assert len({boot.device for boot in after.boots}) == len({boot.device for boot in before.boots})
    assert holding(old, "device", device) == set()


def test_a_device_that_was_heard_lately_is_not_erased(old):
    with pytest.raises(ContractError, match="device: expected a device not heard for 8 days"):
        erase(old, "device", a_device(old), "ana", "owner asked", T0 + 8 * DAY_MS)


def test_every_table_with_such_a_column_is_erased_from():
    for kind, tables in OF.items():
        named = {m.name for m in migrations() if re.search(rf"^    {kind} ", m.sql, re.MULTILINE)}
        assert named - {"slices"} == set(tables)
