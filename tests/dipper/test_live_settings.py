"""Settings that change while a Dipper runs: looked at, refused whole or taken at the next minute, and recorded."""

import json
import os
import random

import pytest

from contracts.entities import change_from_json
from contracts.protocols import LogError, LogUnavailable
from contracts.topics import CHANGES
from dipper.clock import SettableClock
from dipper.engine import open_engine
from dipper.file_watch import MAX_FILE_BYTES, SETTLE_MS, FileWatch
from dipper.live_policy import HEALTH, TRIAGE, LivePolicy
from dipper.live_settings import LiveSettings
from dipper.paths import Paths
from dipper.policy_check import LIVE, checked
from dipper.settings import SettingsError, from_environment, load_policy
from dipper.upkeep import Upkeep
from tests.dipper.notify.builders import T0, ended, incident, listening, write
from tests.e2e.processes import until

MINUTE = 60_000


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    data = tmp_path_factory.mktemp("live") / "data"
    made = open_engine(Paths(data), load_policy(), SettableClock(T0), manual=True, live=False)
    yield made
    made.close()


class World:
    """A real engine with a clock of its own, and a policy file. `now`: twenty seconds into a minute nobody has seen;
    `next`: the minute after it."""

    def __init__(self, engine, folder):
        self.engine, self.clock = engine, engine.clock
        self.clock.set(self.clock() - self.clock() % MINUTE + MINUTE + 20_000)
        self.now, self.next = self.clock(), self.clock() + 40_000
        self.file = folder / "policy.toml"
        self.says("")
        engine.policy = load_policy(self.file)
        if engine.triage is not None:
            engine.triage.close()
            engine.triage = None
        self.audit = []
        self.known = len(self.all_changes())
        self.live = LiveSettings(engine, self.file, load_policy, lambda *line: self.audit.append(line), self.clock)

    def says(self, text):
        self.file.write_text(text)

    def changes(self):
        """Change events since the beginning of the test."""
        return self.all_changes()[self.known :]

    def all_changes(self):
        log = self.engine.log
        places = {(CHANGES.name, p): at for p, at in enumerate(log.start_offsets(CHANGES.name))}
        reader = log.reader(places)
        found = [change_from_json(json.loads(r.value)) for r in reader.poll(100, 0.0)]
        reader.close()
        return found

    def next_minute(self):
        self.clock.set(self.clock() - self.clock() % MINUTE + MINUTE)


@pytest.fixture
def world(engine, tmp_path):
    return World(engine, tmp_path)


def test_a_right_file_takes_effect_at_the_next_minute_and_is_a_change_with_author(world):
    world.live.triage_step(0.0)
    before = world.engine.triage
    world.says("[incident]\nend_after_ms = 120000\n[detector]\nmin_coverage = 0.5\n")
    answer = world.live.reload("ana")
    lines = ["detector.min_coverage: 0.7 -> 0.5", "incident.end_after_ms: 300000 -> 120000"]
    assert answer == {"changes": lines, "at": world.next, "at_next_start": [], "unrecorded": None}
    world.clock.set(world.next - 1)
    world.live.triage_step(0.0)
    assert world.engine.triage is before
    assert world.engine.policy["incident"]["end_after_ms"] == 300_000
    world.next_minute()
    world.live.triage_step(0.0)
    assert world.engine.triage is not before
    assert world.engine.triage._settings.incident.end_after_ms == 120_000
    assert world.live.status()["in_force_since"] == world.next
    (change,) = world.changes()
    assert (change.kind, change.start, change.author, change.scope) == ("configuration", world.next, "ana", {})
    assert change.note == "Dipper: " + "\n".join(lines)
    ((who, _, what, status),) = world.audit
    assert (who, status) == ("ana", 200)
    assert "incident.end_after_ms: 300000 -> 120000" in what


def test_incidents_outlive_the_change(world):
    write(world.engine.log, incident())
    world.live.triage_step(0.0)
    world.says("[incident]\nend_after_ms = 120000\n")
    world.live.reload("ana")
    world.next_minute()
    world.live.triage_step(0.0)
    assert world.engine.triage.incident("inc-1").state == "open"


def test_the_health_job_goes_on_with_the_new_numbers(world):
    world.says("[health]\nexpires_minutes = 7\n")
    world.live.reload("ana")
    world.live.health_step(0.0)
    assert world.engine.health.operator.job.expires_minutes == 10
    world.next_minute()
    world.live.health_step(0.0)
    assert world.engine.health.operator.job.expires_minutes == 7


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[detector]\nmin_coverage = 0.5\n[incident]\nlag_limit = 1\n", "incident.lag_limit: expected one of"),
        ("[detector]\nmin_coverage = 1.5\n", "detector.min_coverage: expected 0 to 1, got 1.5"),
        ("[silence]\nregion_share = 2.0\n", "silence.region_share: expected 0 to 1, got 2"),
        ("[silence]\nsilent_after_ms = 0\n", "silence.silent_after_ms: expected above 0, got 0"),
        ("[incident]\nend_after_ms = -5\n", "incident.end_after_ms: expected above 0, got -5"),
        ("[incident]\nmax_dimensions = inf\n", "incident.max_dimensions: expected a int"),
        ("[detector]\nslow_ms = inf\n", "detector.slow_ms: expected above 0, got inf"),
        ("[detector]\nslow_ms = nan\n", "detector.slow_ms: expected above 0, got nan"),
        ("[health]\nexpires_minutes = 2\n", "health.expires_minutes: expected more than twice renew_minutes"),
        ("[retention]\nminutes = 0\n", "retention.minutes: expected above 0"),
        ("[detector\n", "expected a readable TOML file"),
    ],
)
def test_a_wrong_file_is_refused_whole_and_where_an_operator_finds_it(world, text, sentence):
    world.says(text)
    with pytest.raises(SettingsError) as refused:
        world.live.reload("ana")
    assert str(world.file) in str(refused.value)
    assert sentence in str(refused.value)
    world.next_minute()
    world.live.triage_step(0.0)
    assert world.engine.policy == load_policy()
    status = world.live.status()
    assert (status["pending"], status["refused"]["at"]) == (None, world.now)
    assert sentence in status["refused"]["why"]
    ((who, _, what, code),) = world.audit
    assert (who, code) == ("ana", 422)
    assert sentence in what
    assert world.changes() == []
    world.says("")
    assert world.live.reload("ana")["changes"] == []
    assert world.live.status()["refused"] is None


def test_other_tables_wait_for_the_next_start_and_are_named(world):
    world.says("[gateway]\nflush_ms = 200\n[detector]\nslow_ms = 900\n")
    answer = world.live.reload("ana")
    assert answer["changes"] == ["detector.slow_ms: 1000 -> 900"]
    assert answer["at_next_start"] == ["gateway.flush_ms: 100 -> 200"]
    world.next_minute()
    world.live.triage_step(0.0)
    assert world.engine.policy["gateway"]["flush_ms"] == 100
    assert world.engine.policy["detector"]["slow_ms"] == 900


def test_a_second_change_before_the_minute_is_over_goes_on_from_the_first(world):
    for value in (900, 800):
        world.says(f"[detector]\nslow_ms = {value}\n")
        assert world.live.reload("ana")["changes"] == [f"detector.slow_ms: 1000 -> {value}"]
    assert [c.note for c in world.changes()] == [
        "Dipper: detector.slow_ms: 1000 -> 900", "Dipper: detector.slow_ms: 900 -> 800",
    ]  # fmt: skip
    world.next_minute()
    world.live.triage_step(0.0)
    assert world.engine.policy["detector"]["slow_ms"] == 800


def test_a_saved_file_is_taken_without_being_asked_once_it_stands_still(world):
    live = world.live
    live.ask()
    live.step()
    world.says("[detector]\nslow_ms = 900\n")
    author = world.file.owner()
    for ms, changes in ((1, []), (SETTLE_MS - 1, []), (1, ["detector.slow_ms: 1000 -> 900"])):
        world.clock.set(world.clock() + ms)
        assert live._look(world.clock(), at_once=False) == changes
    live._record_waiting()
    assert world.changes()[0].author == author


class Away:
    """A log that takes no record while `away`; `tries`: how often it was asked."""

    def __init__(self, log):
        self._log, self.away, self.tries = log, LogUnavailable("no brokers"), 0

    def __getattr__(self, name):
        return getattr(self._log, name)

    def submit(self, records):
        self.tries += 1
        if self.away is not None:
            raise self.away
        return self._log.submit(records)


@pytest.mark.parametrize("why", [LogUnavailable("no brokers"), LogError("this user may not write it")])
def test_what_cannot_be_recorded_is_in_force_at_its_minute_and_recorded_later(world, why):
    log = Away(world.engine.log)
    log.away = why
    half = Half(world, True, log=log)
    world.says("[health]\nexpires_minutes = 7\n")
    half.take()
    at = world.next
    assert half.live.status()["unrecorded"] == {"changes": 1, "tries": 1, "why": str(why)}
    world.next_minute()
    assert half.live.part()["health"]["expires_minutes"] == 7
    log.away = None
    half.take()
    assert half.live.status()["unrecorded"] is None
    (change,) = world.changes()
    assert (change.start, change.note) == (at, "Dipper: health.expires_minutes: 10 -> 7")


def test_a_change_that_cannot_be_recorded_is_tried_again_ever_more_seldom(world):
    log = Away(world.engine.log)
    half = Half(world, True, log=log)
    world.says("[health]\nexpires_minutes = 7\n")
    asked = []
    for second in range(61):
        half.take()
        if log.tries > len(asked):
            asked.append(second)
        world.clock.set(world.clock() + 1_000)
    assert asked == [0, 5, 15, 35]
    answer = half.live.reload("ana")
    assert (log.tries, answer["unrecorded"]["why"]) == (4, "no brokers")


def test_without_a_file_there_is_nothing_to_reload(world):
    live = LiveSettings(world.engine, None, load_policy, lambda *line: None, world.clock)
    live.step()
    with pytest.raises(SettingsError, match="--policy or DIPPER_POLICY"):
        live.reload("ana")


def test_every_table_that_changes_live_is_one_of_the_policy():
    assert set(LIVE) <= set(load_policy())


def test_the_defaults_are_right(tmp_path):
    file = tmp_path / "policy.toml"
    file.write_text("")
    assert checked(file) == load_policy()


# -- the file


def test_a_file_in_the_middle_of_being_written_is_not_taken(tmp_path):
    file = tmp_path / "policy.toml"
    file.write_text("a")
    watch = FileWatch(file)
    assert watch.look(0).data == b"a"
    taken = []
    for n in range(20):  # pieces, each sooner than the file settles
        file.write_text("b" * (n + 2))
        taken.append(watch.look(1_000 * n))
    assert taken == [None] * 20
    assert watch.look(19_000 + SETTLE_MS).data == b"b" * 21
    assert watch.look(99_000) is None


def test_a_file_that_was_touched_only_or_put_back_is_not_taken(tmp_path):
    file = tmp_path / "policy.toml"
    file.write_text("a")
    watch = FileWatch(file)
    watch.look(0)
    os.utime(file, ns=(1, 1))
    assert [watch.look(1), watch.look(1 + SETTLE_MS)] == [None, None]
    assert watch.look(2 + SETTLE_MS, at_once=True).data == b"a"


def test_a_file_that_is_gone_is_said_once_and_taken_when_it_is_back(tmp_path):
    file = tmp_path / "policy.toml"
    file.write_text("a")
    watch = FileWatch(file)
    watch.look(0)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        watch.look(1)
    assert watch.look(2) is None
    file.write_text("a")
    assert watch.look(3) is None
    assert watch.look(3 + SETTLE_MS).data == b"a"


def test_a_file_of_unreasonable_size_is_refused(tmp_path):
    file = tmp_path / "policy.toml"
    file.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(OSError, match="expected at most"):
        FileWatch(file).look(0)


# -- with the rest of a process


def test_incidents_in_the_embedded_log_are_told_beside_everything_else(world, monkeypatch):
    monkeypatch.setenv("HOOK_KEY", "0123456789abcdef0123")
    engine, data = world.engine, world.engine.paths.root
    known = incident("inc-told")
    with listening() as there:
        upkeep = Upkeep(engine, from_environment({}, data=data), demo=False)
        workers = upkeep.workers(random.Random(1))
        for worker in workers:
            worker.start()

        def told():
            return [event for event, name, _ in there.events() if name == known.id]

        try:
            assert upkeep.status()["notify"]["file"] is None
            (data / "notify.toml").write_text(
                f'[[receiver]]\nname = "ops"\nkind = "webhook"\nurl = "{there.url}"\nsecret_env = "HOOK_KEY"\n'
                "group_wait_s = 0\ngroup_interval_s = 0\n"
            )
            until(lambda: upkeep.status()["notify"]["receivers"], 20, "the new file is taken")
            write(engine.log, known)
            until(lambda: told() == ["opened"], 20, "it is told")
            (data / "notify.toml").write_text("[[receiver]]\n")
            until(lambda: upkeep.status()["notify"]["refused"], 20, "the wrong file is refused")
            write(engine.log, ended(known, world.now))
            until(lambda: told() == ["opened", "resolved"], 20, "the old file stays in force")
            (said,) = upkeep.status()["notify"]["trouble"]
            assert "receiver[0].name: expected a text" in said
            assert "notify.toml refused" in (data / "audit.log").read_text()
        finally:
            for worker in workers:
                worker.stop(20)
            upkeep.close()


class Half:
    """A process of a cluster: it takes some tables; `speaks`: it is the one that works."""

    def __init__(self, world, speaks, tables=HEALTH, log=None):
        self.live = LivePolicy(
            world.engine.policy, world.file, load_policy, log or world.engine.log, world.clock, lambda *_: None,
            world.clock, tables=tables, speaks=lambda: speaks,
        )  # fmt: skip

    def take(self):
        self.live.ask()
        self.live._wake.set()  # a test does not wait for the next look
        self.live.step()


def test_a_process_of_a_cluster_takes_its_own_tables_and_the_one_that_works_records_them(world):
    works, stands_by = Half(world, True), Half(world, False)
    world.says("[health]\nexpires_minutes = 7\n[incident]\nend_after_ms = 120000\n[gateway]\nflush_ms = 50\n")
    for half in (works, stands_by):
        half.take()
        assert half.live.part()["health"]["expires_minutes"] == 10
    world.next_minute()
    for half in (works, stands_by):
        assert set(half.live.part()) == {"health"}
        assert half.live.part()["health"]["expires_minutes"] == 7
        assert half.live.in_force()["incident"]["end_after_ms"] == 300_000
        assert half.live.status()["at_next_start"] == ["gateway.flush_ms: 100 -> 50"]
    (change,) = world.changes()
    assert change.note == "Dipper: health.expires_minutes: 10 -> 7"


def test_two_jobs_of_a_cluster_that_take_the_same_file_at_the_same_minute_record_a_change_each(world):
    world.says("[health]\nexpires_minutes = 7\n[incident]\nend_after_ms = 120000\n")
    for half in (Half(world, True), Half(world, True, TRIAGE)):
        half.take()
    assert {change.note for change in world.changes()} == {
        "Dipper: health.expires_minutes: 10 -> 7",
        "Dipper: incident.end_after_ms: 300000 -> 120000",
    }
    assert len({change.id for change in world.changes()}) == 2
