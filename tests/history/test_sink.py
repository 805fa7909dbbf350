import random
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pytest

from contracts import topics
from contracts.arrow import batch, to_bytes
from contracts.columns import COUNT_NAMES, EXEMPLARS, QUALITY_MINUTES, VITALS
from contracts.protocols import Record, StoreError, StoreFull
from history.errors import RowsRefused, from_code
from history.ledger import ledger
from history.sink import Sink, SinkSettings
from tests.history import reference
from tests.history.builders import (
    MINUTE,
    T0,
    Box,
    MemoryLog,
    make_slice,
    random_fleet,
    rejected_batch,
    send,
    send_batch,
    shifted,
)

PROMPT = SinkSettings(flush_every_ms=0, late_refresh_ms=0)


def shown(store):
    """What queries return of the rollups: counts and latency per minute, customer, service."""
    rows = store.query("SELECT * FROM minutes FINAL")
    found = {}
    for i, key in enumerate(zip(rows["minute"], rows["customer"], rows["service"], strict=True)):
        counts = Counter({name: rows[name][i] for name in COUNT_NAMES if rows[name][i]})
        latency = Counter(dict(zip(rows["latency_cell"][i], rows["latency_count"][i], strict=True)))
        found[key] = (counts, latency)
    return found


def coverage_shown(store):
    rows = store.query(
        "SELECT minute, customer, coverage FROM coverage_minutes FINAL WHERE weight_placed + requests > 0"
    )
    return dict(zip(zip(rows["minute"], rows["customer"], strict=True), rows["coverage"], strict=True))


def assert_truth(store, reports, minutes=None):
    wanted = reference.minutes(reports)
    got = shown(store)
    assert got == {key: (+counts, latency) for key, (counts, latency) in wanted.items()}
    last = max(h["start"] for h, _ in reports) // MINUTE * MINUTE
    targets = minutes or range(T0, last + MINUTE, MINUTE)
    covered = reference.coverage(reports, targets)
    mine = {k: v for k, v in coverage_shown(store).items() if k[0] in set(targets)}
    assert mine.keys() == covered.keys()
    for key, value in covered.items():
        assert mine[key] == pytest.approx(value, rel=1e-9), key


@pytest.mark.parametrize("seed", range(3))
def test_history_equals_the_slow_reference(store, log, seed):
    reports = random_fleet(random.Random(seed))
    sink = Sink(log, store, PROMPT)
    for at in range(0, len(reports), 40):
        part = reports[at : at + 40]
        send(log, *part)
        sink.step(part[-1][0]["received_at"])
    sink.drain(T0 + 8 * MINUTE)
    assert_truth(store, reports)
    books = ledger(store, T0)
    assert books.balanced
    assert books.requests.lost == books.requests.double_counted == books.requests.pending == 0
    assert books.requests.stored == sum(sum(r["requests"] for r in rows) for _, rows in reports)


def test_late_data_restates_minutes_hours_days_and_the_coverage_of_the_next_hour(store, log):
    reports = random_fleet(random.Random(7), boxes=4, minutes=5)
    late = [r for r in reports if r[0]["device"] == "box-3" and r[0]["start"] < T0 + 2 * MINUTE]
    on_time = [r for r in reports if r not in late]
    sink = Sink(log, store, PROMPT)
    send(log, *on_time)
    sink.drain(T0 + 7 * MINUTE)
    assert_truth(store, on_time)
    send(log, *late)
    sink.drain(T0 + 8 * MINUTE)
    assert_truth(store, [*on_time, *late])
    total = sum(counts["requests"] for counts, _ in reference.minutes(reports).values())
    for table in ("minutes", "hours", "days", "cell_minutes", "device_minutes", "box_minutes", "stored_reports"):
        assert store.query(f"SELECT sum(requests) AS n FROM {table} FINAL")["n"] == [total], table
    cells = "SELECT sum(arraySum(latency_count)) AS n FROM {} FINAL"
    for table in ("minutes", "hours", "days", "cell_minutes"):
        assert store.query(cells.format(table))["n"] == [total], table
    restated = store.query("SELECT minute, requests_before, requests_after FROM restatements")
    assert set(restated["minute"]) >= {T0, T0 + MINUTE}
    assert sum(restated["requests_after"]) - sum(restated["requests_before"]) == sum(
        r["requests"] for _, rows in late for r in rows
    )


def test_a_repeated_report_changes_nothing_even_with_other_corrections(store, log):
    reports = random_fleet(random.Random(3), boxes=3, minutes=3)
    sink = Sink(log, store, PROMPT)
    send(log, *reports)
    sink.drain(T0 + 5 * MINUTE)
    before = shown(store), coverage_shown(store), ledger(store, T0)
    again = [shifted(r, by) for r, by in zip(reports, [0, 10_000, -20_000, 60_000, 300_000] * 99, strict=False)]
    send(log, *again)
    done = sink.drain(T0 + 5 * MINUTE)
    assert done.duplicates == len(again) + sum(len(rows) for _, rows in again)
    assert (shown(store), coverage_shown(store)) == before[:2]
    assert replace(ledger(store, T0), boots=()) == replace(before[2], boots=())
    # The same in a process that has just started, and with both copies in one block.
    fresh = Sink(log, store, PROMPT)
    send(log, *[shifted(r, 20_000) for r in reports])
    fresh.drain(T0 + 5 * MINUTE)
    assert (shown(store), coverage_shown(store)) == before[:2]


def test_history_beside_a_new_log_reads_it_from_its_beginning(store, log):
    first, second = Box("box-1"), Box("box-2")
    old = [first.report(T0 + 10_000 * i, [make_slice(requests=3)]) for i in range(6)]
    send(log, *old)
    Sink(log, store, PROMPT).drain(T0 + 5 * MINUTE)
    new = [second.report(T0, [make_slice(requests=5)])]
    fresh_log = type(log)()
    restored = Sink(fresh_log, store, PROMPT)
    send(fresh_log, *new)
    restored.drain(T0 + 5 * MINUTE)
    assert_truth(store, [*old, *new], minutes=[T0])
    # The next start knows the new log's position.
    assert Sink(fresh_log, store, PROMPT).drain(T0 + 5 * MINUTE).slices == 0


def test_both_copies_in_one_block_count_once(store, log):
    reports = random_fleet(random.Random(4), boxes=2, minutes=2)
    send(log, *[copy for r in reports for copy in (r, shifted(r, 60_000))])
    Sink(log, store, PROMPT).drain(T0 + 5 * MINUTE)
    assert_truth(store, reports, minutes=[T0, T0 + MINUTE])


def test_rows_refused_at_first_are_stored_when_they_are_replayed(store, log):
    box = Box()
    header, rows = box.report(T0, [make_slice(), make_slice(customer="new", requests=4)], refused=[1])
    send(log, (header, rows))
    sink = Sink(log, store, PROMPT)
    sink.drain(T0 + 2 * MINUTE)
    replayed = (header, [*rows, {**make_slice(customer="new", requests=4), "row": 1}])
    send(log, replayed)
    sink.drain(T0 + 3 * MINUTE)
    rows = store.query("SELECT customer, requests FROM minutes FINAL ORDER BY customer")
    assert rows == {"customer": ["acme", "new"], "requests": [10, 4]}


class Died(BaseException):
    """The process is gone."""


class DyingStore:
    """A store whose process dies just before its n-th write, that is: just after the one before."""

    def __init__(self, store, at):
        self._store, self._left = store, at

    def _count(self):
        self._left -= 1
        if self._left == 0:
            raise Died

    def insert(self, table, rows):
        self._count()
        return self._store.insert(table, rows)

    def execute(self, sql, parameters=None):
        self._count()
        self._store.execute(sql, parameters)

    def __getattr__(self, name):
        return getattr(self._store, name)


LONG = pytest.mark.verify


@pytest.mark.parametrize("first_death", [1, pytest.param(2, marks=LONG), 3, pytest.param(4, marks=LONG)])
def test_death_between_any_two_writes_loses_and_doubles_nothing(shared_store, log, first_death):
    reports = random_fleet(random.Random(5), boxes=2, minutes=2)
    first, second = reports[: len(reports) // 2], reports[len(reports) // 2 :]
    again = [shifted(r, 10_000) for r in first[:5]]
    deaths = 0
    for at in range(first_death, 1_000, 4):
        log._records.clear()
        store = shared_store.empty()
        send(log, *first)
        try:
            sink = Sink(log, DyingStore(store, at), PROMPT)
            sink.drain(T0 + MINUTE + 30_000)
            send(log, *second, *again)
            sink.drain(T0 + 4 * MINUTE)
        except Died:
            deaths += 1
            send(log, *second, *again)
            Sink(log, store, PROMPT).drain(T0 + 4 * MINUTE)
        else:
            break
        assert_truth(store, reports)
        books = ledger(store, T0)
        assert books.balanced
        assert (books.requests.lost, books.requests.double_counted) == (0, 0)
    assert deaths > 4


def test_a_full_store_stops_the_sink_and_nothing_is_lost(embedded, log):
    store = embedded.empty()
    reports = random_fleet(random.Random(6), boxes=2, minutes=2)
    send(log, *reports)
    sink = Sink(log, store, PROMPT)
    store._free_bytes = lambda _: -1
    try:
        with pytest.raises(StoreFull):
            sink.drain(T0 + 4 * MINUTE)
    finally:
        del store._free_bytes
        store._free_bytes = lambda _: 10**12
    sink.drain(T0 + 4 * MINUTE)
    assert_truth(store, reports)


def test_poison_goes_to_rejected_with_its_place_and_the_rest_goes_on(store, log):
    send(log, Box().report(T0, [make_slice()]))
    for topic in (topics.SLICES, topics.REPORTS, topics.VITALS, topics.CHANGES, topics.REJECTED):
        log.submit([Record(topic.name, b"k", b"\x00not arrow", T0)])
    wrong = batch(VITALS, {c.name: [] for c in VITALS}, pa)
    log.submit([Record(topics.SLICES.name, b"k", to_bytes(wrong, pa), T0)])
    send(log, Box("box-2").report(T0, [make_slice()]))
    sink = Sink(log, store, PROMPT)
    assert sink.drain(T0 + 3 * MINUTE).poison == 6
    assert store.query("SELECT sum(requests) AS n FROM minutes FINAL")["n"] == [20]
    rows = store.query("SELECT id, reason, detail, hex(body) AS body FROM rejected FINAL ORDER BY id")
    assert len(rows["id"]) == 6
    assert any("topic telemetry.slices, partition" in d and "offset 0" in d for d in rows["detail"])
    assert "006E6F74206172726F77" in rows["body"]
    store.execute("TRUNCATE TABLE positions")
    Sink(log, store, PROMPT).drain(T0 + 3 * MINUTE)
    assert store.query("SELECT id FROM rejected FINAL ORDER BY id") == {"id": rows["id"]}


class Choosy:
    """A store that refuses rows of one box."""

    def __init__(self, store, refused):
        self._store, self._refused = store, refused

    def __getattr__(self, name):
        return getattr(self._store, name)

    def insert(self, table, rows):
        if table == "slices" and self._refused in rows["device"].to_pylist():
            raise RowsRefused(f"{table}: no")
        return self._store.insert(table, rows)


def test_of_records_that_were_read_together_the_one_the_store_refuses_is_named(store, log):
    for n in range(5):
        send(log, Box(f"box-{n}").report(T0, [make_slice()]))
    sink = Sink(log, Choosy(store, "box-3"), PROMPT)
    assert sink.drain(T0 + 3 * MINUTE).poison == 1
    found = store.query("SELECT DISTINCT device FROM slices FINAL ORDER BY device")["device"]
    assert found == ["box-0", "box-1", "box-2", "box-4"]
    (reason,) = store.query("SELECT reason FROM rejected FINAL")["reason"]
    assert reason == "refused_by_store"


class Ailing:
    """A store whose next insert of slices, or next look for stored ones, fails with a code of the engine's."""

    def __init__(self, store, code):
        self._store, self._code, self.fails_at = store, code, None

    def __getattr__(self, name):
        return getattr(self._store, name)

    def insert(self, table, rows):
        self._fail("insert", table == "slices")
        return self._store.insert(table, rows)

    def query(self, sql, parameters=None):
        self._fail("query", "FROM slices\nWHERE" in sql)
        return self._store.query(sql, parameters)

    def _fail(self, call, concerned):
        if concerned and call == self.fails_at:
            self.fails_at = None
            raise from_code(self._code, "the disk behind it gave no answer")


@pytest.mark.parametrize(
    ("code", "call"),
    [(499, "insert"), (225, "insert"), (497, "insert"), (1001, "insert"), (0, "insert"), (53, "query")],
)
def test_a_store_that_fails_makes_no_poison_of_good_rows(embedded, log, code, call):
    store = embedded.empty()
    box = Box()
    reports = [box.report(T0, [make_slice()]), box.report(T0 + 10_000, [make_slice()])]
    ailing = Ailing(store, code)
    sink = Sink(log, ailing, PROMPT)
    send(log, reports[0])
    sink.drain(T0 + 20_000)
    ailing.fails_at = call
    send(log, *reports)  # of the first, stored slices are looked for
    with pytest.raises(StoreError, match="gave no answer"):
        sink.drain(T0 + 3 * MINUTE)
    assert sink.status(T0 + 3 * MINUTE)["poison"] == 0
    assert sink.drain(T0 + 3 * MINUTE).poison == 0
    assert_truth(store, reports)
    assert log.end_offsets(topics.REJECTED.name) == [0] * log.partitions(topics.REJECTED.name)


def test_heartbeats_hold_nothing(store, log):
    log.submit([Record(topics.SLICES.name, b"", b"", T0, 0, {"kind": "heartbeat"})])
    done = Sink(log, store, PROMPT).drain(T0)
    assert (done.records, done.poison) == (1, 0)


def test_every_topic_reaches_its_table(store, log):
    identity = {"device": ["d"], "boot": ["b"], "seq": [1], "start": [T0], "end": [T0 + 10_000], "received_at": [T0]}
    vitals = {c.name: [None] for c in VITALS} | identity | {"cpu_ratio": [0.5]}
    send_batch(log, topics.VITALS, "d", batch(VITALS, vitals, pa), T0, kind="vitals")
    text = {c.name: ["x"] for c in EXEMPLARS if c.dtype == "string"}
    exemplars = text | identity | {"at": [T0 + 5], "status": [503], "latency_ms": [900], "failure": ["f_server"]}
    send_batch(log, topics.VITALS, "d", batch(EXEMPLARS, exemplars, pa), T0, kind="exemplars")
    send_batch(log, topics.REJECTED, "d", rejected_batch(), T0)
    send_batch(log, topics.REJECTED, "d", rejected_batch(state="replayed"), T0)
    values = {c.name: [0] for c in QUALITY_MINUTES} | {"minute": [T0], "customer": ["acme"], "service": ["video"]}
    for name in ("latency_cell", "latency_count", "throughput_cell", "throughput_count"):
        values[name] = [[]]
    for revision in (2, 1):
        values |= {"revision": [revision], "requests": [revision * 10], "coverage": [0.5]}
        send_batch(log, topics.QUALITY_MINUTES, "acme", batch(QUALITY_MINUTES, values, pa), T0)
    change = (
        b'{"id": "c1", "kind": "firmware", "scope": {"firmware": "2"}, "start": "2023-11-14T22:14:00Z", "author": "li"}'
    )
    log.submit([Record(topics.CHANGES.name, b"c1", change, T0)])
    Sink(log, store, PROMPT).drain(T0 + 3 * MINUTE)
    assert store.query("SELECT cpu_ratio, load1 FROM vitals FINAL") == {"cpu_ratio": [0.5], "load1": [None]}
    assert store.query("SELECT status, failure FROM exemplars FINAL") == {"status": [503], "failure": ["f_server"]}
    assert store.query("SELECT state FROM rejected FINAL") == {"state": ["replayed"]}
    assert store.query("SELECT requests, revision FROM stream_minutes FINAL") == {"requests": [20], "revision": [2]}
    assert store.query("SELECT id, `end` FROM changes FINAL") == {"id": ["c1"], "end": [None]}


def test_the_open_minute_is_shown_within_seconds_and_final_when_it_ended(store, log):
    sink = Sink(log, store, SinkSettings(flush_every_ms=1_000, live_refresh_ms=5_000))
    box = Box()
    for k in range(3):
        send(log, box.report(T0 + k * 10_000, [make_slice()]))
        for s in range(10):
            sink.step(T0 + 12_000 + k * 10_000 + s * 1_000)
    assert store.query("SELECT requests FROM minutes FINAL")["requests"] == [30]
    assert coverage_shown(store) == {}, "coverage is stated of ended minutes only"
    sink.step(T0 + MINUTE + 20_000)
    assert coverage_shown(store) == {(T0, "acme"): 0.5 * 2 / 2}
    assert sink.status(T0 + MINUTE + 20_000)["dirty_minutes"] == 0


def test_silence_of_every_box_is_stated_as_zero_coverage_for_an_hour(store, log):
    box = Box()
    for k in range(6):
        send(log, box.report(T0 + k * 10_000, [make_slice()]))
    sink = Sink(log, store, PROMPT)
    for minute in range(1, 70):
        sink.step(T0 + minute * MINUTE + 30_000)
    shown_coverage = coverage_shown(store)
    assert shown_coverage[T0, "acme"] == pytest.approx(1.0)
    assert [shown_coverage.get((T0 + m * MINUTE, "acme")) for m in range(1, 62)] == [0.0] * 59 + [None, None]


def test_status_tells_lag_and_freshness(store, log):
    sink = Sink(log, store, PROMPT)
    assert sink.status(T0)["freshness_s"] is None
    send(log, Box().report(T0, [make_slice()]))
    assert sink.status(T0)["lag_records"] == 2
    sink.step(T0 + 15_000)
    status = sink.status(T0 + 15_000)
    assert (status["lag_records"], status["freshness_s"], status["slices"]) == (0, 5.0, 1)
    assert status["insert_rows_per_s"] > 0


def test_records_that_gather_are_waited_for_not_looked_at_again_and_again(store, log):
    slept = []
    sink = Sink(log, store, SinkSettings(flush_every_ms=2_000), sleep=slept.append)
    sink.step(T0)
    send(log, Box().report(T0, [make_slice()]))
    assert sink.step(T0 + 500, timeout_s=0.25).slices == 0
    assert sink.step(T0 + 1_900, timeout_s=0.25).slices == 0
    assert slept == [0.25, 0.1]
    assert sink.step(T0 + 2_000).slices == 1
    assert slept == [0.25, 0.1]


def test_the_lag_of_a_topic_without_a_record_read_is_counted_from_the_last_flush(store, log):
    sink = Sink(log, store, SinkSettings(flush_every_ms=60_000))
    sink.step(T0)
    send(log, Box().report(T0, [make_slice()]))
    assert sink.status(T0 + 5_000)["lag_s"] == 5.0


def test_what_is_stored_through_is_nothing_before_a_flush_has_reached_the_end_of_every_partition(store):
    log = MemoryLog(partitions=2)
    for box in ("box-1", "box-2", "box-3", "box-4"):
        send(log, *(Box(box, f"{box}-boot").report(T0 + k * 10_000, [make_slice()]) for k in range(12)))
    assert all(log.end_offsets(topics.REPORTS.name)), "headers wait in every partition"
    sink = Sink(log, store, SinkSettings(flush_every_ms=0, block_rows=10, poll_records=5, blocks_per_step=1))
    assert sink.status(T0 + MINUTE)["stored_through"] == 0
    told = []
    at = T0 + 2 * MINUTE
    while not sink.step(at := at + 1_000).caught_up:
        told.append(sink.status(at)["stored_through"])
    assert len(told) > 2
    assert set(told) == {0}, "some partition was unread however new the records of another"
    assert sink.status(at + 5_000)["stored_through"] == at
    send(log, Box("box-5", "boot-5").report(T0, [make_slice()]))
    assert sink.status(at + 5_000)["stored_through"] == at
    sink.drain(at + 6_000)
    assert sink.status(at + 7_000)["stored_through"] == at + 6_000


def test_a_flush_that_fails_leaves_what_is_stored_through(store, log):
    sink = Sink(log, store, PROMPT)
    sink.step(T0)
    send(log, Box().report(T0, [make_slice()]))
    ends = log.end_offsets
    log.end_offsets = lambda topic: 1 / 0
    with pytest.raises(ZeroDivisionError):
        sink.step(T0 + MINUTE)
    log.end_offsets = ends
    assert sink.status(T0 + MINUTE)["stored_through"] == T0
    sink.step(T0 + 2 * MINUTE)
    assert sink.status(T0 + 2 * MINUTE)["stored_through"] == T0 + 2 * MINUTE


def test_a_report_of_a_box_that_was_forgotten_is_still_stored_once(embedded, log):
    store = embedded.empty()
    report = Box().report(T0, [make_slice()])
    send(log, report)
    sink = Sink(log, store, PROMPT)
    sink.drain(T0 + MINUTE)
    late = T0 + 80 * 60 * MINUTE
    sink.step(late)
    assert sink._known.headers == {}
    send(log, report)
    assert sink.drain(late + MINUTE).duplicates == 2
    assert store.query("SELECT count() AS n FROM slices")["n"] == [1]
    assert_truth(store, [report])


def test_small_blocks_and_steps_end_in_the_same_truth(store, log):
    reports = random_fleet(random.Random(8), boxes=3, minutes=2)
    send(log, *reports)
    sink = Sink(log, store, SinkSettings(flush_every_ms=0, block_rows=7, poll_records=3, blocks_per_step=2))
    steps = 0
    while not (done := sink.step(T0 + 4 * MINUTE)).caught_up:
        steps += 1
        assert done.records > 0
        assert ledger(store, T0).balanced, "headers never run ahead of their slices"
    assert steps >= 2
    sink.drain(T0 + 4 * MINUTE)
    assert_truth(store, reports)
