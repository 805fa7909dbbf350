"""Who of several sinks works: decided by a consumer group of a real broker."""

import itertools
import threading
import time
import uuid

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import NewTopic

from contracts.kafka import client_options
from contracts.protocols import LogUnavailable
from dipper.seat import Seat
from tests.e2e.processes import until

SESSION_MS = 6_000  # the least that a broker takes


class Applicant:
    """A seat with a thread that keeps stepping it, and a count of who works at the same time."""

    names = itertools.count(1)

    def __init__(self, kafka, topic, *, monotonic=time.monotonic):
        self.released = 0
        self.errors = []
        self._stop = threading.Event()
        self.seat = Seat(
            kafka.settings, f"group-{topic}", topic, self._release,
            client_id=f"applicant-{next(self.names)}", session_ms=SESSION_MS, monotonic=monotonic,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _release(self):
        self.released += 1

    def _run(self):
        while not self._stop.is_set():
            try:
                self.seat.step(0.1)
            except Exception as error:
                self.errors.append(error)

    def pause(self):
        """Stop stepping, as a process that hangs."""
        self._stop.set()
        self._thread.join(30)

    def close(self):
        self.pause()
        self.seat.close()


@pytest.fixture
def topic(kafka):
    name = f"seat-{uuid.uuid4().hex[:8]}"
    admin = KafkaAdminClient(**client_options(kafka.settings))
    admin.create_topics([NewTopic(name, 3, 1)])
    admin.close()
    return name


def test_one_works_the_other_stands_by_and_follows(kafka, topic):
    first = Applicant(kafka, topic)
    until(first.seat.held, 30, "the first works")
    second = Applicant(kafka, topic)
    try:
        until(lambda: second.seat.status().role == "standby", 30, "the second stands by")
        until(lambda: first.seat.status().role == "active", 30, "the first has stayed")
        assert not second.seat.held()
        first.close()
        until(second.seat.held, 30, "the second has followed")
        assert first.released >= 1
        assert not first.seat.held()
        assert not [*first.errors, *second.errors]
    finally:
        second.close()


def test_positions_stand_in_the_group_for_kafkas_own_tools(kafka, topic):
    one = Applicant(kafka, topic)
    try:
        until(one.seat.held, 30, "it works")
        consumer = KafkaConsumer(**client_options(kafka.settings), group_id=f"group-{topic}")

        def committed():
            # As the sink does after each step: when the group reconsiders, what was offered before is forgotten.
            one.seat.offer({(topic, 0): 7, (topic, 2): 11})
            return [consumer.committed(TopicPartition(topic, p)) for p in range(3)]

        until(lambda: committed() == [7, None, 11], 30, "both positions are committed")
        consumer.close()
    finally:
        one.close()


def test_a_topic_that_is_missing_is_named(kafka, monkeypatch):
    monkeypatch.setattr("dipper.seat.TOPIC_WAIT_S", 0.0)
    with pytest.raises(LogUnavailable, match="topic seat-nowhere: expected one that exists"):
        Seat(kafka.settings, "group-nowhere", "seat-nowhere", lambda: None, client_id="applicant")


def test_who_hears_nothing_of_the_broker_stops_within_the_session(kafka, topic):
    now = [100.0]
    one = Applicant(kafka, topic, monotonic=lambda: now[0])
    until(one.seat.held, 30, "it works")
    one.pause()
    now[0] += SESSION_MS / 1_000 - 0.1
    held_before = one.seat.held()
    now[0] += 0.2
    assert (held_before, one.seat.held()) == (True, False)
    assert one.seat.status().role == "away"
    one.close()


def test_a_holder_that_hangs_is_followed_and_gives_up_when_it_wakes(kafka, topic):
    first = Applicant(kafka, topic)
    until(first.seat.held, 30, "the first works")
    first.pause()
    # The client's own thread would keep a process alive that does not step; a hang takes it too.
    first.seat._consumer._coordinator._disable_heartbeat()
    second = Applicant(kafka, topic)
    try:
        until(second.seat.held, 60, "the second has followed")
        assert not first.seat.held()
        assert first.released == 0
        until(lambda: first.seat.step(0.2) or first.released, 60, "the first gives up when it wakes")
        assert second.seat.held()
    finally:
        first.close()
        second.close()
