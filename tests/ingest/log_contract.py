"""What every Log must do. A test module subclasses LogContract and gives it a fixture `make_log`: a function that
opens the log of this test, again with what it held after a close. Each test begins with an empty log."""

import threading
import time
from concurrent.futures import wait

import pytest

from contracts.protocols import Log, LogError, LogUnavailable, Record, StoredRecord
from contracts.topics import partition_of

SLICES, REPORTS, SIGNALS = "telemetry.slices", "telemetry.reports", "signals"
DEADLINE_S = 20


def record(value=b"v", *, topic=SLICES, key=b"k", at=1_000, partition=None, headers=None):
    return Record(topic, key, value, at, partition, headers or {})


def append(log, *records):
    return log.submit(list(records)).result(DEADLINE_S)


def until(condition, what):
    """Wait for a condition, with a deadline; `what` names it when it never came."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in {DEADLINE_S} s"
        time.sleep(0.02)


def read(log, topic=SLICES, *, count=None, start=None):
    """All records of a topic (or `count` of them) from its oldest or from given offsets."""
    start = log.start_offsets(topic) if start is None else start
    reader = log.reader({(topic, p): o for p, o in enumerate(start)})
    expected = sum(log.end_offsets(topic)) - sum(start) if count is None else count
    records, deadline = [], time.monotonic() + DEADLINE_S
    while len(records) < expected and time.monotonic() < deadline:
        records += reader.poll(100, 0.2)
    reader.close()
    assert len(records) == expected
    return records


class LogContract:
    """Tests of contracts.protocols.Log."""

    def test_is_a_log(self, make_log):
        assert isinstance(make_log(), Log)

    def test_record_comes_back_as_it_was_given(self, make_log):
        log = make_log()
        given = record(
            b"\x00\xff" * 50, key=b"customer-\xf0", at=1_700_000_000_123, headers={"kind": "vitals", "n": "é"}
        )
        [(partition, offset)] = append(log, given)
        assert partition == partition_of(given.key, log.partitions(SLICES))
        expected = StoredRecord(
            SLICES, partition, offset, given.key, given.value, given.timestamp_ms, {"kind": "vitals", "n": "é"}
        )
        assert read(log) == [expected]

    def test_empty_key_value_and_headers_are_kept_empty(self, make_log):
        log = make_log()
        append(log, record(b"", key=b"", partition=0))
        [stored] = read(log)
        assert (stored.key, stored.value, dict(stored.headers)) == (b"", b"", {})

    def test_offsets_count_up_per_partition_in_order_of_submission(self, make_log):
        log = make_log()
        places = append(log, *(record(partition=p) for p in (0, 1, 0, 1, 0)))
        assert places == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)]
        assert append(log, record(partition=1)) == [(1, 2)]
        assert log.end_offsets(SLICES)[:2] == [3, 3]
        assert log.start_offsets(SLICES)[:2] == [0, 0]

    def test_submitting_nothing_ends_at_once(self, make_log):
        assert append(make_log()) == []

    def test_topics_do_not_mix(self, make_log):
        log = make_log()
        append(log, record(b"slice"), record(b"report", topic=REPORTS), record(b"signal", topic=SIGNALS))
        assert [r.value for r in read(log, REPORTS)] == [b"report"]
        assert [r.value for r in read(log, SIGNALS)] == [b"signal"]

    def test_a_topic_with_its_own_number_of_partitions_has_it(self, make_log):
        log = make_log()
        assert log.partitions(SIGNALS) == 1
        assert log.partitions(SLICES) == len(log.end_offsets(SLICES)) > 1

    def test_a_partition_beyond_the_topic_is_refused(self, make_log):
        log = make_log()
        with pytest.raises((LogError, ValueError)):
            append(log, record(partition=log.partitions(SLICES)))

    def test_order_in_a_partition_survives_many_submitting_threads(self, make_log):
        log = make_log()

        def run(name):
            futures = [log.submit([record(b"%s-%d" % (name, i), partition=0)]) for i in range(100)]
            wait(futures, DEADLINE_S)

        threads = [threading.Thread(target=run, args=(n,)) for n in (b"a", b"b", b"c")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        records = read(log)
        assert [r.offset for r in records] == list(range(300))
        for name in (b"a", b"b", b"c"):
            mine = [r.value for r in records if r.value.startswith(name)]
            assert mine == [b"%s-%d" % (name, i) for i in range(100)]

    def test_what_was_acknowledged_is_there_after_reopening_and_offsets_go_on(self, make_log):
        log = make_log()
        append(log, *(record(b"%d" % i, partition=0) for i in range(10)))
        log.close()
        log = make_log()
        assert [r.value for r in read(log)] == [b"%d" % i for i in range(10)]
        assert append(log, record(partition=0)) == [(0, 10)]

    def test_close_finishes_what_was_submitted(self, make_log):
        log = make_log()
        futures = [log.submit([record(partition=0)]) for _ in range(50)]
        log.close()
        assert [f.result(DEADLINE_S) for f in futures] == [[(0, i)] for i in range(50)]

    def test_a_closed_log_refuses(self, make_log):
        log = make_log()
        log.close()
        with pytest.raises(LogUnavailable):
            append(log, record())

    def test_positions_are_the_next_offset_to_be_read(self, make_log):
        log = make_log()
        append(log, *(record(b"%d" % i, partition=0) for i in range(5)))
        reader = log.reader({(SLICES, 0): 0, (SLICES, 1): 0})
        assert reader.positions() == {(SLICES, 0): 0, (SLICES, 1): 0}
        got = reader.poll(2, DEADLINE_S)
        assert [r.offset for r in got] == [0, 1]
        assert reader.positions() == {(SLICES, 0): 2, (SLICES, 1): 0}

    def test_seek_reads_again_and_ahead(self, make_log):
        log = make_log()
        append(log, *(record(b"%d" % i, partition=0) for i in range(6)))
        reader = log.reader({(SLICES, 0): 0})
        assert len(reader.poll(4, DEADLINE_S)) >= 1
        reader.seek(SLICES, 0, 1)
        assert reader.poll(1, DEADLINE_S)[0].offset == 1
        reader.seek(SLICES, 0, 5)
        assert [r.offset for r in reader.poll(10, DEADLINE_S)] == [5]

    def test_seek_of_one_partition_leaves_the_others(self, make_log):
        log = make_log()
        append(log, *(record(partition=p) for p in (0, 1, 0, 1)))
        reader = log.reader({(SLICES, 0): 0, (SLICES, 1): 0})
        seen = []
        while len(seen) < 4:
            seen += reader.poll(10, DEADLINE_S)
        reader.seek(SLICES, 0, 1)
        assert [(r.partition, r.offset) for r in reader.poll(10, DEADLINE_S)] == [(0, 1)]

    def test_a_reader_at_the_end_waits_for_the_next_record(self, make_log):
        log = make_log()
        append(log, record(partition=0))
        reader = log.reader({(SLICES, 0): 1})
        assert reader.poll(10, 0) == []
        got = []
        thread = threading.Thread(target=lambda: got.extend(reader.poll(10, DEADLINE_S)))
        thread.start()
        append(log, record(b"other", topic=REPORTS))
        append(log, record(b"next", partition=0))
        thread.join(DEADLINE_S)
        assert [r.value for r in got] == [b"next"]

    def test_two_readers_do_not_disturb_each_other(self, make_log):
        log = make_log()
        append(log, *(record(b"%d" % i, partition=0) for i in range(4)))
        first, second = log.reader({(SLICES, 0): 0}), log.reader({(SLICES, 0): 2})
        assert [r.offset for r in second.poll(10, DEADLINE_S)] == [2, 3]
        assert [r.offset for r in first.poll(10, DEADLINE_S)] == [0, 1, 2, 3]

    def test_offsets_for_time_is_the_first_at_or_after(self, make_log):
        log = make_log()
        for at in (1_000, 3_000, 2_000, 5_000):
            append(log, record(at=at, partition=0))
        asked = {at: log.offsets_for_time(SLICES, at)[0] for at in (0, 1_000, 1_001, 3_000, 3_001, 5_000, 5_001)}
        assert asked == {0: 0, 1_000: 0, 1_001: 1, 3_000: 1, 3_001: 3, 5_000: 3, 5_001: 4}

    def test_offsets_for_time_of_an_empty_partition_is_its_end(self, make_log):
        log = make_log()
        append(log, record(at=1_000, partition=0))
        assert log.offsets_for_time(SLICES, 0)[1:] == log.end_offsets(SLICES)[1:]
