"""A log that stores some records of a call and fails: whoever comes again finds no header without its slices."""

import asyncio
import itertools
from concurrent.futures import Future
from types import SimpleNamespace

import pyarrow as pa
import pytest
from kafka import TopicPartition

from contracts import arrow
from contracts.auth import headers_for
from contracts.columns import REJECTED as REJECTED_COLUMNS
from contracts.entities import Customer
from contracts.kafka import KafkaSettings
from contracts.protocols import LogUnavailable, Record
from contracts.topics import RAW, partition_of
from ingest.gateway import Gateway
from ingest.raw import RawIntake
from ingest.rejected import list_rejected, replay, show
from ingest.settings import GatewaySettings
from ingest.stages import stages
from tests.ingest.builders import KEY, NOW, House, body_of, make_report, make_slices

SLICES, REPORTS, VITALS = "telemetry.slices", "telemetry.reports", "telemetry.vitals"
REJECTED, CHANGES = "telemetry.rejected", "changes"
LATER = NOW + 3_600_000


class Torn:
    """A real log as Kafka is: of one call, records that `loses` names are lost, the others stored, and the call fails.
    `calls`: topics of each call, in order."""

    atomic = False

    def __init__(self, log):
        self._log = log
        self.loses = None
        self.calls = []

    def __getattr__(self, name):
        return getattr(self._log, name)

    def submit(self, records):
        self.calls.append([record.topic for record in records])
        kept = [record for record in records if self.loses is None or not self.loses(record)]
        stored = self._log.submit(kept)
        if len(kept) == len(records):
            return stored
        stored.result()
        failed = Future()
        failed.set_exception(LogUnavailable("Kafka did not acknowledge within 10 s"))
        return failed


def topic_is(topic):
    return lambda record: record.topic == topic


def is_mark(record):
    if record.topic != REJECTED:
        return False
    return arrow.from_bytes(REJECTED_COLUMNS, record.value, pa).column("state").to_pylist() == ["replayed"]


@pytest.fixture
def torn_house(tmp_path):
    house = House(tmp_path)
    torn = Torn(house.log)
    house.log = torn
    restart(house)
    yield house
    house.close()


def restart(house):
    """Another gateway on the same log: it knows what the log tells it."""
    house.gateway = house.app = Gateway(house.log, house.registry, house.settings, lambda: house.time)


def stored_rows(house):
    """Distinct names of stored slices."""
    return {(r["device"], r["boot"], r["seq"], r["row"]) for r in house.rows(SLICES)}


def outcome(answer):
    return answer[0], answer[2]


# --- the gateway ---


@pytest.mark.parametrize("topic", [SLICES, VITALS, REJECTED, REPORTS])
def test_a_report_of_which_a_part_was_lost_is_whole_after_the_resend_to_another_gateway(torn_house, topic):
    house = torn_house
    report = make_report(1, slices=make_slices(3, 4, 5, customer=["acme", "bolt", "ghost"]))
    house.log.loses = topic_is(topic)
    assert house.send(report)[0] == 503
    house.log.loses = None
    restart(house)
    assert outcome(house.send(report)) == (200, b'{"status":"stored","rejected_rows":1}')
    assert stored_rows(house) == {("d-1", "boot-1", 1, 0), ("d-1", "boot-1", 1, 1)}
    assert {r["seq"] for r in house.rows(VITALS, "vitals")} == {1}
    assert [r["reason"] for r in list_rejected(house.log)] == ["unknown_customer"]
    assert [r["seq"] for r in house.rows(REPORTS)] == [1]
    restart(house)
    assert outcome(house.send(report)) == (200, b'{"status":"duplicate"}')


def test_one_partition_of_slices_that_is_away_keeps_the_header_away(torn_house):
    house = torn_house
    away, other = (partition_of(name, house.log.partitions(SLICES)) for name in (b"bolt", b"acme"))
    assert away != other
    house.log.loses = lambda record: record.topic == SLICES and record.partition == away
    assert house.send(make_report(1, slices=make_slices(3, 4, customer=["acme", "bolt"])))[0] == 503
    assert stored_rows(house) == {("d-1", "boot-1", 1, 0)}
    assert house.records(REPORTS) == []


def test_on_a_log_that_appends_all_or_none_a_flush_is_one_call(house, monkeypatch):
    calls, real = [], house.log.submit

    def submit(records):
        calls.append(len(records))
        return real(records)

    house.run(asyncio.sleep(0))
    monkeypatch.setattr(house.log, "submit", submit)
    assert house.send(make_report(1))[0] == 200
    assert len(calls) == 1


def test_a_record_of_another_topic_goes_with_the_slices(torn_house):
    names = [SLICES, REPORTS, CHANGES, VITALS, REPORTS, REJECTED]
    records = [Record(name, b"k", b"%d" % i, NOW, 0) for i, name in enumerate(names)]
    mark = Record(REJECTED, b"k", b"mark", NOW, 0)
    parts = [[r.value for r in part] for part in stages(torn_house.log, records, [mark])]
    assert parts == [[b"0", b"2", b"3", b"5"], [b"1", b"4"], [b"mark"]]
    assert stages(torn_house.log, records[:1]) == [records[:1]]
    assert stages(torn_house.log, []) == []


# --- trusted nodes ---


class Raw:
    """One partition of telemetry.raw, as RawIntake's consumer reads it."""

    place = TopicPartition(RAW.name, 0)

    def __init__(self, *reports):
        self.records = [self.record(offset, report) for offset, report in enumerate(reports)]
        self.at = 0

    def record(self, offset, report):
        body = body_of(report)
        signed_headers = headers_for(KEY, report.device, report.boot, report.seq, NOW, body)
        pairs = [(name, value.encode()) for name, value in signed_headers.items()]
        return SimpleNamespace(
            topic=RAW.name, partition=0, offset=offset, headers=pairs, value=body, timestamp=NOW, timestamp_type=1
        )  # fmt: skip

    def poll(self, timeout_ms, max_records):
        found, self.at = self.records[self.at :], len(self.records)
        return {self.place: found} if found else {}

    def seek(self, place, offset):
        self.at = offset

    def commit(self, offsets, timeout_ms):
        self.committed = offsets[self.place].offset

    def assignment(self):
        return {self.place}

    def position(self, place, timeout_ms):
        return self.at

    def highwater(self, place):
        return len(self.records)

    def close(self, **_):
        pass


@pytest.mark.parametrize("topic", [SLICES, VITALS, REJECTED, REPORTS])
def test_a_record_of_a_node_that_was_half_stored_is_stored_whole_after_a_rebalance(torn_house, topic):
    house = torn_house
    intake = RawIntake(house.log, house.registry, KafkaSettings(("127.0.0.1:9",)), GatewaySettings(), lambda: NOW)
    raw = Raw(make_report(1, slices=make_slices(3, 4, 5, customer=["acme", "bolt", "ghost"])), make_report(2))
    intake._consumer = raw
    house.log.loses = topic_is(topic)
    assert intake.step(0.0) == 0
    house.log.loses = None
    intake._assigned([raw.place])  # it learns anew what the log holds
    assert intake.step(0.0) == 2
    assert stored_rows(house) == {("d-1", "boot-1", *name) for name in itertools.product((1, 2), (0, 1))}
    assert sorted(r["seq"] for r in house.rows(REPORTS)) == [1, 2]
    assert {r["seq"] for r in house.rows(VITALS, "vitals")} == {1, 2}
    assert [r["reason"] for r in list_rejected(house.log)] == ["unknown_customer"]
    assert raw.committed == 2
    intake.close()


# --- replay ---


@pytest.mark.parametrize("lost", [topic_is(SLICES), topic_is(VITALS), topic_is(REJECTED), topic_is(REPORTS), is_mark])
@pytest.mark.parametrize("known_since", [("new",), ("new", "newer")])
def test_a_replay_that_was_half_stored_is_finished_by_the_next(torn_house, lost, known_since):
    house = torn_house
    report = make_report(1, slices=make_slices(3, 4, 5, customer=["acme", "new", "newer"]))
    assert house.send(report)[0] == 200
    for name in known_since:
        house.registry.known[name] = Customer(name, name.title())
    [row] = [show(house.log, r["id"]) for r in list_rejected(house.log, state="kept")]
    house.log.loses = lost
    with pytest.raises(LogUnavailable):
        replay(house.log, house.gateway.pipeline, [row], LATER)
    house.log.loses = None
    restart(house)
    replay(house.log, house.gateway.pipeline, [row], LATER)
    assert stored_rows(house) == {("d-1", "boot-1", 1, n) for n in range(1 + len(known_since))}
    assert {r["id"]: r["state"] for r in list_rejected(house.log)}[row["id"]] == "replayed"
    rest = [show(house.log, r["id"])["rows"] for r in list_rejected(house.log, state="kept")]
    assert rest == ([] if "newer" in known_since else ["[2]"])
    assert house.rows(REPORTS)[-1]["rejected_slices"] == 2 - len(known_since)


@pytest.mark.parametrize("lost", [topic_is(SLICES), topic_is(REPORTS), is_mark])
def test_a_refused_report_whose_replay_was_half_stored_is_finished_by_the_next(torn_house, lost):
    house = torn_house
    report = make_report(1, slices=make_slices(3, 4))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(house.registry, "attributes", broken)
        assert house.send(report)[0] == 422
    [row] = [show(house.log, r["id"]) for r in list_rejected(house.log, state="kept")]
    house.log.loses = lost
    with pytest.raises(LogUnavailable):
        replay(house.log, house.gateway.pipeline, [row], LATER)
    house.log.loses = None
    replay(house.log, house.gateway.pipeline, [row], LATER)
    assert stored_rows(house) == {("d-1", "boot-1", 1, 0), ("d-1", "boot-1", 1, 1)}
    assert [r["seq"] for r in house.rows(REPORTS)] == [1]
    assert [r["state"] for r in list_rejected(house.log)] == ["replayed"]


def broken(*_):
    raise RuntimeError("the intake breaks on it")
