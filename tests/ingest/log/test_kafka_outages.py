"""What becomes of submissions and readers when brokers are killed, stand still, or lose a node. Real brokers."""

import os
import signal
import threading
import time

import pytest

from contracts.protocols import LogError, LogUnavailable
from ingest.log.kafka import KafkaLog
from tests.ingest.log_contract import DEADLINE_S, SLICES, append, read, record, until
from tests.services.kafka import Broker, create_topics

MB = 1_000_000
TIMEOUT_S = 2.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A broker that tests may kill; each leaves it running."""
    with Broker(tmp_path_factory.mktemp("kafka-outages"), quick=True) as broker:
        yield broker


@pytest.fixture
def make_log(broker, request):
    opened = []
    prefix = f"{request.node.name}."
    create_topics(broker.settings, {prefix + SLICES: 2})

    def make(**settings):
        settings = {"delivery_timeout_s": TIMEOUT_S, **settings}
        log = KafkaLog(broker.settings, client_id="outages", prefix=prefix, **settings)
        opened.append(log)
        return log

    yield make
    for log in opened:
        log.close()


def accepted(log, *records):
    """Whether Kafka stored the records; anything but LogUnavailable fails the test."""
    try:
        append(log, *records)
    except LogUnavailable:
        return False
    return True


class Load(threading.Thread):
    """Submits pairs of numbered records to one partition until stopped; each submission waits for the one before."""

    def __init__(self, log):
        super().__init__()
        self.log, self.stopping = log, threading.Event()
        self.stored, self.failed, self.refused_in_s = {}, [], []

    def run(self):
        i = 0
        while not self.stopping.wait(0.005):
            i += 1
            began = time.monotonic()
            pair = [record(b"%d.%d" % (i, n), partition=0) for n in range(2)]
            try:
                future = self.log.submit(pair)
            except LogUnavailable:
                self.refused_in_s.append(time.monotonic() - began)
                continue
            try:
                places = future.result(DEADLINE_S)
            except LogUnavailable:
                self.failed.append(i)
            else:
                self.stored.update(zip(places, (r.value for r in pair), strict=True))


def test_nothing_acknowledged_is_lost_when_the_broker_is_killed_in_mid_load(broker, make_log):
    log = make_log()
    load = Load(log)
    load.start()
    until(lambda: len(load.stored) > 100, "load")
    broker.kill()
    until(lambda: len(load.refused_in_s) > 10, "refusal at once")
    before = len(load.stored)
    assert load.failed, "what was on its way fails, it does not hang"
    assert max(load.refused_in_s) < 0.5
    broker.start()
    until(lambda: len(load.stored) > before + 100, "recovery")
    load.stopping.set()
    load.join(DEADLINE_S)
    found = {(r.partition, r.offset): r.value for r in read(log)}
    assert {place: found.get(place) for place in load.stored} == load.stored
    acknowledged = [value for _, value in sorted(load.stored.items())]
    assert acknowledged == sorted(acknowledged, key=lambda v: tuple(map(int, v.split(b".")))), "order of submission"
    assert log.buffered_bytes == 0


def test_readers_and_questions_in_an_outage_fail_in_bounded_time_and_go_on_after_it(broker, make_log):
    log = make_log()
    append(log, *(record(b"%d" % i, partition=0) for i in range(3)))
    reader = log.reader({(SLICES, 0): 0})
    assert len(reader.poll(2, DEADLINE_S)) == 2
    broker.kill()
    ahead = [r.offset for r in reader.poll(10, 0.2)]
    assert ahead in ([2], [])  # fetched ahead, or not
    began = time.monotonic()
    with pytest.raises(LogUnavailable):
        log.end_offsets(SLICES)
    with pytest.raises(LogUnavailable, match="cannot be reached"):
        make_log()
    assert time.monotonic() - began < 10
    broker.start()
    until(lambda: accepted(log, record(b"after", partition=0)), "recovery")
    rest = []
    until(lambda: rest.extend(reader.poll(10, 0.2)) or (rest and rest[-1].value == b"after"), "the record after")
    first = 2 + len(ahead)
    assert [r.offset for r in rest] == list(range(first, log.end_offsets(SLICES)[0]))
    reader.close()


def test_a_full_buffer_refuses_at_once_and_everything_ends(broker, make_log):
    log = make_log(max_buffered_bytes=2 * MB)
    append(log, record(partition=0))
    os.kill(broker.pid(), signal.SIGSTOP)
    try:
        futures = [log.submit([record(b"x" * 100_000, partition=0)]) for _ in range(19)]
        with pytest.raises(LogUnavailable, match="bytes are not acknowledged"):
            log.submit([record(b"x" * 100_000, partition=0)])  # the 20th, with the overhead of each
        assert log.buffered_bytes <= 2 * MB
        began = time.monotonic()
        for future in futures:
            with pytest.raises(LogUnavailable, match="did not acknowledge"):
                future.result(DEADLINE_S)
        assert time.monotonic() - began < TIMEOUT_S + 1
        assert log.buffered_bytes == 0
    finally:
        os.kill(broker.pid(), signal.SIGCONT)
    until(lambda: accepted(log, record(partition=0)), "recovery")


def test_closing_during_an_outage_ends_in_bounded_time(broker, make_log):
    log = make_log()
    append(log, record(partition=0))
    os.kill(broker.pid(), signal.SIGSTOP)
    try:
        future = log.submit([record(partition=0)])
        began = time.monotonic()
        log.close()
        assert time.monotonic() - began < TIMEOUT_S + 8
        with pytest.raises(LogUnavailable):
            future.result(0)
    finally:
        os.kill(broker.pid(), signal.SIGCONT)


def test_large_records_pass_up_to_the_limit(make_log):
    log = make_log(delivery_timeout_s=20.0)
    noise = os.urandom(8 * MB)
    text = b"the same again, " * (20 * MB // 16)
    append(log, record(noise, partition=0), record(text, partition=0), record(b"small", partition=0))
    assert [r.value == v for r, v in zip(read(log), (noise, text, b"small"), strict=True)] == [True] * 3
    with pytest.raises(LogError, match="at most"):
        log.submit([record(b"x" * (33 * 1024 * 1024))])


def test_a_record_larger_than_the_topic_takes_is_refused_for_good(broker, make_log):
    log = make_log()
    create_topics(broker.settings, {log._prefix + "signals": 1}, max_message_bytes="100000")
    with pytest.raises(LogError, match=r"max\.message\.bytes") as error:
        append(log, record(os.urandom(200_000), topic="signals"))
    assert not isinstance(error.value, LogUnavailable)
    until(lambda: accepted(log, record(b"small", topic="signals")), "the next record")


def test_one_node_of_three_may_be_killed_in_mid_load(tmp_path):
    with Broker(tmp_path, nodes=3, quick=True) as cluster:
        create_topics(cluster.settings, {SLICES: 6}, copies=3, min_insync_replicas="2")
        with KafkaLog(cluster.settings, client_id="three", delivery_timeout_s=15.0) as log:
            stored = append(log, *(record(b"before %d" % p, partition=p) for p in range(6)))
            cluster.kill(2)
            stored += append(log, *(record(b"after %d" % p, partition=p) for p in range(6)))
            found = {(r.partition, r.offset): r.value for r in read(log)}
            expected = [b"%s %d" % (when, p) for when in (b"before", b"after") for p in range(6)]
            assert [found[place] for place in stored] == expected
        cluster.kill()  # two of three nodes would wait for a quorum to leave in order
