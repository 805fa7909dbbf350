"""The spool: atomic commits, bounded size, every drop declared, whatever happens to the bytes."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_exporter import segments
from agent_exporter.entries import Drops, Entry
from agent_exporter.errors import SpoolError
from agent_exporter.spool import Spool, newest_state
from contracts.report import EarlierBoot

BIG = 64 * 2**20


def opened(root: Path, boot: str, max_bytes: int = BIG) -> Spool:
    spool = Spool(root, max_bytes)
    spool.begin_boot(boot)
    return spool


def put(spool: Spool, boot: str, seqs: list[int], *, size: int = 40, requests: int = 1, at: int = 0) -> None:
    """Commit one tick: a report per seq, the last of them live, and the position `at`."""
    reports = [
        (
            Entry(boot, seq, requests, 2 * requests, 0, live=seq == seqs[-1]),
            f"{boot}/{seq}|".encode() + os.urandom(size),
        )
        for seq in seqs
    ]
    spool.commit(reports, {"at": at}, spool.dropped())


def names(spool: Spool) -> list[tuple[str, int]]:
    """Names of what waits, oldest first, without settling anything."""
    return [(e.boot, e.seq) for e in spool._waiting()]


def send_all(spool: Spool) -> list[str]:
    """Deliver everything; the names that the bodies themselves carry."""
    sent = []
    while (entry := spool.live() or spool.backlog()) is not None:
        body = spool.take(entry)
        if body is not None:
            sent.append(body.split(b"|")[0].decode())
            spool.settle(entry)
    return sent


def test_reports_come_back_after_a_restart_in_order(tmp_path: Path) -> None:
    spool = opened(tmp_path, "a")
    put(spool, "a", [1, 2], at=10)
    put(spool, "a", [3], at=20)
    again = opened(tmp_path, "b")
    assert names(again) == [("a", 1), ("a", 2), ("a", 3)]
    assert again.state == {"at": 20}
    assert newest_state(tmp_path)["agent"] == {"at": 20}  # type: ignore[index]
    assert send_all(again) == ["a/1", "a/2", "a/3"]


def test_settled_reports_stay_settled_once_a_commit_said_so(tmp_path: Path) -> None:
    spool = opened(tmp_path, "a")
    put(spool, "a", [1])
    send_all(spool)
    put(spool, "a", [2])
    assert names(opened(tmp_path, "b")) == [("a", 2)]


def test_newest_interval_is_live_and_the_rest_is_backlog(tmp_path: Path) -> None:
    spool = opened(tmp_path, "a")
    put(spool, "a", [1])
    put(spool, "a", [2, 3])
    live, backlog = spool.live(), spool.backlog()
    assert live is not None
    assert backlog is not None
    assert (live.seq, backlog.seq) == (3, 1)


def test_finished_segments_are_deleted_and_the_state_stays(tmp_path: Path) -> None:
    spool = opened(tmp_path, "a", max_bytes=2**21)
    for seq in range(1, 60):
        put(spool, "a", [seq], size=20_000, at=seq)
        send_all(spool)
    assert len(list(tmp_path.iterdir())) <= 2
    assert opened(tmp_path, "b").state == {"at": 59}


def test_full_spool_drops_the_oldest_and_declares_them(tmp_path: Path) -> None:
    limit = 2**21
    spool = opened(tmp_path, "a", max_bytes=limit)
    for seq in range(1, 201):
        put(spool, "a", [seq], size=20_000, requests=3)
        assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= limit
    kept = [seq for _, seq in names(spool)]
    gone = 200 - len(kept)
    assert 0 < gone < 200
    assert kept == list(range(gone + 1, 201))
    assert spool.dropped() == {"spool_full": Drops(gone, 3 * gone, 6 * gone)}
    assert spool.oldest_seq() == gone + 1


def test_drops_are_declared_once_across_a_restart(tmp_path: Path) -> None:
    spool = opened(tmp_path, "a", max_bytes=2**21)
    for seq in range(1, 121):
        put(spool, "a", [seq], size=20_000)
    # The last commit may have dropped more than the report in it could say.
    said = spool._boots["a"].declared.reports
    dropped = spool.dropped()["spool_full"].reports
    again = opened(tmp_path, "b", max_bytes=2**21)
    [earlier] = again.earlier_boots(1)
    assert earlier.dropped_reports == dropped - said
    assert earlier.oldest_spooled_seq == dropped + 1


def test_report_being_sent_while_it_is_dropped_is_declared_only_if_it_fails(tmp_path: Path) -> None:
    for fails in (True, False):
        root = tmp_path / str(fails)
        spool = opened(root, "a", max_bytes=2**21)
        put(spool, "a", [1], size=20_000)
        put(spool, "a", [2], size=20_000)
        entry = spool.backlog()
        assert entry is not None
        assert spool.take(entry)
        for seq in range(3, 150):
            put(spool, "a", [seq], size=20_000)
        before = spool.dropped()["spool_full"].reports
        (spool.release if fails else spool.settle)(entry)
        assert spool.dropped()["spool_full"].reports - before == fails
        assert (spool.dropped()["spool_full"].reports + len(names(spool))) == 149 - (not fails)


def test_earlier_boot_is_spoken_of_until_its_end_was_delivered(tmp_path: Path) -> None:
    put(opened(tmp_path, "a"), "a", [1, 2])
    spool = opened(tmp_path, "b")
    assert spool.earlier_boots(1) == [EarlierBoot("a", 1)]
    put(spool, "b", [1])
    send_all(spool)
    assert spool.earlier_boots(2) == [EarlierBoot("a", None)]
    put(spool, "b", [2])
    assert spool.earlier_boots(3) == [EarlierBoot("a", None)]
    send_all(spool)
    assert spool.earlier_boots(4) == []


def test_rotten_report_is_declared_when_it_is_to_be_sent(tmp_path: Path) -> None:
    spool = opened(tmp_path, "a")
    put(spool, "a", [1, 2], requests=5)
    [path] = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    assert send_all(spool) == ["a/2"]
    assert spool.dropped() == {"spool_corrupt": Drops(1, 5, 10)}


def test_failed_write_keeps_nothing_of_the_tick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(tmp_path, "a")
    put(spool, "a", [1], at=1)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(segments.os, "fdatasync", full)
        with pytest.raises(SpoolError, match="No space left"):
            put(spool, "a", [2], at=2)
    assert names(spool) == [("a", 1)]
    put(spool, "a", [2], at=3)
    again = opened(tmp_path, "b")
    assert names(again) == [("a", 1), ("a", 2)]
    assert again.state == {"at": 3}


def test_large_commit_is_synced_before_its_state_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(tmp_path, "a")
    put(spool, "a", [1])
    sizes = []
    [path] = tmp_path.iterdir()
    monkeypatch.setattr(segments.os, "fdatasync", lambda fd: sizes.append(path.stat().st_size))
    before = path.stat().st_size
    put(spool, "a", [2], size=10_000)
    assert len(sizes) == 2
    assert before + 10_000 < sizes[0] < sizes[1] == path.stat().st_size


ticks = st.lists(st.integers(1, 3), min_size=1, max_size=6)


def filled(root: Path, sizes: list[int]) -> list[tuple[int, int]]:
    """Commit ticks of so many reports; (last seq, bytes written so far) after each."""
    spool = opened(root, "a")
    seq, result = 0, []
    for n, size in enumerate(sizes):
        put(spool, "a", list(range(seq + 1, seq + size + 1)), at=n + 1)
        seq += size
        result.append((seq, spool.size_bytes))
    spool.close()
    return result


@settings(max_examples=40, deadline=None)
@given(ticks, st.data())
def test_power_cut_at_any_byte_leaves_whole_ticks(sizes: list[int], data: st.DataObject) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        after = filled(root, sizes)
        [path] = root.iterdir()
        cut = data.draw(st.integers(0, after[-1][1]))
        os.truncate(path, cut)
        again = opened(root, "b")
        # One of the two copies of the state is enough.
        state = again.state.get("at", 0)
        whole = sum(end <= cut for _, end in after)
        assert whole <= state <= min(len(sizes), whole + 1)
        assert names(again) == [("a", seq) for seq in range(1, (after[state - 1][0] if state else 0) + 1)]
        assert again.dropped() == {}
        put(again, "b", [1], at=99)
        assert opened(root, "c").state == {"at": 99}
    finally:
        shutil.rmtree(root)


@settings(max_examples=40, deadline=None)
@given(ticks, st.data())
def test_any_flipped_bit_is_declared_and_the_state_survives(sizes: list[int], data: st.DataObject) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        total, size = filled(root, sizes)[-1]
        [path] = root.iterdir()
        damaged = bytearray(path.read_bytes())
        bit = data.draw(st.integers(0, size * 8 - 1))
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        again = opened(root, "b")
        assert again.damaged
        assert again.state == {"at": len(sizes)}
        [earlier] = again.earlier_boots(1)
        # Each report is either still there or declared, with the requests and slices it held.
        assert len(names(again)) + earlier.dropped_reports == total
        assert earlier.dropped_reports <= 1
        assert (earlier.dropped_requests, earlier.dropped_slices) == (
            earlier.dropped_reports,
            2 * earlier.dropped_reports,
        )
        assert len(send_all(again)) == total - earlier.dropped_reports
    finally:
        shutil.rmtree(root)


@settings(max_examples=40, deadline=None)
@given(ticks, st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=40)), max_size=4), st.integers(0, 3000))
def test_no_damage_stops_the_agent(sizes: list[int], patches: list[tuple[int, bytes]], cut: int) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        filled(root, sizes)
        [path] = root.iterdir()
        damaged = bytearray(path.read_bytes())
        for at, junk in patches:
            damaged[at : at + len(junk)] = junk
        path.write_bytes(damaged[:cut])
        again = opened(root, "b")
        send_all(again)
        put(again, "b", [1], at=77)
        assert opened(root, "c").state == {"at": 77}
    finally:
        shutil.rmtree(root)
