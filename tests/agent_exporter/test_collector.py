"""From log to spool: each line once, in its own interval, through rotation, truncation, crashes and full disks."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from agent_exporter import collector as module
from agent_exporter import segments
from agent_exporter.config import LogSettings
from agent_exporter.lines import Defaults
from contracts.report import MAX_SLICES, Report
from tests.agent_exporter.builders import T0, Box, access, drain, encoded, served, task


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def by_start(reports: list[Report]) -> dict[int, int]:
    """Requests by start of the interval."""
    result: dict[int, int] = {}
    for report in reports:
        result[report.start] = result.get(report.start, 0) + sum(report.slices.counts["requests"])
    return result


def test_idle_interval_has_a_report(box: Box) -> None:
    box.tick()
    box.tick()
    reports = drain(box.spool)
    assert [(r.seq, r.start, r.end) for r in reports] == [(1, T0, T0 + 10_000), (2, T0 + 10_000, T0 + 20_000)]
    assert all(len(r.slices) == 0 for r in reports)


def test_lines_after_the_end_wait_for_the_next_interval(box: Box) -> None:
    box.now += 10_200
    box.write(access(T0 + 9_999), access(T0 + 10_000), access(T0 + 10_100))
    box.tick(0)
    assert by_start(drain(box.spool)) == {T0: 1}
    box.tick()
    assert by_start(drain(box.spool)) == {T0 + 10_000: 2}


def test_older_lines_get_reports_of_their_own_interval(box: Box) -> None:
    box.now += 60_000
    box.write(access(T0 + 1_000), access(T0 + 15_000), access(T0 + 2_000), access(T0 + 61_000))
    box.tick()
    reports = drain(box.spool)
    assert [(r.start, sum(r.slices.counts["requests"])) for r in reports] == [
        (T0, 2),
        (T0 + 10_000, 1),
        (T0 + 60_000, 1),
    ]
    assert [r.totals.requests for r in reports] == [2, 3, 4]
    assert not reports[0].vitals


def test_long_downtime_is_caught_up_in_bounded_ticks(box: Box) -> None:
    intervals = module.MAX_OLDER_INTERVALS + 20
    box.write(*(access(T0 + i * 10_000) for i in range(intervals)))
    box.tick(intervals * 10 + 10)
    first = drain(box.spool)
    assert len(first) == module.MAX_OLDER_INTERVALS + 1
    box.tick()
    assert by_start(first + drain(box.spool)) == {T0 + i * 10_000: 1 for i in range(intervals)} | {
        T0 + intervals * 10_000: 0,
        T0 + intervals * 10_000 + 10_000: 0,
    }


def test_ticks_are_bounded_in_lines(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINES_PER_TICK", 7)
    box.write(*(access(T0) for _ in range(10)))
    box.tick()
    assert sum(served(drain(box.spool)).values()) == 7
    box.tick()
    assert by_start(drain(box.spool)) == {T0: 3, T0 + 10_000: 0}


def test_malformed_line_is_counted_as_a_dropped_request_and_kept_as_a_sample(box: Box) -> None:
    box.write(access(T0), b"junk", b'{"msec":"x"}', access(T0 + 1))
    box.tick()
    [report] = drain(box.spool)
    assert report.totals.requests == 4
    assert report.totals.dropped_requests == {"line_malformed": 2}
    assert sum(report.slices.counts["requests"]) == 2
    assert any("junk" in sample for sample in box.spool.state["malformed_sample"])


def test_unfinished_line_waits_for_its_end(box: Box) -> None:
    line = encoded(access(T0 + 1))
    with box.log.open("ab") as f:
        f.write(line[:20])
    box.tick()
    assert served(drain(box.spool)) == {}
    with box.log.open("ab") as f:
        f.write(line[20:] + b"\n")
    box.tick()
    [report] = [r for r in drain(box.spool) if len(r.slices)]
    assert (report.start, report.totals.requests, report.totals.dropped_requests) == (T0, 1, {})


@pytest.mark.parametrize("size", [65_537, 200_000, 1_000_000])
def test_overlong_line_is_one_malformed_line(box: Box, size: int) -> None:
    box.write(access(T0), b"x" * size, access(T0 + 1))
    box.tick()
    box.tick()
    reports = drain(box.spool)
    assert served(reports) == {"acme": 2}
    assert reports[-1].totals.dropped_requests == {"line_malformed": 1}


def test_line_beyond_the_seal_is_declared_too_old(box: Box) -> None:
    box.now += 48 * 3_600_000
    box.write(access(T0), access(0), access(box.now))
    box.tick()
    reports = drain(box.spool)
    assert served(reports) == {"acme": 1}
    assert reports[-1].totals.dropped_requests == {"line_too_old": 2}
    assert reports[-1].totals.requests == 3


def test_line_far_ahead_of_a_clock_that_was_set_back_counts_now(box: Box) -> None:
    box.write(access(T0 + 3_600_000), access(T0 + 1))
    box.tick()
    assert by_start(drain(box.spool)) == {T0: 2}
    assert box.collector.counters.ahead == 1


def test_corrected_clock_moves_lines_and_intervals_alike(box: Box) -> None:
    box.clock.correction_ms = 3_600_000
    box.write(access(T0 + 1))
    box.now += 10_000
    box.collector.tick(T0 + 3_610_000)
    [report] = drain(box.spool)
    assert by_start([report]) == {T0 + 3_600_000: 1}
    assert report.exemplars["at"] == [T0 + 3_600_001]


def test_dropped_slices_are_declared(box: Box) -> None:
    lines = [access(T0, server_customer=f"c{i}") for i in range(MAX_SLICES + 5)]
    box.write(*lines)
    box.tick()
    [report] = drain(box.spool)
    assert len(report.slices) == MAX_SLICES
    assert report.totals.slices == MAX_SLICES + 5
    assert report.totals.dropped_slices == {"slice_limit": 5}
    assert report.totals.dropped_requests == {"slice_limit": 5}


def test_report_too_large_for_the_wire_loses_its_smallest_slices(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DECODED_BYTES", 20_000)
    box.write(*(access(T0, server_customer=f"c{i}") for i in range(400)))
    box.tick()
    [report] = drain(box.spool)
    assert 0 < len(report.slices) < 400
    assert report.totals.dropped_slices == {"slice_limit": 400 - len(report.slices)}
    assert report.totals.slices == report.totals.requests == 400


def test_restart_begins_a_boot_whose_totals_start_at_zero(box: Box) -> None:
    box.write(access(T0))
    box.tick()
    box.crash()
    box.start()
    box.write(access(box.now))
    box.tick()
    first, second = drain(box.spool)
    assert (first.boot, first.seq, first.totals.requests) == ("boot-1", 1, 1)
    assert (second.boot, second.seq, second.totals.requests) == ("boot-2", 1, 1)
    assert [(b.boot, b.oldest_spooled_seq) for b in second.earlier_boots] == [("boot-1", 1)]
    assert second.oldest_spooled_seq == 1


def test_disk_full_keeps_lines_in_the_log_until_there_is_room(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    box.write(access(T0))
    with monkeypatch.context() as patch:
        patch.setattr(segments.os, "fdatasync", full)
        assert not box.tick()
    assert any("No space left" in said for said in box.said)
    box.write(access(box.now))
    assert box.tick()
    reports = drain(box.spool)
    assert by_start(reports) == {T0: 1, T0 + 10_000: 1}
    assert [r.seq for r in reports] == [1, 2]
    assert reports[-1].totals.requests == 2


def test_lines_written_into_the_renamed_file_are_read(box: Box) -> None:
    box.write(access(T0, server_customer="before"))
    box.tick()
    old = box.rotate()
    box.write(access(box.now, server_customer="late"), to=old)  # nginx has not reopened yet
    box.tick()
    box.write(access(box.now, server_customer="later"), to=old)
    box.write(access(box.now, server_customer="new"))
    for _ in range(6):
        box.tick()
    assert served(drain(box.spool)) == {"before": 1, "late": 1, "later": 1, "new": 1}
    assert len(box.spool.state["logs"][str(box.log)]["files"]) == 1


def test_file_rotated_while_the_agent_was_down_is_finished_first(box: Box) -> None:
    box.write(access(T0, server_customer="read"))
    box.tick()
    box.crash()
    box.write(access(box.now, server_customer="unread"))
    box.rotate()
    box.write(access(box.now, server_customer="whole file"))
    box.now += 20_000
    box.rotate()
    box.write(access(box.now, server_customer="new"))
    box.start()
    box.tick()
    assert served(drain(box.spool)) == {"read": 1, "unread": 1, "whole file": 1, "new": 1}


def test_file_compressed_while_the_agent_was_down_is_finished(box: Box) -> None:
    box.write(access(T0, server_customer="read"))
    box.tick()
    box.crash()
    box.write(access(box.now, server_customer="unread"))
    old = box.rotate()
    packed = old.with_name(old.name + ".gz")
    packed.write_bytes(gzip.compress(old.read_bytes()))
    box.touch(packed)
    old.unlink()
    box.start()
    box.tick()
    box.tick()
    assert served(drain(box.spool)) == {"read": 1, "unread": 1}


def test_damaged_compressed_file_is_left_behind_with_a_notice(box: Box) -> None:
    box.write(*(access(T0 + i) for i in range(5)))
    box.tick()
    box.crash()
    old = box.rotate()
    packed = old.with_name(old.name + ".gz")
    packed.write_bytes(gzip.compress(old.read_bytes())[:-12])
    box.touch(packed)
    old.unlink()
    box.start()
    box.write(access(box.now, server_customer="new"))
    for _ in range(5):
        assert box.tick()
    assert served(drain(box.spool)) == {"acme": 5, "new": 1}
    assert any("lost" in said for said in box.said)


def test_copytruncate_finds_the_rest_in_the_copy(box: Box) -> None:
    box.write(access(T0, server_customer="read"))
    box.tick()
    box.write(access(box.now, server_customer="in the copy"))
    box.copytruncate()
    box.write(access(box.now, server_customer="after"))
    box.tick()
    box.tick()
    assert served(drain(box.spool)) == {"read": 1, "in the copy": 1, "after": 1}


def test_truncation_without_a_copy_is_said_and_reading_goes_on(box: Box) -> None:
    box.write(*(access(T0 + i) for i in range(3)))
    box.tick()
    os.truncate(box.log, 0)
    box.write(access(box.now, server_customer="new"))
    box.tick()
    assert served(drain(box.spool)) == {"acme": 3, "new": 1}
    assert any("no copy found" in said for said in box.said)


def test_log_shortened_by_a_power_cut_is_not_counted_again(box: Box) -> None:
    box.write(*(access(T0 + i, server_customer=f"c{i}") for i in range(9)))
    box.tick()
    box.crash()
    kept = box.log.read_bytes().split(b"\n")[:6]
    box.log.write_bytes(b"\n".join(kept) + b"\n")  # the last lines had not reached the disk
    box.write(access(box.now, server_customer="new"), access(box.now + 1, server_customer="newer"))
    box.start()
    box.tick()
    box.tick()
    assert served(drain(box.spool)) == {f"c{i}": 1 for i in range(9)} | {"new": 1, "newer": 1}


def test_reused_inode_is_not_mistaken_for_the_old_file(box: Box) -> None:
    box.write(*(access(T0 + i, server_customer="old") for i in range(3)))
    box.tick()
    box.crash()
    content = [access(box.now + i, server_customer="new") for i in range(5)]
    box.log.write_bytes(b"".join(encoded(line) + b"\n" for line in content))  # same inode, other content
    box.start()
    box.tick()
    assert served(drain(box.spool)) == {"old": 3, "new": 5}


def test_rotated_file_that_ends_in_an_unfinished_line_is_declared(box: Box) -> None:
    box.write(access(T0))
    with box.log.open("ab") as f:
        f.write(b'{"msec":18000')
    box.tick()
    box.rotate()
    box.write(access(box.now, server_customer="new"))
    for _ in range(5):
        box.tick()
    reports = drain(box.spool)
    assert reports[-1].totals.dropped_requests == {"line_malformed": 1}
    assert reports[-1].totals.requests == 3


def test_start_at_the_end_leaves_old_lines_alone(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(encoded(access(T0, server_customer="old")) + b"\n")
    box = Box(tmp_path, logs=(LogSettings(log, "nginx", Defaults(), "end"),))
    box.tick()
    box.write(access(box.now, server_customer="new"))
    box.tick()
    assert served(drain(box.spool)) == {"new": 1}


def test_both_kinds_of_logs_meet_in_one_report(tmp_path: Path) -> None:
    logs = (
        LogSettings(tmp_path / "access.log", "nginx", Defaults(), "beginning"),
        LogSettings(tmp_path / "tasks.log", "tasks", Defaults(), "beginning"),
    )
    box = Box(tmp_path, logs=logs)
    box.write(access(T0))
    beacon = {"at": T0, "customer": "acme", "app": "player", "service": "web", "sessions": 4}
    box.write(task(T0 + 5, outcome="timeout"), beacon, to=logs[1].path)
    box.tick()
    [report] = drain(box.spool)
    assert sorted(report.slices.dimensions["service"]) == ["compute", "web", "web"]
    assert sum(report.slices.counts["f_timeout"]) == 1
    assert sum(report.slices.counts["sessions"]) == 4
    assert report.totals.requests == 2


def test_same_lines_make_the_same_bytes(tmp_path: Path) -> None:
    bodies = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        box = Box(tmp_path / name)
        box.write(*(access(T0 + i, request_time=i / 100) for i in range(50)))
        box.tick()
        entry = box.spool.live()
        assert entry is not None
        bodies.append(box.spool.take(entry))
    assert bodies[0] == bodies[1]


class LogLife(RuleBasedStateMachine):
    """Any order of writing, rotating, truncating, crashing, power cuts and full disks: each line counts once."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.box = Box(self.root)
        self.box.log.touch()
        self.box.touch(self.box.log)
        self.box.tick()
        self.written = 0
        self.old: Path | None = None

    def line(self) -> dict[str, Any]:
        self.written += 1
        self.box.now += 1
        return access(self.box.now, server_customer=f"c{self.written}")

    @rule(count=st.integers(1, 5))
    def write(self, count: int) -> None:
        self.box.write(*(self.line() for _ in range(count)))
        self.old = None  # nginx has reopened

    @rule()
    def tick(self) -> None:
        self.box.tick()

    @rule()
    def rotate(self) -> None:
        self.old = self.box.rotate()

    @rule()
    def write_into_the_renamed_file(self) -> None:
        if self.old is not None:
            self.box.write(self.line(), to=self.old)

    @rule()
    def copytruncate(self) -> None:
        self.box.copytruncate()
        self.old = None

    @rule()
    def crash(self) -> None:
        self.box.crash()
        self.box.start()

    @rule(lost=st.integers(1, 5000))
    def power_cut_in_the_last_commit(self, lost: int) -> None:
        """The last tick's bytes reached the disk in part."""
        spool = self.box.settings.state_dir / "spool"
        before = {p: p.stat().st_size for p in spool.iterdir()}
        self.box.tick()
        self.box.crash()
        path = max(spool.iterdir())
        size = path.stat().st_size
        os.truncate(path, max(before.get(path, 0), size - lost))
        self.box.start()

    @rule()
    def disk_full(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(segments.os, "fdatasync", _no_space)
            assert not self.box.tick()

    def teardown(self) -> None:
        if not hasattr(self, "box"):
            return
        for _ in range(8):
            self.box.tick()
        reports = drain(self.box.spool)
        self.box.crash()
        shutil.rmtree(self.root)
        assert served(reports) == {f"c{n}": 1 for n in range(1, self.written + 1)}, self.box.said
        for boot in {r.boot for r in reports}:
            of_boot = [r for r in reports if r.boot == boot]
            assert [r.seq for r in of_boot] == list(range(1, len(of_boot) + 1))
            assert of_boot[-1].totals.requests == sum(sum(r.slices.counts["requests"]) for r in of_boot)


def _no_space(*_: Any) -> None:
    raise OSError(28, "No space left on device")


TestLogLife = LogLife.TestCase
TestLogLife.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


def test_state_is_json_of_bounded_size(box: Box) -> None:
    box.write(*(b"junk" * 10_000 for _ in range(20)))
    box.tick()
    assert len(json.dumps(box.spool.state)) < 4_000
