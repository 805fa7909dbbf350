"""Bodies: our JSON, a customer's own view with nothing of anybody else, Slack's blocks, Alertmanager's alerts."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.incidents import Cause, RelatedChange, Sentence, Transition
from dipper.notify.board import Board, Event, Message
from dipper.notify.render import MAX_SLACK_CHARS, render
from dipper.notify.settings import ALERTMANAGER, SLACK, NotifySettings
from history.tenant import seen_by
from tests.dashboards.made_incidents import make_incident, make_incidents
from tests.dipper.notify.builders import MINUTE, T0, ended, grown, incident, muted, receiver

PAGES = "https://dipper.example.net"


def message(*events, made_at=T0):
    return Message("msg-1", made_at, tuple(events), len(events))


def body(to, told, now=T0, pages=PAGES):
    return json.loads(render(to, "quality", told, pages, now))


def test_a_webhook_states_its_schema_and_all_of_the_incident():
    known = make_incident(T0)
    document = body(receiver(), message(Event("opened", known)))
    assert {k: document[k] for k in ("schema", "id", "at", "receiver", "group", "open")} == {
        "schema": 1, "id": "msg-1", "at": "2027-01-15T08:00:00.000Z", "receiver": "ops", "group": "quality", "open": 1,
    }  # fmt: skip
    (event,) = document["events"]
    assert event["event"] == "opened"
    told = event["incident"]
    assert told["url"] == f"{PAGES}/triage?incident=inc-1"
    assert told["severity"]["level"] == "high"
    assert told["customers"] == ["c001", "c004", "c008"]
    assert told["causes"][0]["where"] == {"client_isp": "China Unicom", "client_region": "Hebei", "firmware": "2.3.1"}
    assert told["changes"][0]["id"] == "fw-231"
    assert told["headline"]["text"].startswith("c001, c004 and c008: stalls at 4.1 times normal")


def test_the_same_message_is_the_same_bytes_whenever_it_is_tried():
    told = message(Event("opened", make_incident(T0)))
    for to in (receiver(), receiver(kind=SLACK), receiver(customer="c001")):
        assert render(to, "g", told, PAGES, T0) == render(to, "g", told, PAGES, T0 + 5 * MINUTE)


@pytest.mark.parametrize("kind", ["webhook", SLACK, ALERTMANAGER])
def test_every_kind_of_incident_and_state_can_be_said(kind):
    for known in make_incidents(T0):
        for event in ("opened", "grown", "muted", "unmuted", "reopened", "resolved", "repeated"):
            assert body(receiver(kind=kind), message(Event(event, known, "low")), pages="")


# -- customers


def secret_incident():
    """Of acme and of another customer, everything about which has `beta` in it, with a box and what people wrote."""
    known = incident(customers=("acme", "beta"), at=T0)
    where = {"customer": "beta", "client_isp": "unicom"}
    return replace(
        known,
        headline=Sentence(
            "quality.localised",
            {"customers": ("acme", "beta"), "measures": ("failures",), "factor": 4.0, "since": T0, "share": 0.9,
             "where": {**where, "device": "box-0007"}, "causes": 1},
        ),
        causes=(Cause(where, 0.9, 50.0, 5.0, 900.0, True, "failures"),),
        changes=(RelatedChange("beta-rollout", "other", "matches", T0, 0, 1.0, 1.0, 1.0, {"customer": "beta"}),),
        devices=("box-0007",),
        where={"customer": "beta"},
        history=(Transition("a1", "note", "ana", T0, "open", "open", "beta called, angry"),),
        reason="beta suffers most",
    )  # fmt: skip


def test_a_customer_gets_what_its_api_says_and_nothing_beside():
    known = secret_incident()
    data = render(receiver(customer="acme"), known.id, message(Event("opened", known)), PAGES, T0)
    document = json.loads(data)
    assert set(document) == {"schema", "id", "at", "customer", "events"}
    assert document["customer"] == "acme"
    (event,) = document["events"]
    assert set(event) == {"id", "event", "incident"}
    assert event["incident"] == json.loads(json.dumps(seen_by(known, "acme")))
    for word in (b"beta", b"box-", b"ana", b"angry", b"dipper.example", b"severity", b"high"):
        assert word not in data


@given(
    others=st.lists(st.sampled_from(["beta", "gamma-x", "delta.7"]), max_size=3, unique=True),
    level=st.sampled_from(["low", "high", "critical"]),
    event=st.sampled_from(["opened", "reopened", "resolved"]),
)
def test_a_customers_message_does_not_depend_on_who_else_was_hit(others, level, event):
    alone, together = incident(level="low", customers=("acme",)), incident(level=level, customers=("acme", *others))
    to = receiver(customer="acme")
    assert render(to, "g", message(Event(event, alone)), PAGES, T0) == render(
        to, "g", message(Event(event, together)), PAGES, T0
    )


def test_customers_receivers_hear_of_their_own_incidents_only():
    own = [receiver(name=f"customer:{c}", customer=c, customers=(c,), group_by="incident") for c in ("acme", "beta")]
    board = Board(NotifySettings(tuple(own)))
    board.take(incident("inc-a", customers=("acme",)), T0)
    board.take(incident("inc-b", customers=("beta",)), T0)
    board.take(incident("inc-ab", customers=("acme", "beta")), T0)
    board.take(incident("inc-lag", customers=(), kind="self.lag"), T0)
    board.flush(T0)
    told = {"acme": set(), "beta": set()}
    for (name, _), group in board.groups.items():
        told[name.partition(":")[2]] |= {e.incident.id for e in group.message.events}
    assert told == {"acme": {"inc-a", "inc-ab"}, "beta": {"inc-b", "inc-ab"}}


# -- Slack


def test_slack_gets_blocks_with_link_cause_and_change():
    document = body(receiver(kind=SLACK), message(Event("opened", make_incident(T0))))
    section, context = document["blocks"]
    assert section["type"] == "section"
    text = section["text"]["text"]
    assert f"<{PAGES}/triage?incident=inc-1|c001, c004 and c008: stalls" in text
    assert "Cause: client_isp=China Unicom and client_region=Hebei and firmware=2.3.1 (87% of the excess)" in text
    assert "Before it: firmware fw-231" in text
    assert "1 open in this group" in context["elements"][0]["text"]


def test_what_slack_would_take_for_a_command_is_text():
    known = incident(customers=("acme",))
    known = replace(
        known,
        causes=(Cause({"client_isp": "<!channel> & <http://evil|you>"}, 0.9, 5.0, 1.0, 9.0, True, "failures"),),
        history=(Transition("a1", "resolve", "ana", T0, "open", "resolved", "<!here>\nfixed"),),
    )
    text = body(receiver(kind=SLACK), message(Event("resolved", known)))["blocks"][0]["text"]["text"]
    assert "<!" not in text
    assert "&lt;!channel&gt; &amp; &lt;http://evil|you&gt;" in text
    assert "resolved by ana: &lt;!here&gt; fixed" in text


def test_many_incidents_and_long_words_stay_within_what_slack_takes():
    events = [
        Event("opened", incident(f"inc-{n}", customers=tuple(f"c{i:060d}" for i in range(40)))) for n in range(60)
    ]
    document = body(receiver(kind=SLACK), message(*events))
    assert len(document["blocks"]) == 21
    assert "and 40 more" in document["blocks"][-1]["elements"][0]["text"]
    assert all(len(b["text"]["text"]) <= MAX_SLACK_CHARS for b in document["blocks"][:-1])


def test_how_it_ended_and_who_muted_it_is_said():
    known = muted(incident(), T0, T0 + MINUTE)
    events = (Event("muted", known), Event("resolved", ended(replace(known, merged_into=None, false_alarm=True), T0)))
    first, second, _ = body(receiver(kind=SLACK), message(*events))["blocks"]
    assert "muted until 2027-01-15T08:01:00.000Z by ana" in first["text"]["text"]
    assert "a false alarm" in second["text"]["text"]


# -- Alertmanager


def test_an_alert_begins_with_the_onset_and_lives_until_it_is_told_again():
    (alert,) = body(receiver(kind=ALERTMANAGER, repeat_interval_ms=2 * MINUTE), message(Event("opened", incident())))
    assert alert["labels"] == {
        "alertname": "DipperIncident", "incident": "inc-1", "kind": "quality", "severity": "high",
    }  # fmt: skip
    assert (alert["startsAt"], alert["endsAt"]) == ("2027-01-15T07:57:00.000Z", "2027-01-15T08:08:00.000Z")
    assert alert["generatorURL"] == f"{PAGES}/triage?incident=inc-1"


def test_an_alert_ends_when_the_incident_is_resolved_or_muted():
    for known, ends in (
        (ended(incident(), T0 + MINUTE), "2027-01-15T08:01:00.000Z"),
        (muted(incident(), T0, T0 + 60 * MINUTE), "2027-01-15T08:02:00.000Z"),
    ):
        (alert,) = body(receiver(kind=ALERTMANAGER), message(Event("x", known)), now=T0 + 2 * MINUTE)
        assert alert["endsAt"] == ends


def test_an_incident_that_grows_ends_the_alert_of_its_old_level():
    known = grown(incident(level="medium"), "critical")
    old, new = body(receiver(kind=ALERTMANAGER), message(Event("grown", known, "medium")))
    assert (old["labels"]["severity"], new["labels"]["severity"]) == ("medium", "critical")
    assert old["endsAt"] == "2027-01-15T08:00:00.000Z" < new["endsAt"]
