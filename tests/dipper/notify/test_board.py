"""What a receiver hears of incidents: grouping, repeats, mutes, exactly one resolved message, over restarts."""

import itertools
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contracts.incidents import LEVELS
from contracts.times import DAY_MS, HOUR_MS
from dipper.notify.board import KEEP_RESOLVED_MS, Board, Failure
from dipper.notify.keep import Keep
from dipper.notify.settings import ALERTMANAGER, NotifySettings
from tests.dipper.notify.builders import MINUTE, T0, back, done, ended, grown, incident, muted, receiver, unmuted

WAIT, INTERVAL, REPEAT = 30_000, 300_000, 4 * HOUR_MS
TIMES = {"group_wait_ms": WAIT, "group_interval_ms": INTERVAL, "repeat_interval_ms": REPEAT}


def board_of(*receivers, **fields):
    return Board(NotifySettings(receivers or (receiver(**TIMES),), **fields))


def sent(board, now, name="ops"):
    """Deliver all that is due; (event, incident) of each message."""
    board.flush(now)
    messages = []
    while found := [row for row in board.due(now) if row[0].name == name]:
        _, group, message = found[0]
        messages.append([(e.event, e.incident.id) for e in message.events])
        board.delivered((name, group), message.key, now)
    return messages


def test_an_incident_is_told_after_the_groups_wait_and_once():
    board = board_of()
    board.take(incident(), T0)
    assert sent(board, T0 + WAIT - 1) == []
    assert sent(board, T0 + WAIT) == [[("opened", "inc-1")]]
    assert sent(board, T0 + WAIT + INTERVAL) == []


def test_what_comes_within_the_wait_is_one_message_and_the_next_waits_for_the_interval():
    board = board_of()
    board.take(incident("inc-1", "medium"), T0)
    board.take(incident("inc-2", "critical"), T0 + 20_000)
    assert sent(board, T0 + WAIT) == [[("opened", "inc-2"), ("opened", "inc-1")]]  # the worst first
    board.take(incident("inc-3"), T0 + WAIT + 1)
    assert sent(board, T0 + WAIT + INTERVAL - 1) == []
    assert sent(board, T0 + WAIT + INTERVAL) == [[("opened", "inc-3")]]


def test_kinds_are_groups_of_their_own():
    board = board_of()
    board.take(incident("inc-1"), T0)
    board.take(incident("inc-2", kind="self.lag"), T0)
    assert sorted(sent(board, T0 + WAIT)) == [[("opened", "inc-1")], [("opened", "inc-2")]]


def test_growth_is_told_once_per_level_and_more_evidence_is_not():
    board = board_of()
    now = T0
    known = incident(level="medium")
    told = []
    for level in ("medium", "high", "high", "critical", "critical"):
        known = grown(known, level)
        board.take(known, now)
        now += INTERVAL + WAIT
        told += sent(board, now)
    assert told == [[("opened", "inc-1")], [("grown", "inc-1")], [("grown", "inc-1")]]


def test_what_is_still_open_is_repeated_and_what_somebody_works_on_is_not():
    board = board_of()
    known = incident()
    board.take(known, T0)
    sent(board, T0 + WAIT)
    first = T0 + WAIT
    assert sent(board, first + REPEAT - 1) == []
    assert sent(board, first + REPEAT) == [[("repeated", "inc-1")]]
    assert sent(board, first + REPEAT + 1) == []
    board.take(done(known, "acknowledge", first, "ana"), first + REPEAT + 1)
    assert sent(board, first + 3 * REPEAT) == []


def test_an_alertmanager_is_told_again_even_of_what_is_acknowledged():
    board = board_of(receiver(kind=ALERTMANAGER, group_by="receiver", repeat_interval_ms=MINUTE))
    known = incident()
    board.take(known, T0)
    assert sent(board, T0) == [[("opened", "inc-1")]]
    board.take(done(known, "acknowledge", T0, "ana"), T0)
    assert sent(board, T0 + MINUTE) == [[("repeated", "inc-1")]]


def test_a_mute_is_told_and_then_nothing_until_it_ends_or_the_incident_does():
    board = board_of()
    known = incident()
    board.take(known, T0)
    sent(board, T0 + WAIT)
    known = muted(known, T0 + MINUTE, T0 + DAY_MS)
    board.take(known, T0 + MINUTE)
    assert sent(board, T0 + 10 * MINUTE) == [[("muted", "inc-1")]]
    known = grown(known, "critical")
    board.take(known, T0 + 11 * MINUTE)
    assert sent(board, T0 + 20 * HOUR_MS) == []
    board.take(unmuted(known, T0 + DAY_MS), T0 + DAY_MS)
    assert sent(board, T0 + DAY_MS + WAIT) == [[("unmuted", "inc-1")]]


def test_what_was_told_open_and_ends_while_muted_is_told_resolved():
    board = board_of()
    known = incident()
    board.take(known, T0)
    sent(board, T0 + WAIT)
    known = muted(known, T0 + MINUTE, T0 + DAY_MS)
    board.take(known, T0 + MINUTE)
    sent(board, T0 + 10 * MINUTE)
    board.take(ended(known, T0 + HOUR_MS), T0 + HOUR_MS)
    assert sent(board, T0 + 2 * HOUR_MS) == [[("resolved", "inc-1")]]


def test_what_is_muted_or_over_before_anybody_heard_of_it_is_not_told():
    board = board_of()
    board.take(muted(incident("inc-1"), T0, T0 + DAY_MS), T0)
    board.take(incident("inc-2"), T0)
    board.take(ended(incident("inc-2"), T0 + 1), T0 + 1)
    board.take(ended(incident("inc-3"), T0 + 1), T0 + 1)
    assert sent(board, T0 + DAY_MS) == []


def test_the_same_cause_again_is_told_as_reopened():
    board = board_of()
    known = incident()
    told = []
    for step in (lambda i, _: i, ended, back, ended):
        now = T0 + len(told) * 2 * INTERVAL
        known = step(known, now)
        board.take(known, now)
        told += sent(board, now + INTERVAL)
    assert told == [[(e, "inc-1")] for e in ("opened", "resolved", "reopened", "resolved")]


@pytest.mark.parametrize(
    ("fields", "heard"),
    [
        ({"severity": "high"}, {"q-high"}),
        ({"kinds": ("self.lag",)}, {"lag"}),
        ({"customers": ("beta",)}, {"q-beta"}),
        ({}, {"q-high", "q-beta", "lag"}),
    ],
)
def test_a_receiver_hears_what_it_asked_for(fields, heard):
    board = board_of(receiver(group_by="receiver", **fields))
    board.take(incident("q-high", "high"), T0)
    board.take(incident("q-beta", "low", ("beta",)), T0)
    board.take(incident("lag", "low", (), kind="self.lag"), T0)
    assert {name for message in sent(board, T0) for _, name in message} == heard


def test_an_incident_that_reaches_the_level_later_is_opened_then_and_resolved_once():
    board = board_of(receiver(severity="high"))
    known = incident(level="low")
    board.take(known, T0)
    assert sent(board, T0) == []
    known = grown(known, "high")
    board.take(known, T0)
    assert sent(board, T0) == [[("opened", "inc-1")]]
    known = ended(known, T0)
    for _ in range(2):  # compaction of the log writes the newest version again
        board.take(known, T0)
    assert sent(board, T0) == [[("resolved", "inc-1")]]
    assert sent(board, T0 + HOUR_MS) == []


def test_events_that_nobody_asked_for_are_not_sent_and_do_not_come_back():
    board = board_of(receiver(events=("opened", "resolved")))
    known = incident(level="low")
    board.take(known, T0)
    told = sent(board, T0)
    known = muted(grown(known, "high"), T0, T0 + DAY_MS)
    board.take(known, T0)
    known = unmuted(known, T0)
    board.take(known, T0)
    told += sent(board, T0)
    board.take(ended(known, T0), T0)
    assert told + sent(board, T0) == [[("opened", "inc-1")], [("resolved", "inc-1")]]


def test_a_message_is_tried_again_after_growing_waits_with_jitter_under_the_same_key():
    board = board_of(receiver())
    chance = random.Random(3)
    board.take(incident(), T0)
    board.flush(T0)
    now, keys, waits = T0, set(), []
    for _ in range(12):
        (_, group, message) = next(iter(board.due(now)))
        keys.add(message.key)
        board.failed(("ops", group), message.key, Failure("connection refused"), now, chance)
        (waiting,) = (g.message for g in board.groups.values())
        waits.append(waiting.next_try_at - now)
        assert waiting.tries <= 12
        assert list(board.due(now)) == [] or waits[-1] == 0
        now = waiting.next_try_at
    assert len(keys) == 1
    assert max(waits[:3]) <= 4_000 < max(waits[6:]) <= 300_000
    assert len(set(waits)) == len(waits)


def test_a_receiver_that_asks_for_patience_gets_it():
    board = board_of(receiver())
    board.take(incident(), T0)
    board.flush(T0)
    ((_, group, message),) = board.due(T0)
    board.failed(("ops", group), message.key, Failure("429", wait_ms=90_000), T0, random.Random(1))
    assert list(board.due(T0 + 89_999)) == []
    assert len(list(board.due(T0 + 91_000))) == 1


@pytest.mark.parametrize(("refused", "patience"), [(True, HOUR_MS), (False, DAY_MS)])
def test_a_message_nobody_takes_is_let_go_in_the_end_and_counted(refused, patience):
    board = board_of(receiver())
    board.take(incident(), T0)
    board.flush(T0)
    ((_, group, message),) = board.due(T0)
    failure = Failure("no", refused=refused)
    board.failed(("ops", group), message.key, failure, T0 + patience - 1, random.Random(1))
    assert board.tallies["ops"].given_up == 0
    board.failed(("ops", group), message.key, failure, T0 + patience, random.Random(1))
    assert (board.tallies["ops"].given_up, board.tallies["ops"].failed) == (1, 2)
    assert list(board.due(T0 + 2 * DAY_MS)) == []


def test_memory_is_bounded_and_what_goes_on_comes_before_what_is_over():
    board = board_of(receiver(), most_incidents=10)
    for n in range(10):
        board.take(incident(f"inc-{n}"), T0)
    sent(board, T0)
    for n in range(10):
        board.take(ended(incident(f"inc-{n}"), T0), T0)
    sent(board, T0)
    board.take(incident("inc-new"), T0)
    assert sent(board, T0) == [[("opened", "inc-new")]]
    for n in range(20, 40):
        board.take(incident(f"inc-{n}"), T0)
    assert sum(len(group.entries) for group in board.groups.values()) == 10
    assert board.tallies["ops"].crowded == 11


def test_what_was_resolved_long_ago_is_forgotten_everywhere():
    board = board_of(receiver())
    board.take(incident(), T0)
    sent(board, T0)
    board.take(ended(incident(), T0), T0)
    sent(board, T0)
    board.flush(T0 + KEEP_RESOLVED_MS + 2 * DAY_MS)
    board.flush(T0 + KEEP_RESOLVED_MS + 4 * DAY_MS)
    assert (board.incidents, board.groups) == ({}, {})


def test_told_incidents_move_when_the_grouping_is_changed(tmp_path):
    keep = Keep(tmp_path / "notify.sqlite")
    before = board_of(receiver(group_by="kind"))
    before.take(incident(), T0)
    sent(before, T0)
    keep.save(before, {}, T0)
    after = board_of(receiver(group_by="incident"))
    keep.load(after)
    after.take(incident(), T0)
    assert sent(after, T0) == []
    after.take(ended(incident(), T0), T0)
    assert sent(after, T0) == [[("resolved", "inc-1")]]
    keep.close()


def test_a_receiver_that_the_file_ceased_to_name_goes_on_where_it_was_when_it_is_back(tmp_path):
    keep = Keep(tmp_path / "notify.sqlite")
    first = board_of(receiver(), receiver(name="other"))
    first.take(incident(), T0)
    assert [sent(first, T0, name) for name in ("ops", "other")] == [[[("opened", "inc-1")]]] * 2
    keep.save(first, {}, T0, settings="one")
    between = board_of(receiver(name="other"))
    keep.load(between)
    between.take(ended(incident(), T0), T0)
    between.flush(T0 + DAY_MS)
    keep.save(between, {}, T0, settings="two")
    last = board_of(receiver(), receiver(name="other"))
    keep.load(last)
    last.take(ended(incident(), T0), T0)
    assert sent(last, T0) == [[("resolved", "inc-1")]]
    keep.close()


class Told(RuleBasedStateMachine):
    """Incidents live, time passes, the receiver fails, answers get lost, the process is killed. What the receiver holds
    after removing repeats of a message by its key must be a true story."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "notify.sqlite"
        self.keep = Keep(self.path)
        self.chance = random.Random(5)

    @initialize(
        group_by=st.sampled_from(["kind", "receiver", "incident"]),
        wait=st.sampled_from([0, WAIT]),
        interval=st.sampled_from([0, INTERVAL]),
        repeat=st.sampled_from([0, HOUR_MS]),
    )
    def begin(self, group_by, wait, interval, repeat):
        times = {"group_wait_ms": wait, "group_interval_ms": interval, "repeat_interval_ms": repeat}
        self.receiver = receiver(group_by=group_by, **times)
        self.board = board_of(self.receiver)
        self.now = T0
        self.incidents = {}
        self.inbox = {}  # key -> (made_at, group, events), as the receiver first got it

    def step(self):
        self.board.flush(self.now)
        self.keep.save(self.board, {}, self.now)

    def happens(self, known):
        self.incidents[known.id] = known
        self.board.take(known, self.now)
        self.step()

    def some(self, data, *states):
        names = sorted(name for name, i in self.incidents.items() if i.state in states)
        return self.incidents[data.draw(st.sampled_from(names))] if names else None

    @rule(level=st.sampled_from(LEVELS))
    def opens(self, level):
        if len(self.incidents) < 4:
            self.happens(incident(f"inc-{len(self.incidents)}", level, at=self.now))

    @rule(data=st.data())
    def grows(self, data):
        if known := self.some(data, "open", "acknowledged", "muted"):
            self.happens(
                grown(known, LEVELS[min(3, LEVELS.index(known.severity.level) + data.draw(st.integers(0, 2)))])
            )

    @rule(data=st.data())
    def ends(self, data):
        if known := self.some(data, "open", "acknowledged", "muted"):
            self.happens(ended(known, self.now))

    @rule(data=st.data())
    def is_muted(self, data):
        if known := self.some(data, "open", "acknowledged"):
            self.happens(muted(known, self.now, self.now + DAY_MS))

    @rule(data=st.data())
    def is_unmuted(self, data):
        if known := self.some(data, "muted"):
            self.happens(unmuted(known, self.now))

    @rule(data=st.data())
    def is_acknowledged(self, data):
        if known := self.some(data, "open"):
            self.happens(done(known, "acknowledge", self.now, "ana"))

    @rule(data=st.data())
    def returns(self, data):
        if known := self.some(data, "resolved"):
            self.happens(back(known, self.now))

    @rule(data=st.data())
    def is_written_again(self, data):
        if known := self.some(data, "open", "acknowledged", "muted", "resolved"):
            self.happens(known)

    @rule(ms=st.sampled_from([1, 5_000, WAIT, INTERVAL, HOUR_MS]))
    def time_passes(self, ms):
        self.now += ms
        self.step()

    @rule(answer=st.sampled_from(["taken", "taken, unheard", "failed"]))
    def is_tried(self, answer):
        for to, group, message in list(self.board.due(self.now)):
            if answer != "failed":
                self.inbox.setdefault(message.key, (message.made_at, group, message.events))
                assert self.inbox[message.key][2] == message.events  # the same key, the same message
            if answer == "taken":
                self.board.delivered((to.name, group), message.key, self.now)
            else:
                self.board.failed((to.name, group), message.key, Failure("reset"), self.now, self.chance)
        self.step()

    @precondition(lambda self: hasattr(self, "board"))
    @rule()
    def is_killed(self):
        """Between two steps: what was attempted and not noted is attempted again."""
        self.keep.close()
        self.keep = Keep(self.path)
        self.board = board_of(self.receiver)
        self.keep.load(self.board)

    @invariant()
    def tells_a_true_story(self):
        if not hasattr(self, "board"):
            return
        view, level = {}, {}
        for made_at, _, events in sorted(self.inbox.values(), key=lambda row: row[0]):
            for e in events:
                name, before = e.incident.id, view.get(e.incident.id)
                allowed = {
                    None: {"opened"},
                    "active": {"grown", "muted", "resolved", "repeated"},
                    "muted": {"unmuted", "resolved"},
                    "resolved": {"reopened"},
                }[before]
                assert e.event in allowed, (name, before, e.event, made_at)
                if e.event == "grown":
                    assert LEVELS.index(e.incident.severity.level) > LEVELS.index(level[name])
                view[name] = {"muted": "muted", "resolved": "resolved"}.get(e.event, "active")
                level[name] = e.incident.severity.level
        self.view = view

    @invariant()
    def keeps_the_interval(self):
        if hasattr(self, "board"):
            for group in {g for _, g, _ in self.inbox.values()}:
                times = sorted(at for at, g, _ in self.inbox.values() if g == group)
                gaps = [b - a for a, b in itertools.pairwise(times)]
                assert all(gap >= self.receiver.group_interval_ms for gap in gaps)

    def teardown(self):
        """In the end the receiver is well, and knows how everything is."""
        if hasattr(self, "board"):
            for _ in range(12):
                self.now += INTERVAL + WAIT
                self.is_tried("taken")
            self.tells_a_true_story()
            for name, known in self.incidents.items():
                heard = self.view.get(name)
                if known.state in ("open", "acknowledged"):
                    assert heard == "active"
                elif known.state == "muted":
                    assert heard in (None, "muted", "resolved")
                else:
                    assert heard in (None, "resolved")
        self.keep.close()
        self.folder.cleanup()


TestTold = Told.TestCase
TestTold.settings = hypothesis_settings(max_examples=25, stateful_step_count=30)
