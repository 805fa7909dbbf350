"""From the topic of incidents to real receivers: nothing lost, nothing told twice, over failures and kills."""

import json
import random
import threading
import time

import pytest

from contracts.times import HOUR_MS
from dipper.notify.keep import FILE, Keep, KeepError, stored
from dipper.notify.notifier import Notifier
from dipper.notify.send import deliver
from dipper.notify.settings import NotifySettings
from dipper.notify.status import readings, status_of, trouble
from tests.dipper.notify.builders import (
    MINUTE,
    SECRET,
    T0,
    ended,
    grown,
    incident,
    listening,
    muted,
    receiver,
    unmuted,
    write,
)
from tests.history.builders import MemoryLog

DEADLINE_S = 20.0


class World:
    """A log, a folder, a clock."""

    def __init__(self, folder):
        self.log, self.path, self.now = MemoryLog(partitions=1), folder / FILE, T0

    def notifier(self, *receivers, send=deliver, sha256="one", **fields):
        settings = NotifySettings(receivers, sha256=sha256, timeout_s=5.0, **fields)
        return Notifier(self.log, self.path, settings, lambda: self.now, lambda: T0, random.Random(7), send)

    def run(self, notifier, condition):
        """Step until a condition holds; the clock goes on a second a step, so that back-offs pass."""
        end = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < end, notifier.status()
            notifier.step(0.05)
            self.now += 1_000

    def settle(self, notifier):
        """Until nothing is waiting."""
        notifier.step(0.0)
        self.run(notifier, lambda: all(not row["waiting"] for row in notifier.status()["receivers"].values()))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_transitions_reach_a_receiver_in_their_order_signed(world):
    with listening() as there:
        notifier = world.notifier(receiver(there.url, secret=SECRET))
        known = incident(level="medium")
        for change in (
            lambda i: i,
            lambda i: grown(i, "critical"),
            lambda i: muted(i, world.now, world.now + HOUR_MS),
            lambda i: unmuted(i, world.now),
            lambda i: ended(i, world.now),
        ):
            known = change(known)
            write(world.log, known)
            world.settle(notifier)
        notifier.close()
        assert [e for e, _, _ in there.events()] == ["opened", "grown", "muted", "unmuted", "resolved"]
        assert all("dipper-signature" in got.headers for got in there.got)
        assert len(set(there.keys)) == len(there.keys) == 5


def test_a_receiver_that_is_away_for_long_hears_each_thing_once_when_it_is_back(world):
    with listening() as there:
        there.answers = [(503, {}, b"")] * 6
        notifier = world.notifier(receiver(there.url))
        write(world.log, incident())
        world.run(notifier, lambda: len(there.got) >= 2)
        write(world.log, grown(incident(), "critical"))
        write(world.log, ended(grown(incident(), "critical"), world.now))
        world.settle(notifier)
        notifier.close()
        assert there.events() == [("opened", "inc-1", "open"), ("resolved", "inc-1", "resolved")]
        assert len(there.got) == 8
        assert len(set(there.keys)) == 2
        status = notifier.status()["receivers"]["ops"]
        assert (status["sent"], status["failed"], status["waiting"], status["given_up"]) == (2, 6, 0, 0)


def test_a_slow_receiver_holds_up_itself_only(world):
    gate = threading.Event()
    with listening() as slow, listening() as quick:
        slow.answers = [
            (0, {}, lambda handler: (gate.wait(DEADLINE_S), handler.send_response(200), handler.end_headers()))
        ]
        notifier = world.notifier(receiver(slow.url, name="slow"), receiver(quick.url, name="quick"))
        for n in range(3):
            write(world.log, incident(f"inc-{n}"))
            world.run(notifier, lambda n=n: len(quick.events()) == n + 1)
        assert len(slow.got) == 1
        gate.set()
        world.settle(notifier)
        notifier.close()
        assert sorted(i for _, i, _ in slow.events()) == ["inc-0", "inc-1", "inc-2"]


def test_a_kill_between_delivery_and_its_note_repeats_the_message_under_its_key(world):
    """The file as it was before the answer was noted is what a kill leaves."""
    with listening() as there:
        first = world.notifier(receiver(there.url))
        write(world.log, incident())
        first.step(0.0)  # stored, then sent
        with there.arrived:
            assert there.arrived.wait_for(lambda: there.got, DEADLINE_S)
        left = world.path.parent / "left.sqlite"
        copy_of(world.path, left)
        first.close()
        world.path.unlink()
        left.rename(world.path)
        second = world.notifier(receiver(there.url))
        world.settle(second)
        write(world.log, ended(incident(), world.now))
        world.settle(second)
        second.close()
        assert there.keys[0] == there.keys[1]
        assert there.got[0].body == there.got[1].body
        assert there.events() == [("opened", "inc-1", "open"), ("resolved", "inc-1", "resolved")]


def copy_of(path, into):
    import sqlite3

    with sqlite3.connect(path) as source, sqlite3.connect(into) as target:
        source.backup(target)
    source.close()
    target.close()


def test_after_a_restart_it_goes_on_where_it_was(world):
    with listening() as there:
        for version in (incident(), incident(), ended(incident(), T0)):
            notifier = world.notifier(receiver(there.url))
            write(world.log, version)
            world.settle(notifier)
            notifier.close()
        assert there.events() == [("opened", "inc-1", "open"), ("resolved", "inc-1", "resolved")]
        assert len(there.got) == 2


def test_what_happened_while_it_was_down_is_told_as_it_is_now(world):
    with listening() as there:
        write(world.log, incident("inc-over"), ended(incident("inc-over"), T0), incident("inc-on"))
        write(world.log, grown(incident("inc-on"), "critical"))
        notifier = world.notifier(receiver(there.url))
        world.settle(notifier)
        notifier.close()
        assert there.events() == [("opened", "inc-on", "open")]
        assert there.got[0].json["events"][0]["incident"]["severity"]["level"] == "critical"


def test_a_new_receiver_hears_of_what_goes_on_and_the_old_one_not_again(world):
    with listening() as old, listening() as new:
        notifier = world.notifier(receiver(old.url))
        write(world.log, incident())
        world.settle(notifier)
        notifier.close()
        notifier = world.notifier(receiver(old.url), receiver(new.url, name="new"), sha256="two")
        world.settle(notifier)
        notifier.close()
        assert [len(there.events()) for there in (old, new)] == [1, 1]


def test_a_record_nobody_can_read_is_counted_and_the_next_is_told(world):
    from contracts.protocols import Record
    from contracts.topics import INCIDENTS

    with listening() as there:
        world.log.submit([Record(INCIDENTS.name, b"x", b"{not json", T0, 0)])
        write(world.log, incident())
        notifier = world.notifier(receiver(there.url))
        world.settle(notifier)
        assert notifier.status()["poison"] == 1
        notifier.close()
        assert len(there.events()) == 1


def test_a_customer_is_told_of_its_own_by_its_own_receiver_over_the_wire(world):
    with listening() as acme, listening() as beta:
        own = {"group_by": "incident", "secret": SECRET}
        notifier = world.notifier(
            receiver(acme.url, name="customer:acme", customer="acme", customers=("acme",), **own),
            receiver(beta.url, name="customer:beta", customer="beta", customers=("beta",), **own),
        )
        write(world.log, incident("inc-1", customers=("acme",)), incident("inc-2", customers=("beta",)))
        write(world.log, incident("inc-3", customers=("acme", "beta")))
        world.settle(notifier)
        notifier.close()
        assert {g.json["events"][0]["incident"]["id"] for g in acme.got} == {"inc-1", "inc-3"}
        everything = b"".join(g.body + json.dumps(g.headers).encode() for g in acme.got)
        assert b"beta" not in everything


def test_what_is_stored_can_be_read_while_it_runs_and_says_what_waits(world):
    with listening() as there:
        there.answers = [(500, {}, b"out of order")] * 100
        notifier = world.notifier(receiver(there.url))
        write(world.log, incident())
        world.run(notifier, lambda: notifier.status()["receivers"]["ops"]["failed"] >= 2)
        told = status_of(stored(world.path))
        row = told["receivers"]["ops"]
        assert (row["waiting"], row["waiting_since"], row["open"]) == (1, T0, 1)
        assert "out of order" in row["last_error"]
        assert trouble(told, T0 + MINUTE) == []
        assert trouble(told, T0 + 10 * MINUTE)[0].startswith("ops: 1 messages wait, the oldest for 10 min: http")
        found = {(name, labels): value for name, labels, value in readings(told, T0 + MINUTE)}
        assert found["dipper_notify_waiting", ("ops",)] == 1
        assert found["dipper_notify_waiting_seconds", ("ops",)] == 60.0
        notifier.close()


def test_a_file_nobody_can_read_is_refused_by_name(tmp_path):
    path = tmp_path / FILE
    path.write_bytes(b"not a database, whatever it is called" * 100)
    with pytest.raises(KeepError, match=r"notify\.sqlite: file is not a database"):
        Keep(path)
    keep = Keep(tmp_path / "newer.sqlite")
    keep._db.execute("REPLACE INTO meta VALUES ('version', '99')")
    keep.close()
    with pytest.raises(KeepError, match="a newer Dipper wrote it"):
        Keep(tmp_path / "newer.sqlite")


def test_waiting_for_an_answer_costs_no_processor(world):
    gate = threading.Event()
    with listening() as slow:
        slow.answers = [
            (0, {}, lambda handler: (gate.wait(DEADLINE_S), handler.send_response(200), handler.end_headers()))
        ]
        notifier = world.notifier(receiver(slow.url))
        write(world.log, incident())
        world.run(notifier, lambda: slow.got)
        began = time.monotonic()
        for _ in range(4):
            notifier.step(0.05)
        assert time.monotonic() - began > 0.15
        gate.set()
        world.settle(notifier)
        notifier.close()
