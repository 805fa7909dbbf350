"""Space and memory: what the log refuses, and what retention gives back without losing anything that counts."""

import os
import threading

import pytest

from contracts.protocols import LogCorrupt, LogError, LogFull, LogUnavailable, Record
from ingest.log import EmbeddedLog
from ingest.log import writer as writer_module
from tests.ingest.log.builders import INCIDENTS, REPORTS, SLICES, append, open_log, read, record


def incident(key, value, at):
    return Record(INCIDENTS, key, value, at)


def current(log):
    """Newest value per incident, as a reader of the whole topic learns it."""
    newest = {}
    reader = log.reader({(INCIDENTS, p): o for p, o in enumerate(log.start_offsets(INCIDENTS))})
    while records := reader.poll(100, 0):
        newest.update((r.key, r.value) for r in records)
    return newest


def fill(log, times):
    """One segment per time: each call is larger than a segment."""
    for at in times:
        append(log, record(b"x" * 400, at=at), record(b"y", topic=REPORTS, at=at))


def test_expire_frees_old_segments_and_keeps_offsets(tmp_path):
    log = open_log(tmp_path / "log", segment_bytes=300)
    fill(log, [1_000, 2_000, 3_000])
    before = log.size_bytes()
    assert log.expire(3_000, {}) == 2
    assert log.size_bytes() < before
    assert log.start_offsets(SLICES)[0] == 2
    assert [place[:3] for place in read(log)] == [(SLICES, 0, 2), (REPORTS, 0, 2)]
    log.close()
    log = open_log(tmp_path / "log", segment_bytes=300)
    assert log.start_offsets(SLICES)[0] == 2
    log.close()


def test_offsets_go_on_when_everything_has_expired(tmp_path):
    log = open_log(tmp_path / "log", segment_bytes=300)
    fill(log, [1_000, 2_000])
    log.expire(9_000, {})
    assert (log.start_offsets(SLICES)[0], log.end_offsets(SLICES)[0]) == (2, 2)
    log.close()
    log = open_log(tmp_path / "log", segment_bytes=300)
    assert append(log, record()) == [(0, 2)]
    assert log.offsets_for_time(SLICES, 0)[0] == 2
    log.close()


def test_the_newest_segment_expires_too_when_it_is_old(tmp_path):
    log = open_log(tmp_path / "log")
    fill(log, [1_000])
    assert log.expire(2_000, {}) == 1
    assert read(log) == []
    log.close()


def test_expire_stops_at_what_a_consumer_has_not_read(tmp_path):
    log = open_log(tmp_path / "log", segment_bytes=300)
    fill(log, [1_000, 2_000, 3_000])
    assert log.expire(9_000, {(SLICES, 0): 1, (REPORTS, 0): 3}) == 1
    assert log.start_offsets(SLICES)[0] == 1
    log.close()


def test_expire_keeps_the_newest_record_of_each_key_of_compacted_topics(tmp_path):
    log = open_log(tmp_path / "log", segment_bytes=300)
    append(log, incident(b"a", b"a1", 1_000), incident(b"b", b"b1", 1_000), incident(b"gone", b"g1", 1_000))
    fill(log, [1_000])
    append(log, incident(b"a", b"a2", 2_000), incident(b"gone", b"", 2_000))
    fill(log, [2_000, 5_000])
    expected = {b"a": b"a2", b"b": b"b1"}
    log.expire(4_000, {})
    assert current(log) == expected
    log.close()
    log = open_log(tmp_path / "log", segment_bytes=300)
    assert current(log) == expected
    log.expire(9_000, {})
    assert current(log) == expected
    log.close()


def test_a_reader_left_behind_goes_on_at_the_oldest_kept(tmp_path):
    log = open_log(tmp_path / "log", segment_bytes=300)
    fill(log, [1_000, 2_000, 3_000])
    reader = log.reader({(SLICES, 0): 0})
    assert reader.poll(1, 0)[0].offset == 0
    log.expire(3_000, {})
    assert [r.offset for r in reader.poll(10, 0)] == [2]
    assert [r.offset for r in log.reader({(SLICES, 0): 0}).poll(10, 0)] == [2]
    log.close()


def test_a_full_disk_refuses_and_takes_again_when_there_is_space(tmp_path, monkeypatch):
    log = open_log(tmp_path / "log", min_free_bytes=1 << 20)
    append(log, record(b"before"))
    stat = os.statvfs(tmp_path)
    values = list(stat)
    values[4] = 0  # f_bavail
    with monkeypatch.context() as patched:
        patched.setattr(writer_module.os, "statvfs", lambda path: os.statvfs_result(values))
        with pytest.raises(LogFull, match="bytes free"):
            append(log, record(b"lost"))
    assert append(log, record(b"after")) == [(0, 1)]
    assert [value for *_, value in read(log)] == [b"before", b"after"]
    log.close()


def test_a_write_cut_by_a_full_disk_leaves_no_trace(tmp_path, monkeypatch):
    log = open_log(tmp_path / "log")
    append(log, record(b"before"))
    real = os.write

    def cut(file, data):
        if len(data) > 100:
            return real(file, data[:50])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(writer_module.os, "write", cut)
        with pytest.raises(LogFull, match="No space"):
            append(log, record(b"x" * 110))
    assert append(log, record(b"after")) == [(0, 1)]
    log.close()
    [sidecar] = (tmp_path / "log").glob("*.idx")
    sidecar.unlink()
    with open_log(tmp_path / "log") as log:
        assert [value for *_, value in read(log)] == [b"before", b"after"]


def test_after_a_failed_fsync_nothing_is_promised_any_more(tmp_path, monkeypatch):
    log = open_log(tmp_path / "log")
    append(log, record(b"before"))
    with monkeypatch.context() as patched:

        def fail(file):
            raise OSError(5, "Input/output error")

        patched.setattr(writer_module.os, "fdatasync", fail)
        with pytest.raises(LogUnavailable, match="fsync failed"):
            append(log, record(b"unknown"))
    with pytest.raises(LogUnavailable, match="restart"):
        append(log, record(b"refused"))
    log.close()
    with open_log(tmp_path / "log") as log:
        assert read(log)[0][3] == b"before"
        assert append(log, record(b"after"))


def test_the_buffer_is_bounded(tmp_path, monkeypatch):
    log = open_log(tmp_path / "log", max_buffered_bytes=10_000)
    release = threading.Event()
    real = os.fdatasync
    with monkeypatch.context() as patched:
        patched.setattr(writer_module.os, "fdatasync", lambda file: (release.wait(20), real(file))[1])
        futures = [log.submit([record(b"x" * 4_000)]) for _ in range(2)]
        with pytest.raises(LogUnavailable, match="wait for the disk"):
            log.submit([record(b"x" * 4_000)])
        release.set()
        assert [f.result(20) for f in futures] == [[(0, 0)], [(0, 1)]]
    assert append(log, record(b"x" * 4_000)) == [(0, 2)]
    log.close()


def test_a_call_that_can_never_fit_is_not_retriable(tmp_path):
    log = open_log(tmp_path / "log", max_buffered_bytes=1_000)
    with pytest.raises(LogError, match="at most 1000 bytes") as caught:
        log.submit([record(b"x" * 2_000)])
    assert not isinstance(caught.value, LogUnavailable)
    log.close()


def test_an_undeclared_topic_is_refused_by_name(tmp_path):
    log = open_log(tmp_path / "log")
    with pytest.raises(LogError, match=r"telemetry\.slice'"):
        log.submit([record(topic="telemetry.slice")])
    log.close()


def test_the_number_of_partitions_cannot_change(tmp_path):
    open_log(tmp_path / "log", partitions=4).close()
    with pytest.raises(LogError, match="made with 4, got 8"):
        open_log(tmp_path / "log", partitions=8)
    EmbeddedLog(tmp_path / "log", partitions=4).close()


def test_reading_damage_in_an_open_log_names_the_place(tmp_path):
    log = open_log(tmp_path / "log")
    append(log, record(b"precious"))
    [path] = (tmp_path / "log").glob("*.seg")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"precious", b"previous"))
    with pytest.raises(LogCorrupt, match=f"{path.name} at byte"):
        read(log)
    log.close()


def test_records_larger_than_a_chunk_are_read(tmp_path):
    log = open_log(tmp_path / "log")
    append(log, record(b"a" * 3_000_000), record(b"b" * 10))
    append(log, record(b"c" * 2_000_000))
    assert [len(value) for *_, value in read(log)] == [3_000_000, 10, 2_000_000]
    log.close()


def test_sparse_index_finds_any_offset_and_time(tmp_path):
    log = open_log(tmp_path / "log", segment_bytes=3_000_000)
    for i in range(60):
        append(log, record(b"x" * 100_000, at=i * 10, partition=i % 2))
    for offset in range(30):
        [got] = log.reader({(SLICES, 1): offset}).poll(1, 0)
        assert (got.offset, got.timestamp_ms) == (offset, offset * 20 + 10)
        assert log.offsets_for_time(SLICES, offset * 20 + 10)[1] == offset
        assert log.offsets_for_time(SLICES, offset * 20 + 11)[1] == offset + 1
    log.close()
