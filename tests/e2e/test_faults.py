"""Every process of a cluster is killed under load, once each; and what that proof is made of, part by part."""

import json
import subprocess

import pytest

from benchmarks.faults import compare
from benchmarks.faults.__main__ import held
from benchmarks.faults.client import World
from benchmarks.faults.compare import CLOSES_MS, EmbeddedRun, stream_differences, wait_for_streams
from benchmarks.faults.load import Books
from benchmarks.faults.scenario import NAMES, Result, Scenario
from benchmarks.faults.table import figures, spread, text
from benchmarks.faults.watch import Sample, lasting
from benchmarks.soak_load import settings_of
from contracts.columns import COUNT_NAMES
from simulator.settings import Settings, build_fleet
from simulator.truth import compare_minutes
from tests.e2e.processes import ROOT, python

QUICK_DEADLINE_S = 1_440
START = 1_767_607_200_000  # 2026-01-05T10:00:00Z
T0 = 1_000_000_000


@pytest.mark.verify
@pytest.mark.timeout(QUICK_DEADLINE_S + 60)
def test_nothing_is_lost_whatever_is_killed(tmp_path):
    done = subprocess.run(
        python("-m", "benchmarks.faults", "--quick", "--seed", "1", "--keep", str(tmp_path / "run")),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=QUICK_DEADLINE_S,
    )
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-8_000:]
    rows = [line for line in done.stdout.splitlines() if line.endswith("yes")]
    assert len(rows) == 7, done.stdout


def sample(at_s, age_s, *, stream_s=22.0, ready=True):
    at = T0 + round(at_s * 1_000)
    return Sample(at, None if age_s is None else at - round(age_s * 1_000), stream_s, ready)


class TestOrder:
    def order(self, *arguments):
        return Scenario(None, None, None, None, stop_s=0.0, say=print).order(*arguments)

    def test_has_every_fault_as_often_as_asked_for_in_an_order_that_follows_from_the_seed(self):
        assert sorted(self.order(5, 1)) == sorted(5 * NAMES)
        assert self.order(5, 1) == self.order(5, 1) != self.order(5, 2)

    def test_can_be_limited_to_some_faults(self):
        assert sorted(self.order(2, 1, ["sink", "workers"])) == [
            *2 * ["kill sink"],
            *2 * ["workers 1 -> 3 -> 1"],
        ]

    def test_refuses_a_fault_that_does_not_exist(self):
        command = python("-m", "benchmarks.faults", "--only", "kill moon")
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
        assert done.returncode == 2
        assert "kill worker" in done.stderr
        assert "got kill moon" in done.stderr


class TestEmbeddedRun:
    def test_works_when_allowed_and_ends_where_it_is_told_to(self, tmp_path):
        world = World(devices=12, seed=5, start_ms=START, customers=3)
        with EmbeddedRun(world, tmp_path) as embedded:
            embedded.allow(3)
            embedded.pause()
            embedded.end(6)
            minutes, differences = embedded.result()
        assert differences == []
        fleet = build_fleet(settings_of(12, 3, 5, START, 1.0))
        boots_of(fleet, 6)
        expected = fleet.truth.minutes(fleet.boxes)
        assert sum(counts["requests"] for counts in minutes.values()) > 0
        assert compare_minutes(expected, minutes) == (True, [])

    def test_that_cannot_work_says_why(self, tmp_path):
        with EmbeddedRun(World(devices=0, seed=5, start_ms=START), tmp_path) as embedded:
            minutes, (reason,) = embedded.result()
        assert minutes == {}
        assert "the embedded run failed" in reason


class TestRecovery:
    def test_begins_with_the_first_good_look_at_data_from_after_the_fault(self):
        before = [sample(t, 3 + t) for t in (1, 2, 3)]  # fresh enough, but from before the fault
        after = [sample(t, 5) for t in range(9, 30)]
        assert lasting([*before, *after], T0) == T0 + 9_000

    def test_a_look_that_is_good_only_once_does_not_count(self):
        looks = [sample(8, 4), sample(12, 8, ready=False), *(sample(t, 6) for t in range(16, 40))]
        assert lasting(looks, T0) == T0 + 16_000

    def test_is_not_there_before_it_has_lasted(self):
        assert lasting([sample(t, 4) for t in range(8, 19)], T0) is None

    @pytest.mark.parametrize("bad", [{"age_s": 15.0}, {"age_s": 5, "stream_s": 35.0}, {"age_s": 5, "ready": False}])
    def test_needs_fresh_history_fresh_streams_and_everybody(self, bad):
        assert lasting([sample(t, **bad) for t in range(20, 60)], T0) is None

    def test_is_not_there_while_nobody_answers(self):
        assert lasting([sample(t, None) for t in range(20, 60)], T0) is None
        assert lasting([sample(t, 5, stream_s=None) for t in range(20, 60)], T0) is None


def boots_of(fleet, intervals):
    """A ledger's boots, as history would state them if everything of so many intervals had been stored."""
    books = Books(fleet)
    for i in range(intervals):
        for attempt in fleet.step(START + (i + 1) * 10_000):
            fleet.answer(attempt, 200, {}, START + (i + 1) * 10_000)
        books.note()
    accounts = []
    for (device, boot), truth in fleet.truth.boots.items():
        row = {"device": device, "boot": boot, "last_seq": truth.newest_accepted_seq}
        for i, what in enumerate(("requests", "slices")):
            terms = dict.fromkeys(("rejected", "declared_dropped", "pending", "lost", "double_counted"), 0)
            row[what] = {"reported": truth.accepted[i], "stored": truth.accepted[i], **terms}
        accounts.append(row)
    return books, accounts


@pytest.fixture
def fleet():
    return build_fleet(Settings(devices=12, customers=3, seed=5, minutes=5, faults_per_hour=0.0, start_ms=START))


class TestBooks:
    def test_equal_the_ledger_of_a_run_without_trouble(self, fleet):
        books, accounts = boots_of(fleet, 4)
        assert books.mark() == len(accounts) >= 12
        assert books.compare(accounts) == []

    def test_are_compared_at_the_newest_report_that_history_has_seen(self, fleet):
        books, accounts = boots_of(fleet, 4)
        fleet.step(START + 50_000)  # generated, on its way, in no ledger yet
        books.note()
        assert books.compare(accounts) == []

    def test_tell_a_slice_too_many(self, fleet):
        books, accounts = boots_of(fleet, 4)
        accounts[0]["slices"]["stored"] += 1
        (difference,) = books.compare(accounts)
        assert accounts[0]["device"] in difference
        assert "slices.stored" in difference

    def test_tell_an_acknowledged_report_that_is_not_in_history(self, fleet):
        books, accounts = boots_of(fleet, 4)
        books.mark()
        gone = accounts.pop()
        (difference,) = books.compare(accounts)
        assert gone["device"] in difference
        assert "was acknowledged, not in history" in difference

    def test_tell_a_boot_nobody_started(self, fleet):
        books, accounts = boots_of(fleet, 2)
        (difference,) = books.compare([*accounts, {**accounts[0], "boot": "0" * 16}])
        assert "0 reports were made" in difference


class Rows:
    """A store that answers with given rows of stream_minutes."""

    def __init__(self, *rows):
        names = ("customer", "service", "minute", "late_requests", *COUNT_NAMES)
        self._rows = {name: [row.get(name, 0) for row in rows] for name in names}

    def query(self, sql, parameters=None):
        return self._rows


def minute(requests, **more):
    return dict.fromkeys(COUNT_NAMES, 0) | {"requests": requests} | more


KEY = ("acme", "vod", START)
LATER = START + 10 * 60_000
ROW = {"customer": "acme", "service": "vod", "minute": START}


class TestStreams:
    def test_equal_history_where_nothing_was_late(self):
        counts, differences = stream_differences(Rows({**ROW, "requests": 10}), {KEY: minute(10)}, LATER)
        assert differences == []
        assert counts == {"minutes": 1, "not_closed_yet": 0, "with_late_requests": 0, "unequal": 0}

    def test_are_not_compared_before_a_minute_has_closed(self):
        counts, differences = stream_differences(Rows(), {KEY: minute(10)}, START + 200_000)
        assert differences == []
        assert (counts["minutes"], counts["not_closed_yet"]) == (0, 1)

    def test_may_lack_what_they_said_was_late_and_no_more(self):
        late = Rows({**ROW, "requests": 7, "late_requests": 3})
        assert stream_differences(late, {KEY: minute(10)}, LATER)[1] == []
        (difference,) = stream_differences(late, {KEY: minute(11)}, LATER)[1]
        assert "7 requests and 3 late, history 11" in difference

    def test_count_a_minute_of_history_and_no_empty_one_of_their_own(self):
        quiet = {**ROW, "minute": START + 60_000}
        counts, differences = stream_differences(Rows({**ROW, "requests": 10}, quiet), {KEY: minute(10)}, LATER)
        assert (counts["minutes"], differences) == (1, [])

    def test_differ_when_any_count_does(self):
        stream = Rows({**ROW, "requests": 10, "bytes": 5})
        assert len(stream_differences(stream, {KEY: minute(10, bytes=6)}, LATER)[1]) == 1

    def test_differ_when_a_minute_is_missing_or_made_up(self):
        assert len(stream_differences(Rows(), {KEY: minute(10)}, LATER)[1]) == 1
        assert len(stream_differences(Rows({**ROW, "requests": 10}), {}, LATER)[1]) == 1


class Clock:
    """Moves on only when somebody sleeps; also a store whose streams have a minute's rest from a moment on."""

    def __init__(self, monkeypatch, now, whole_at):
        self.now, self._whole_at = now, whole_at
        monkeypatch.setattr(compare, "wall_ms", lambda: self.now)
        monkeypatch.setattr(compare.time, "sleep", self._sleep)

    def _sleep(self, seconds):
        self.now += round(seconds * 1_000)

    def query(self, sql, parameters=None):
        return Rows({**ROW, "requests": 10 if self.now >= self._whole_at else 7}).query(sql)


class TestWaitingForStreams:
    def test_lasts_until_the_youngest_minute_has_closed(self, monkeypatch):
        clock = Clock(monkeypatch, START + 70_000, whole_at=START)
        counts, differences = wait_for_streams(clock, {KEY: minute(10)})
        assert (counts["minutes"], counts["not_closed_yet"], differences) == (1, 0, [])
        assert clock.now >= START + CLOSES_MS

    def test_lasts_until_streams_that_are_behind_have_said_all(self, monkeypatch):
        clock = Clock(monkeypatch, START + CLOSES_MS, whole_at=START + CLOSES_MS + 20_000)
        assert wait_for_streams(clock, {KEY: minute(10)})[1] == []

    def test_ends_with_what_differs_for_good(self, monkeypatch):
        clock = Clock(monkeypatch, START, whole_at=START + 10 * CLOSES_MS)
        (difference,) = wait_for_streams(clock, {KEY: minute(10)})[1]
        assert "7 requests" in difference


class TestVerdict:
    def found(self, compared=3, **more):
        books = {what: dict.fromkeys(("lost", "pending", "double_counted"), 0) for what in ("requests", "slices")}
        names = ("different_from_truth", "different_from_embedded_run", "embedded_run_from_truth", "streams_different")
        end = {"ledger": books, "customer_minutes": 3, "streams": {"minutes": compared}}
        return {"end": end | {name: [] for name in names} | more}

    def test_is_good_when_everything_held(self):
        assert held(self.found(), [Result("kill sink", 1, 4.0, 9.0, 0, 0, 0, balanced=True)])

    def test_is_bad_when_a_minute_of_the_streams_was_not_compared(self):
        assert not held(self.found(compared=2), [])

    def test_is_bad_when_anything_differs(self):
        assert not held(self.found(different_from_truth=["a request"]), [])


class TestTable:
    def test_states_minimum_median_and_maximum(self):
        assert spread([4.0, 1.0, 3.0]) == {"min": 1.0, "median": 3.0, "max": 4.0}
        assert spread([4.0, None, 3.0]) == {"min": 3.0, "median": 4.0, "max": None}

    def test_shows_what_did_not_hold(self):
        good = Result("kill sink", 1, 4.0, 9.0, 0, 0, 0, balanced=True)
        bad = Result("kill sink", 2, None, None, 2, 0, 0, balanced=False, differences=["two are gone"])
        (row,) = json.loads(json.dumps(figures([good, bad])))
        assert (row["times"], row["lost"], row["balanced"], row["equal_to_truth"]) == (2, 2, False, False)
        assert "4.0 / never / never" in text([row])
        assert not bad.clean
        assert good.clean
