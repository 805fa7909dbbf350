"""Reports of trusted nodes from telemetry.raw: judged and stored as at the gateway. A real broker, a real log on it."""

import gzip
import itertools
import json
import threading
import time
from random import Random

import pyarrow as pa
import pytest
from kafka import KafkaProducer

from agent_exporter.clock import Clock
from agent_exporter.kafka import KafkaTransport
from agent_exporter.sender import Sender
from contracts import arrow
from contracts.auth import headers_for
from contracts.columns import REJECTED, REPORTS, SLICES, TABLES
from contracts.kafka import KafkaSettings, client_options
from contracts.protocols import LogUnavailable
from contracts.report import MAX_BODY_BYTES
from contracts.topics import ALL, RAW, partition_of
from ingest import raw
from ingest.log.kafka import KafkaLog
from ingest.log.kafka_topics import TopicPlan
from ingest.raw import RawIntake
from ingest.settings import GatewaySettings
from tests.agent_exporter.builders import KEY as AGENT_KEY
from tests.agent_exporter.builders import Box, access, settings_for
from tests.ingest.builders import KEY, House, MemoryRegistry, body_of, make_report, make_slices
from tests.services.kafka import create_topics

TABLE_OF = {"telemetry.reports": REPORTS, "telemetry.slices": SLICES, "telemetry.rejected": REJECTED}
PARTITIONS = 4
DEADLINE_S = 90
_numbers = itertools.count(1)


def now_ms():
    return time.time_ns() // 1_000_000


class Site:
    """Topics of their own, a log on them, a producer, and intakes."""

    def __init__(self, broker, **registry):
        self.broker = broker
        self.prefix = f"site-{next(_numbers)}."
        names = ("telemetry.reports", "telemetry.slices", "telemetry.vitals", "telemetry.rejected")
        create_topics(broker.settings, {self.prefix + name: 2 for name in names})
        create_topics(
            broker.settings, {self.prefix + RAW.name: PARTITIONS}, message_timestamp_type="LogAppendTime"
        )  # fmt: skip
        self.log = KafkaLog(broker.settings, client_id="test", prefix=self.prefix)
        self.registry = MemoryRegistry(**registry)
        self.producer = KafkaProducer(**client_options(broker.settings))
        self.opened = []

    def intake(self, *, log=None, **settings):
        made = RawIntake(
            log or self.log, self.registry, self.broker.settings, GatewaySettings(**settings), now_ms,
            prefix=self.prefix,
        )  # fmt: skip
        self.opened.append(made)
        return made

    def send(self, report, *, key=KEY, sent_at=None, body=None, device=None, **headers):
        """Append a report as an agent would; returns the record's place and time."""
        body = body_of(report) if body is None else body
        device = device or report.device
        signed = headers_for(key, device, report.boot, report.seq, now_ms() if sent_at is None else sent_at, body)
        return self.append({**signed, **headers}, body, device)

    def append(self, headers, body, device="d-1"):
        pairs = [(name, value.encode()) for name, value in headers.items()]
        partition = partition_of(device.encode(), PARTITIONS)
        topic = self.prefix + RAW.name
        return self.producer.send(topic, body, device.encode(), pairs, partition).get(DEADLINE_S)

    def rows(self, topic, table=None):
        """Rows of a topic as dicts."""
        ends = self.log.end_offsets(topic)
        reader = self.log.reader({(topic, p): o for p, o in enumerate(self.log.start_offsets(topic))})
        found = []
        while any(reader.positions()[topic, p] < end for p, end in enumerate(ends)):
            found += reader.poll(100, 1.0)
        reader.close()
        columns = TABLES[table] if table else TABLE_OF[topic]
        chosen = [r for r in found if table is None or r.headers.get("kind") == table]
        return [row for r in chosen for row in arrow.from_bytes(columns, r.value, pa).to_pylist()]

    def close(self):
        for intake in self.opened:
            intake.close()
        self.producer.close()
        self.log.close()


@pytest.fixture
def site(kafka):
    made = Site(kafka)
    yield made
    made.close()


def drain(intake, count):
    """Step until so many records are handled."""
    done, deadline = 0, time.monotonic() + DEADLINE_S
    while done < count:
        assert time.monotonic() < deadline, f"{done} of {count} records handled; {intake.status(now_ms())}"
        done += intake.step(0.2)
    assert done == count
    return intake.status(now_ms())


def fresh(seq=1, *requests, **overrides):
    """A valid report of the last ten seconds."""
    start = now_ms() // 10_000 * 10_000 - 10_000
    return make_report(seq, *requests, **{"start": start, "end": start + 10_000, **overrides})


def names_of(rows):
    return sorted((r["device"], r["boot"], r["seq"]) for r in rows)


# --- what is stored ---


def test_an_agents_report_ends_up_exactly_as_through_the_gateway(site, tmp_path):
    site.registry = MemoryRegistry(devices=("box-1",))
    posted = []
    transport = KafkaTransport(site.broker.settings, "box-1", 10.0, topic=site.prefix + RAW.name)
    box = Box(tmp_path)
    box.now = now_ms() // 10_000 * 10_000 - 10_000
    box.clock = Clock(lambda: box.now)
    box.write(access(box.now + 1), access(box.now + 2, status="503"), access(box.now + 3, server_customer="bolt"))
    box.tick(10)

    class Recording:
        def post(self, path, body, headers):
            def once():
                posted.append((dict(headers()), body))
                return posted[-1][0]

            return transport.post(path, body, once)

    sender = Sender(
        settings_for(tmp_path, spread=0.0, backlog_reports_per_s=1000.0), AGENT_KEY, box.spool, box.clock, Recording(),
        monotonic_s=time.monotonic, random=Random(1), log=lambda _: None,
    )  # fmt: skip
    while box.spool.waiting():
        sender.step()
    transport.close()
    drain(site.intake(), len(posted))
    stored = site.rows("telemetry.reports")
    assert sum(r["requests"] for r in stored) == 3
    house = House(tmp_path / "house", MemoryRegistry(devices=("box-1",)))
    received_at = {r["seq"]: r["received_at"] for r in stored}
    for headers, body in posted:
        house.time = received_at[int(headers["dipper-seq"])]
        status, _, _ = house.post(body, {**headers, "content-type": "application/json"})
        assert status == 200
    for topic, table in (("telemetry.reports", None), ("telemetry.slices", None), ("telemetry.vitals", "vitals"),
                         ("telemetry.vitals", "exemplars")):  # fmt: skip
        by_identity = [sorted(rows, key=repr) for rows in (site.rows(topic, table), house.rows(topic, table))]
        assert by_identity[0] == by_identity[1]
    assert len(site.rows("telemetry.slices")) >= 2
    house.close()


def test_the_time_of_receipt_is_the_brokers(site):
    before = now_ms()
    metadata = site.send(fresh(), sent_at=before - 200_000)
    drain(site.intake(), 1)
    [row] = site.rows("telemetry.reports")
    assert row["received_at"] == metadata.timestamp >= before
    assert row["clock_offset_ms"] == metadata.timestamp - (before - 200_000)


def test_a_backlog_is_judged_by_the_time_it_came_not_by_the_time_it_is_read(site):
    site.send(fresh())
    late = RawIntake(
        site.log, site.registry, site.broker.settings, GatewaySettings(), lambda: now_ms() + 7_200_000,
        prefix=site.prefix,
    )  # fmt: skip
    site.opened.append(late)
    assert drain(late, 1)["reports_stored_total"] == 1


def test_the_plan_lets_brokers_stamp_this_topic_only():
    plan = TopicPlan()
    assert plan.configuration(RAW)["message.timestamp.type"] == "LogAppendTime"
    others = {plan.configuration(t)["message.timestamp.type"] for t in ALL if t != RAW}
    assert others == {"CreateTime"}


def test_a_topic_that_takes_the_senders_word_is_not_believed(kafka, site):
    site.prefix = f"word-{next(_numbers)}."
    names = ("telemetry.reports", "telemetry.slices", "telemetry.vitals", "telemetry.rejected", RAW.name)
    create_topics(kafka.settings, {site.prefix + name: PARTITIONS for name in names})
    site.log.close()
    site.log = KafkaLog(kafka.settings, client_id="test", prefix=site.prefix)
    report, ahead = fresh(), now_ms() + 3_600_000
    body = body_of(report)
    headers = [(n, v.encode()) for n, v in headers_for(KEY, "d-1", "boot-1", 1, ahead, body).items()]
    site.producer.send(site.prefix + RAW.name, body, b"d-1", headers, 0, timestamp_ms=ahead).get(DEADLINE_S)
    status = drain(site.intake(), 1)
    assert status["not_stamped_by_broker_total"] >= 1
    assert status["unauthenticated_total"] == {"clock_out_of_window": 1}
    assert site.rows("telemetry.reports") == []


# --- what is not ---


def test_what_nobody_known_signed_in_time_counts_in_figures_only(site, caplog):
    report = fresh()
    body, now = body_of(report), now_ms()
    good = headers_for(KEY, "d-1", "boot-1", 1, now, body)
    site.send(report, key=b"\xff" * 32)
    site.send(report, device="stranger")
    site.append(good, body + b"x")
    site.append({**good, "dipper-seq": "2"}, body)
    site.append({**good, "dipper-seq": "01"}, body)
    site.append({**good, "dipper-device": "no spaces"}, body)
    site.append({}, body)
    site.append({}, None)
    site.append({name: "\udc80x".encode("utf-8", "surrogatepass").decode("latin-1") for name in good}, b"\xff")
    site.send(report, sent_at=now - 301_000)
    site.send(report, sent_at=now + 310_000)
    site.send(report, **{"content-encoding": "br"})
    status = drain(site.intake(), 12)
    assert status["unauthenticated_total"] == {
        "unauthenticated": 4, "missing_credentials": 5, "clock_out_of_window": 2, "unsupported_media": 1,
    }  # fmt: skip
    assert status["reports_stored_total"] == status["reports_refused_total"] == 0
    for topic in TABLE_OF:
        assert site.rows(topic) == []
    said = [r.getMessage() for r in caplog.records if "no known device signed" in r.getMessage()]
    assert len(said) == 1
    assert "partition" in said[0]


def test_poison_is_kept_with_its_place_and_the_next_one_is_stored(site):
    poison = gzip.compress(b'{"v": 1, ')
    place = site.send(fresh(1), body=poison)
    site.send(fresh(2), body=b"\xff" * (MAX_BODY_BYTES + 1))
    site.send(fresh(3), body=body_of(fresh(4)))
    site.send(fresh(5, slices=make_slices(3, 4, customer=["acme", "ghost"])))
    site.send(fresh(6))
    status = drain(site.intake(), 5)
    assert (status["reports_stored_total"], status["reports_refused_total"]) == (2, 3)
    assert (status["slices_stored_total"], status["slices_refused_total"]) == (3, 1)
    rejected = {row["seq"]: row for row in site.rows("telemetry.rejected")}
    assert {seq: row["reason"] for seq, row in rejected.items()} == {
        1: "malformed", 2: "too_large", 3: "identity_mismatch", 5: "unknown_customer",
    }  # fmt: skip
    assert {row["source"] for row in rejected.values()} == {"kafka"}
    assert rejected[1]["body"] == poison
    expected = f"(topic {place.topic} partition {place.partition} offset {place.offset})"
    assert rejected[1]["detail"].endswith(expected)
    assert "offset" in rejected[5]["detail"]
    assert json.loads(rejected[5]["rows"]) == [1]
    assert len(rejected[2]["body"]) == MAX_BODY_BYTES
    assert names_of(site.rows("telemetry.reports")) == [("d-1", "boot-1", 5), ("d-1", "boot-1", 6)]


def test_a_repeat_is_stored_once_and_another_body_of_the_name_is_a_conflict(site):
    report = fresh(1)
    for _ in range(3):
        site.send(report)
    site.send(fresh(1, 9, 9))
    intake = site.intake()
    status = drain(intake, 4)
    assert (status["reports_stored_total"], status["reports_duplicate_total"]) == (1, 2)
    assert [row["reason"] for row in site.rows("telemetry.rejected")] == ["conflict"]
    site.send(report)
    assert drain(intake, 1)["reports_duplicate_total"] == 3
    assert len(site.rows("telemetry.slices")) == len(report.slices) == 2


# --- crashes, sharing, outages ---


class Killed(BaseException):
    """Nothing between append and commit runs any more."""


@pytest.mark.parametrize("remembers", [True, False])
def test_a_crash_between_append_and_commit_repeats_and_adds_nothing(site, monkeypatch, remembers):
    for seq in (1, 2, 3):
        site.send(fresh(seq))
    site.send(fresh(4), body=b"garbage")

    def die(_, following):
        if following:
            raise Killed

    first = site.intake()
    with monkeypatch.context() as patched:
        patched.setattr(RawIntake, "_commit", die)
        with pytest.raises(Killed):
            drain(first, 4)
    first.close()
    before = {topic: site.rows(topic) for topic in TABLE_OF}
    # With its memory the repeat is recognised; without, the very same rows are stored again under the same names.
    status = drain(site.intake(rebuild_ms=900_000 if remembers else 1), 4)
    assert status["reports_duplicate_total"] == (3 if remembers else 0)
    for topic, rows in before.items():
        again = site.rows(topic)
        assert {repr(row) for row in again} == {repr(row) for row in rows}
    assert len(before["telemetry.reports"]) == 3
    assert len({row["id"] for row in site.rows("telemetry.rejected")}) == 1


def test_two_intakes_share_the_partitions_and_one_goes_on_alone(site):
    devices = [f"d-{i}" for i in range(40)]
    site.registry.__init__(devices=devices)
    intakes = [site.intake(), site.intake()]
    ends = threading.Event()
    stops = [threading.Event(), threading.Event()]

    def run(intake, stop):
        while not (stop.is_set() or ends.is_set()):
            intake.step(0.1)
        intake.close()

    threads = [threading.Thread(target=run, args=pair) for pair in zip(intakes, stops, strict=True)]
    try:
        for thread in threads:
            thread.start()
        shares = [lambda i=i: i.status(now_ms())["partitions"] for i in intakes]
        until(lambda: [len(share()) for share in shares] == [2, 2])
        assert sorted(shares[0]() + shares[1]()) == [0, 1, 2, 3]
        for device in devices:
            site.send(fresh(1, device=device))
        stored = [lambda i=i: i.status(now_ms())["reports_stored_total"] for i in intakes]
        until(lambda: sum(count() for count in stored) == len(devices))
        assert min(count() for count in stored) > 0
        stops[0].set()
        until(lambda: shares[1]() == [0, 1, 2, 3])
        for device in devices:
            site.send(fresh(2, device=device))
        until(lambda: sum(count() for count in stored) == 2 * len(devices))
    finally:
        ends.set()
        for thread in threads:
            thread.join(DEADLINE_S)
    assert names_of(site.rows("telemetry.reports")) == sorted((d, "boot-1", s) for d in devices for s in (1, 2))


def test_a_member_that_gets_no_partition_joins_anew_ever_more_seldom(site):
    intake = site.intake()
    until(lambda: intake.step(0.1) or intake.status(now_ms())["partitions"])
    shared_out = intake._lag
    intake._lag = raw._Lag()
    rejoined, second = [], 0.0
    while len(rejoined) < 4:
        intake._heed_idleness(second)
        if intake._consumer is None:
            rejoined.append(second)
            intake._consumer = intake._connect()
        second += 1.0
    pauses = [after - before for before, after in itertools.pairwise([0.0, *rejoined])]
    assert pauses == [11.0, 22.0, 42.0, 82.0]  # 10, 20, 40, 80 s of patience, looked at once a second
    intake._lag = shared_out
    intake._heed_idleness(second)
    intake._lag = raw._Lag()
    intake._heed_idleness(second)
    intake._heed_idleness(second + 10.5)
    assert intake._consumer is None


def until(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        threading.Event().wait(0.02)


def test_while_the_log_refuses_records_wait_and_come_again(site):
    class Refusing:
        """The log, but appends fail for a while."""

        refusals = 3

        def __getattr__(self, name):
            return getattr(site.log, name)

        def submit(self, records):
            if self.refusals:
                self.refusals -= 1
                raise LogUnavailable("no space for now")
            return site.log.submit(records)

    for seq in range(1, 6):
        site.send(fresh(seq))
    intake = site.intake(log=Refusing())
    errors, done, deadline = [], 0, time.monotonic() + DEADLINE_S
    while done < 5 and time.monotonic() < deadline:
        done += intake.step(0.05)
        errors.append(intake.status(now_ms())["error"])
    assert errors.count("no space for now") == 3
    assert errors[-1] == ""
    assert intake.status(now_ms())["errors_total"] == 3
    assert names_of(site.rows("telemetry.reports")) == [("d-1", "boot-1", seq) for seq in range(1, 6)]


def test_lag_is_what_waits_and_how_old_it_is(site, monkeypatch):
    monkeypatch.setattr(raw, "MAX_RECORDS", 2)
    times = [site.send(fresh(seq)).timestamp for seq in range(1, 6)]
    intake = site.intake()
    until(lambda: intake.step(0.2) > 0)
    status = intake.status(times[1] + 4_000)
    assert (status["lag_records"], status["lag_s"]) == (3, 4.0)
    assert status["partitions"] == [0, 1, 2, 3]
    drain(intake, 3)
    status = intake.status(times[-1] + 60_000)
    assert (status["lag_records"], status["lag_s"]) == (0, 0.0)


def test_a_topic_that_does_not_exist_is_named(site):
    options = {"prefix": site.prefix + "none."}
    intake = RawIntake(site.log, site.registry, site.broker.settings, GatewaySettings(), now_ms, **options)
    assert intake.step(0.01) == 0
    assert "dipper topics apply" in intake.status(now_ms())["error"]
    intake.close()


def test_without_brokers_a_step_says_so_and_returns(site, monkeypatch):
    monkeypatch.setattr(raw, "ANSWER_S", 0.3)
    settings = KafkaSettings(("127.0.0.1:9",))  # the discard port: nobody listens
    intake = RawIntake(site.log, site.registry, settings, GatewaySettings(), now_ms, prefix=site.prefix)
    assert intake.step(0.01) == 0
    status = intake.status(now_ms())
    assert status["error"]
    assert status["stepped_ago_s"] is None
    intake.close()
