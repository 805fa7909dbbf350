"""Incidents, actions and signals in history: the newest version, each action once, what a series' minutes said."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from contracts import topics
from contracts.arrow import batch, to_bytes
from contracts.columns import SIGNALS
from contracts.incidents import Action, Incident, Sentence, Severity, action_to_json, apply, incident_to_json
from contracts.protocols import Record
from history.maintenance import Retention, expire
from history.query_incidents import incident, incident_actions, incidents, signals
from history.sink import Sink
from tests.history.builders import MINUTE, T0

DAY = 86_400_000
SAID = Sentence("silence.box", {"boxes": 1, "device": "b-1", "since": T0})
FIRST = Incident("inc-1", "silence.box", "open", T0, T0 + MINUTE, T0, SAID, Severity("low"), devices=("b-1",))
NOTE = Action("a-1", "inc-1", "note", "ana", T0 + 2 * MINUTE, "on site tomorrow")


def put(log, topic, document):
    value = json.dumps(document).encode()
    log.submit([Record(topic.name, b"k", value, T0, 0)]).result()


def signal_rows(n, **changes):
    values = {c.name: ["x"] * n if c.dtype == "string" else [0] * n for c in SIGNALS}
    values |= {"minute": [T0 + i * MINUTE for i in range(n)], "customer": ["acme"] * n, "bad": list(range(n))}
    return batch(SIGNALS, values | changes, pa)


def drain(log, store, now=T0 + 10 * MINUTE):
    sink = Sink(log, store)
    step = sink.drain(now)
    sink.close()
    return step


def test_the_newest_version_is_found_whatever_the_order(store, log):
    ended = apply(FIRST, Action("end-1", "inc-1", "end", "dipper", T0 + 5 * MINUTE))
    for version in (ended, FIRST, ended):
        put(log, topics.INCIDENTS, incident_to_json(version))
    assert drain(log, store).poison == 0
    assert incident(store, "inc-1") == ended
    assert incident(store, "inc-2") is None


def test_spans_and_states_choose(store, log):
    ended = apply(FIRST, Action("end-1", "inc-1", "end", "dipper", T0 + 5 * MINUTE))
    later = replace(FIRST, id="inc-2", kind="quality", detected_at=T0 + 8 * MINUTE)
    for one in (ended, later):
        put(log, topics.INCIDENTS, incident_to_json(one))
    drain(log, store)

    def ids(start, end, **choice):
        return [i.id for i in incidents(store, T0 + start * MINUTE, T0 + end * MINUTE, **choice)]

    assert ids(0, 10) == ["inc-2", "inc-1"]
    assert ids(0, 8) == ["inc-1"]
    assert ids(6, 10) == ["inc-2"]
    assert ids(0, 10, state="resolved") == ["inc-1"]
    assert ids(0, 10, kind="quality") == ["inc-2"]
    assert ids(0, 10, limit=1) == ["inc-2"]


def test_an_action_is_kept_once(store, log):
    for action in (NOTE, replace(NOTE, id="a-2", at=T0), NOTE):
        put(log, topics.INCIDENT_ACTIONS, action_to_json(action))
    drain(log, store)
    assert [a.id for a in incident_actions(store, "inc-1")] == ["a-2", "a-1"]
    assert incident_actions(store, "inc-2") == ()


@pytest.mark.parametrize("topic", [topics.INCIDENTS, topics.INCIDENT_ACTIONS])
@pytest.mark.parametrize("value", [b"{", b"{}", b"\xff"])
def test_what_nobody_can_read_is_kept_with_its_place(store, log, topic, value):
    log.submit([Record(topic.name, b"k", value, T0, 0)]).result()
    assert drain(log, store).poison == 1
    assert store.query("SELECT id FROM rejected FINAL")["id"] == [f"{topic.name}:0:0"]


def test_signals_of_a_series_come_back_minute_by_minute_and_once(store, log):
    rows = signal_rows(4, expected=[1.5, float("nan"), 2.5, 3.5])
    for _ in range(2):
        log.submit([Record(topics.SIGNALS.name, b"", to_bytes(rows, pa), T0, 0)]).result()
    drain(log, store)
    found = signals(store, "acme", "x", "x", T0, T0 + 3 * MINUTE)
    assert found["minute"] == [T0, T0 + MINUTE, T0 + 2 * MINUTE]
    assert found["expected"] == [1.5, None, 2.5]
    assert found["bad"] == [0, 1, 2]
    assert signals(store, "bolt", "x", "x", T0, T0 + 3 * MINUTE)["minute"] == []


def test_signals_have_their_retention(store, log):
    log.submit([Record(topics.SIGNALS.name, b"", to_bytes(signal_rows(2), pa), T0, 0)]).result()
    drain(log, store)
    expire(store, T0 + 30 * DAY, Retention(signals=35))
    assert len(signals(store, "acme", "x", "x", T0, T0 + DAY)["minute"]) == 2
    expire(store, T0 + 40 * DAY, Retention(signals=35))
    assert signals(store, "acme", "x", "x", T0, T0 + DAY)["minute"] == []
