"""`dipper incidents quality`: what it prints of labelled incidents and of the self-test's faults."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts import topics
from contracts.incidents import Action, Incident, Sentence, SeriesEvidence, Severity, apply, incident_to_json
from contracts.protocols import Record
from contracts.self_test import CUSTOMER, Injected, announcement
from contracts.times import MINUTE_MS
from dipper.cli import main
from dipper.clock import wall_clock
from dipper.engine import open_engine
from dipper.paths import OwnerLock, Paths
from dipper.settings import load_policy
from history.query_alert_quality import week_of
from ingest.operators import change_to_json

AT = max(wall_clock() - 60 * MINUTE_MS, week_of(wall_clock()) + MINUTE_MS)
FAULTS = [Injected(f"self-test-{n}", AT + n, AT + n + 6 * MINUTE_MS, "failures") for n in range(2)]


def incident(n: int, customer: str) -> Incident:
    said = {"customers": (customer,), "measures": ("failures",), "factor": 2.0, "since": AT}
    evidence = SeriesEvidence(
        customer, "vod", "failures", AT, AT, 90.0, 900.0, 9.0, 20.0, 1e-9, 1e-6, ("shift",), "overall"
    )
    return Incident(
        f"inc-{n}", "quality", "open", AT, AT + 2 * MINUTE_MS, AT, Sentence("quality.unexplained", said),
        Severity("low"), customers=(customer,), measures=("failures",), series=(evidence,),
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose log holds two labelled incidents and one of the self-test; its process has ended."""
    real = apply(incident(1, "acme"), Action("a-1", "inc-1", "real_cause", "ana", AT, cause={"client_isp": "x"}))
    wrong = apply(incident(2, "acme"), Action("a-2", "inc-2", "false_alarm", "ana", AT + 3 * MINUTE_MS))
    folder = tmp_path_factory.mktemp("quality") / "data"
    with OwnerLock(Paths(folder)):
        engine = open_engine(Paths(folder), load_policy(), wall_clock, manual=True, live=False)
        for one in (real, wrong, incident(3, CUSTOMER)):
            value = json.dumps(incident_to_json(one)).encode()
            engine.log.submit([Record(topics.INCIDENTS.name, one.id.encode(), value, AT, 0)]).result()
        for fault in (FAULTS[0], replace(FAULTS[1], start=AT + 30 * MINUTE_MS, end=AT + 36 * MINUTE_MS)):
            engine.log.submit([Record(topics.CHANGES.name, b"s", change_to_json(announcement(fault)), AT)]).result()
        engine.close()
    return folder


def run(capsys: Any, data: Path, *arguments: str) -> tuple[int, str, str]:
    code = main(["incidents", *arguments, "--data", str(data)])
    out, err = capsys.readouterr()
    return code, out, err


def test_weeks_are_told_with_their_counts_and_intervals(capsys: Any, data: Path) -> None:
    code, out, _ = run(capsys, data, "quality", "--weeks", "2")
    assert code == 0
    this, before = out.split("\n\n")
    # Wilson's interval of 1 of 2 by hand: 0.5 +- 1.96/(2+3.84) * sqrt(0.5 + 0.96) = 9% to 91%
    assert "all" in this
    assert "50% (1 of 2; 9% to 91%)" in this
    assert "shift" in this
    assert "silence" not in this
    assert "half of the faults found within 120 s" in this
    assert before.strip().endswith("no incidents, no self-test")


def test_the_same_as_json(capsys: Any, data: Path) -> None:
    (week,) = json.loads(run(capsys, data, "quality", "--weeks", "1", "--json")[1])
    assert (week["all"]["precision"]["part"], week["all"]["precision"]["whole"]) == (1, 2)
    assert week["all"]["recall"]["part"] == 1
    assert {d["detector"] for d in week["detectors"]} == {"shift", "burn", "silence", "lag"}


def test_an_absurd_number_of_weeks_is_refused(capsys: Any, data: Path) -> None:
    code, _, err = run(capsys, data, "quality", "--weeks", "0")
    assert code == 2
    assert "--weeks: expected 1 to 53, got 0" in err


def test_an_incident_says_which_baseline_it_was_held_against(capsys: Any, data: Path) -> None:
    out = run(capsys, data, "show", "inc-1")[1]
    assert "acme vod, failures: 90 bad of 900, 9.0 expected since" in out
    assert "expected: from all of its minutes, because no day of it was known yet" in out
