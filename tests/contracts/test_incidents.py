"""Incidents: JSON that names what is wrong, and a state machine without surprises."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ContractError
from contracts.incidents import (
    KINDS,
    MAX_HISTORY,
    MUTED,
    OPEN,
    RESOLVED,
    SENTENCES,
    STATES,
    SYSTEM,
    TRANSITIONS,
    VERBS_OF_PEOPLE,
    VERBS_OF_SYSTEM,
    Action,
    Cause,
    Equivalent,
    IllegalTransition,
    Incident,
    RelatedChange,
    Sentence,
    SeriesEvidence,
    Severity,
    action_from_json,
    action_to_json,
    apply,
    incident_from_json,
    incident_to_json,
    permitted,
)

T0 = 1_767_607_380_000  # 2026-01-05T10:03:00Z
MINUTE = 60_000
WHERE = {"client_isp": "unicom", "client_region": "hebei"}

INCIDENT = Incident(
    id="inc-20260105-1003-1",
    kind="quality",
    state="open",
    onset=T0,
    detected_at=T0 + 2 * MINUTE,
    newest=T0 + MINUTE,
    headline=Sentence(
        "quality.localised",
        {
            "customers": ("live-1", "vod-2"),
            "measures": ("stalled_sessions",),
            "factor": 4.1,
            "since": T0,
            "where": WHERE,
            "share": 0.87,
            "causes": 1,
        },
    ),
    severity=Severity("high", 4, 612.5, 0.4, 900.0, 0.07, 0.1),
    customers=("live-1", "vod-2"),
    services=("live", "vod"),
    measures=("stalled_sessions",),
    verdict="localised",
    reason="812 bad events, 200 expected: 1 combination explains 87% of the excess",
    causes=(
        Cause(WHERE, 0.87, 730.0, 130.0, 5_000.0, True, "stalled_sessions", 410.0, 0.98, T0,
              (Equivalent({"client_isp": "unicom", "device_region": "hebei"}, 0, 2),)),
    ),
    changes=(RelatedChange("rollout-7", "firmware", "contains", T0 - MINUTE, MINUTE, 0.7, 0.5, 1.0, {"model": "m1"}),),
    series=(
        SeriesEvidence("live-1", "live", "stalled_sessions", T0, T0 + MINUTE, 812, 9_000, 200.5, 18.0, 3e-8, 1e-6,
                       ("shift",), "time_of_day", 2.0, 0.01),
    ),
)  # fmt: skip


def action(verb: str, n: int = 1, **changes: Any) -> Action:
    """A good action of a kind."""
    fields: dict[str, Any] = {
        "author": SYSTEM if verb in VERBS_OF_SYSTEM else "ana",
        "at": T0 + n * MINUTE,
        "text": "why",
    }
    if verb == "mute":
        fields["until"] = T0 + (n + 60) * MINUTE
    if verb == "real_cause":
        fields["cause"] = {"sched_rule": "near@3"}
    if verb in ("merge", "split"):
        fields["other"] = "inc-20260105-1001-1"
    return Action(f"a-{n}", INCIDENT.id, verb, **(fields | changes))


def through(document: Any) -> Any:
    return json.loads(json.dumps(document, allow_nan=False))


def test_an_incident_survives_json() -> None:
    assert incident_from_json(through(incident_to_json(INCIDENT))) == INCIDENT


def test_what_an_incident_may_leave_out() -> None:
    least = {name: incident_to_json(INCIDENT)[name] for name in
             ("id", "kind", "state", "onset", "detected_at", "newest", "headline", "severity")}  # fmt: skip
    read = incident_from_json(through(least))
    assert (read.version, read.causes, read.history, read.merged_into) == (1, (), (), None)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("id",), "a b", "id"),
        (("kind",), "party", "kind"),
        (("state",), "gone", "state"),
        (("state",), "resolved", "resolved_at"),
        (("state",), "muted", "muted_until"),
        (("onset",), -1, "onset"),
        (("onset",), 1.5, "onset"),
        (("onset",), True, "onset"),
        (("onset",), None, "onset"),
        (("version",), 0, "version"),
        (("customers",), "live-1", "customers"),
        (("customers",), [1], "customers[0]"),
        (("customers",), ["lone \ud800"], "customers[0]"),
        (("measures",), ["speed"], "measures"),
        (("verdict",), "sure", "verdict"),
        (("where",), {"planet": "mars"}, "where.planet"),
        (("colour",), "red", "colour"),
        (("headline", "key"), "quality.party", "headline.key"),
        (("headline", "params"), {}, "headline.params"),
        (("severity", "level"), "huge", "severity.level"),
        (("severity", "lost_minutes"), "3", "severity.lost_minutes"),
        (("severity", "lost_minutes"), float("nan"), "severity.lost_minutes"),
        (("causes", 0, "share"), None, "causes[0].share"),
        (("causes", 0, "measure"), "speed", "causes[0].measure"),
        (("causes", 0, "where"), {"model": ""}, "causes[0].where.model"),
        (("causes", 0, "equivalents", 0, "where"), {"x": "y"}, "causes[0].equivalents[0].where.x"),
        (("changes", 0, "relation"), "near", "changes[0].relation"),
        (("series", 0, "reasons"), [None], "series[0].reasons[0]"),
    ],
)
def test_every_refusal_names_the_path_what_was_expected_and_what_came(path: Any, value: Any, field: str) -> None:
    document = through(incident_to_json(INCIDENT))
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(ContractError) as caught:
        incident_from_json(document)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: expected ")
    assert ", got " in str(caught.value)


@pytest.mark.parametrize("document", [None, [], "x", 7, {}])
def test_what_is_no_incident_is_refused(document: object) -> None:
    with pytest.raises(ContractError):
        incident_from_json(document)


@pytest.mark.parametrize("verb", VERBS_OF_PEOPLE + VERBS_OF_SYSTEM)
def test_actions_survive_json(verb: str) -> None:
    assert action_from_json(through(action_to_json(action(verb)))) == action(verb)


@pytest.mark.parametrize(
    ("verb", "change", "field"),
    [
        ("note", {"text": " "}, "text"),
        ("note", {"text": "x" * 2_001}, "text"),
        ("note", {"author": ""}, "author"),
        ("note", {"author": "a\nb"}, "author"),
        ("note", {"until": T0 + 2 * MINUTE}, "until"),
        ("note", {"cause": {}}, "cause"),
        ("note", {"other": "inc-1"}, "other"),
        ("mute", {"until": None}, "until"),
        ("mute", {"until": T0}, "until"),
        ("mute", {"until": T0 + 31 * 24 * 60 * MINUTE}, "until"),
        ("real_cause", {"cause": None}, "cause"),
        ("real_cause", {"cause": {"moon": "full"}}, "cause.moon"),
        ("merge", {"other": None}, "other"),
        ("end", {"author": "ana"}, "author"),
    ],
)
def test_a_wrong_action_names_its_field(verb: str, change: dict[str, Any], field: str) -> None:
    with pytest.raises(ContractError) as caught:
        action(verb, **change)
    assert caught.value.field == field


def in_state(state: str) -> Incident:
    verb = {"acknowledged": "acknowledge", "muted": "mute", "resolved": "end"}.get(state)
    return INCIDENT if verb is None else apply(INCIDENT, action(verb, 0))


@pytest.mark.parametrize(("verb", "state"), list(itertools.product(VERBS_OF_PEOPLE + VERBS_OF_SYSTEM, STATES)))
def test_the_table_alone_decides(verb: str, state: str) -> None:
    before = in_state(state)
    if (verb, state) in TRANSITIONS:
        assert permitted(before, verb)
        after = apply(before, action(verb))
        if (verb, state) != ("return", "resolved"):
            assert after.state == TRANSITIONS[verb, state]
        assert after.version == before.version + 1
        assert (after.history[-1].before, after.history[-1].after) == (before.state, after.state)
    else:
        assert not permitted(before, verb)
        with pytest.raises(IllegalTransition) as caught:
            apply(before, action(verb))
        assert before.id in str(caught.value)


def test_a_story_from_beginning_to_end() -> None:
    story = INCIDENT
    story = apply(story, action("acknowledge", 1))
    story = apply(story, action("mute", 2, until=T0 + 10 * MINUTE))
    assert (story.state, story.muted_until, story.muted_by) == (MUTED, T0 + 10 * MINUTE, "ana")
    story = apply(story, action("end", 3))
    assert (story.state, story.resolved_at) == (RESOLVED, T0 + 3 * MINUTE)
    story = apply(story, action("return", 4))
    assert (story.state, story.resolved_at, story.reopened) == (MUTED, None, 1)
    story = apply(story, action("unmute", 10, author=SYSTEM))
    assert (story.state, story.muted_until) == (OPEN, None)
    story = apply(story, action("false_alarm", 11))
    assert (story.state, story.false_alarm) == (RESOLVED, True)
    story = apply(story, action("reopen", 12))
    assert (story.state, story.false_alarm, story.reopened) == (OPEN, False, 2)
    story = apply(story, action("real_cause", 13))
    assert (story.state, story.real_cause) == (OPEN, {"sched_rule": "near@3"})
    verbs = [line.verb for line in story.history]
    assert verbs == ["acknowledge", "mute", "end", "return", "unmute", "false_alarm", "reopen", "real_cause"]
    assert {line.author for line in story.history} == {"ana", SYSTEM}


def test_a_return_after_the_mute_is_open() -> None:
    ended = apply(apply(INCIDENT, action("mute", 1, until=T0 + 2 * MINUTE)), action("end", 2))
    assert apply(ended, action("return", 3)).state == OPEN


def test_a_merged_incident_takes_notes_only() -> None:
    merged = apply(INCIDENT, action("merge"))
    assert (merged.state, merged.merged_into) == (RESOLVED, "inc-20260105-1001-1")
    assert [verb for verb in VERBS_OF_PEOPLE + VERBS_OF_SYSTEM if permitted(merged, verb)] == ["note"]
    with pytest.raises(IllegalTransition, match="merged into inc-20260105-1001-1"):
        apply(merged, action("reopen", 2))


@pytest.mark.parametrize(
    ("verbs", "by_people"),
    [
        ([], False),
        (["end"], False),
        (["end", "note"], False),
        (["end", "false_alarm"], True),
        (["acknowledge", "end"], False),
        (["resolve"], True),
        (["resolve", "note"], True),
        (["resolve", "reopen", "end"], False),
    ],
)
def test_who_closed_it_is_who_ended_it_last(verbs: list[str], by_people: bool) -> None:
    incident = INCIDENT
    for n, verb in enumerate(verbs):
        incident = apply(incident, action(verb, n))
    assert incident.closed_by_people is by_people


def test_an_action_is_applied_once_and_only_to_its_incident() -> None:
    muted = apply(INCIDENT, action("mute"))
    assert apply(muted, action("mute")) is muted
    with pytest.raises(IllegalTransition):
        apply(replace(INCIDENT, id="inc-2"), action("mute"))


def test_histories_are_bounded_but_states_can_always_change() -> None:
    full = INCIDENT
    line = apply(INCIDENT, action("note")).history[0]
    full = replace(full, history=tuple(replace(line, action=f"n-{i}") for i in range(MAX_HISTORY)))
    with pytest.raises(IllegalTransition, match="history"):
        apply(full, action("note", 2))
    assert apply(full, action("resolve", 2)).state == RESOLVED


@settings(max_examples=200)
@given(st.lists(st.sampled_from(VERBS_OF_PEOPLE + VERBS_OF_SYSTEM), max_size=30))
def test_no_sequence_leaves_the_table_or_contradicts_itself(verbs: list[str]) -> None:
    """Whatever is tried: refused actions change nothing, and what is accepted can be stored and read again."""
    incident = INCIDENT
    done = []
    for n, verb in enumerate(verbs, 1):
        tried = action(verb, n)
        try:
            incident = apply(incident, tried)
        except IllegalTransition:
            continue
        done.append(tried)
    assert len(incident.history) == len(done)
    assert incident.reopened == sum(a.verb in ("reopen", "return") for a in done)
    replayed = INCIDENT
    for again in (a for tried in done for a in (tried, tried)):
        replayed = apply(replayed, again)
    assert replayed == incident
    assert incident_from_json(through(incident_to_json(incident))) == incident


def test_every_headline_names_its_kind() -> None:
    kinds = {"quality" if key.startswith("quality.") else ".".join(key.split(".")[:2]) for key in SENTENCES}
    assert kinds == set(KINDS)
