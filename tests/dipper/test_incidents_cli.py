"""`dipper incidents`: what it prints, what it writes to the log, what it refuses."""

from __future__ import annotations

import json

import pytest

from contracts import topics
from contracts.incidents import Action, Cause, Incident, Sentence, Severity, apply, incident_to_json
from contracts.protocols import Record
from contracts.times import MINUTE_MS
from dipper.cli import main
from dipper.clock import wall_clock
from dipper.engine import open_engine
from dipper.paths import OwnerLock, Paths
from dipper.settings import load_policy
from history.query_incidents import incident_actions

AT = wall_clock() - 30 * MINUTE_MS
WHERE = {"client_isp": "unicom"}
SAID = Sentence(
    "quality.localised",
    {
        "customers": ("acme",), "measures": ("failures", "slow_requests"), "factor": 4.1, "since": AT,
        "where": WHERE, "share": 0.87, "causes": 1,
    },
)  # fmt: skip
INCIDENT = Incident(
    "inc-1", "quality", "open", AT, AT + 2 * MINUTE_MS, AT, SAID, Severity("high", 4, 500.0, 0.4), 1, None,
    ("acme",), ("video",), ("failures",), "localised", "812 bad events, 200 expected",
    (Cause(WHERE, 0.87, 730.0, 130.0, 5_000.0, True, "failures"),),
)  # fmt: skip
SILENT = Sentence("silence.box", {"boxes": 1, "device": "b-1", "since": AT})
OVER = apply(
    Incident("inc-2", "silence.box", "open", AT, AT, AT, SILENT, Severity("low")),
    Action("end-1", "inc-2", "end", "dipper", AT + MINUTE_MS, "heard again"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data directory whose log holds two incidents; its process has ended."""
    folder = tmp_path_factory.mktemp("incidents") / "data"
    with OwnerLock(Paths(folder)):
        engine = open_engine(Paths(folder), load_policy(), wall_clock, manual=True, live=False)
        for one in (INCIDENT, OVER):
            value = json.dumps(incident_to_json(one)).encode()
            engine.log.submit([Record(topics.INCIDENTS.name, one.id.encode(), value, AT, 0)]).result()
        engine.close()
    return folder


def run(capsys, data, *arguments):
    code = main(["incidents", *arguments, "--data", str(data)])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_list_says_what_is_wrong(capsys, data):
    code, out, _ = run(capsys, data, "list")
    assert code == 0
    assert "inc-1  open" in out
    assert "acme: failures and slow requests at 4.1 times normal" in out
    assert "for client_isp=unicom; 87% of the excess" in out
    assert "b-1 silent (off)" in out


def test_a_list_can_be_narrowed(capsys, data):
    assert "inc-2" not in run(capsys, data, "list", "--state", "active")[1]
    assert "inc-1" not in run(capsys, data, "list", "--kind", "silence.box")[1]
    assert "no incidents" in run(capsys, data, "list", "--state", "muted")[1]
    rows = json.loads(run(capsys, data, "list", "--json")[1])
    assert {row["id"] for row in rows} == {"inc-1", "inc-2"}


def test_one_is_shown_with_its_arithmetic_and_history(capsys, data):
    out = run(capsys, data, "show", "inc-1")[1]
    assert " *  87%  client_isp=unicom  (failures: 730 bad, 130.0 expected)" in out
    assert "4 customer-minutes affected, 0.40 lost" in out
    assert "end by dipper: heard again" in run(capsys, data, "show", "inc-2")[1]


def test_an_action_is_written_with_its_author_and_reason(capsys, data):
    code, out, _ = run(capsys, data, "ack", "inc-1", "--why", "on it", "--author", "ana")
    assert (code, out) == (0, "inc-1: acknowledged\n")
    code, out, _ = run(capsys, data, "mute", "inc-1", "--for", "2h", "--author", "ana", "--why", "ticket 4711")
    assert (code, out) == (0, "inc-1: muted\n")
    run(capsys, data, "real-cause", "inc-1", "client_isp=unicom", "client_region=hebei", "--author", "ben")
    with OwnerLock(Paths(data)):
        engine = open_engine(Paths(data), load_policy(), wall_clock, manual=True, live=False)
        engine.drain(wall_clock())
        written = incident_actions(engine.store, "inc-1")
        engine.close()
    assert [(a.verb, a.author, a.text) for a in written] == [
        ("acknowledge", "ana", "on it"),
        ("mute", "ana", "ticket 4711"),
        ("real_cause", "ben", ""),
    ]
    assert written[1].until is not None
    assert written[1].until - written[1].at == pytest.approx(120 * MINUTE_MS, abs=60_000)
    assert written[2].cause == {"client_isp": "unicom", "client_region": "hebei"}


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (("show", "inc-9"), "id: expected the id of an incident", 2),
        (("ack", "inc-2"), "verb: expected one of note, false_alarm, real_cause, reopen (inc-2 is resolved)", 2),
        (("mute", "inc-1", "--for", "40d"), "--for: expected 30m, 6h or 7d, at most 30d, got '40d'", 2),
        (("real-cause", "inc-1", "unicom"), "cause: expected DIMENSION=VALUE, got 'unicom'", 2),
        (("real-cause", "inc-1", "moon=full"), "cause.moon: expected a dimension", 2),
        (("note", "inc-1", "--why", " "), "text: expected 1 to 2000 characters", 2),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(capsys, data, arguments, says, code):
    got, _, err = run(capsys, data, *arguments)
    assert got == code
    assert says in err
    assert "Traceback" not in err
