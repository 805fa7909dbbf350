"""The score: which incident finds which fault, by the rule of the contract."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.incidents import Cause, Equivalent, Incident, Sentence, Severity
from contracts.times import MINUTE_MS, rfc3339
from dipper.demo_incidents import for_people
from dipper.incident_text import words
from dipper.score import in_words, score, wilson

T0 = 1_767_607_200_000  # 2026-01-05T10:00:00Z
SCOPE = {"client_isp": "unicom"}


def fault(n: int = 1, minutes: int = 10, **changes: Any) -> dict[str, Any]:
    stated = {
        "id": f"fault-{n}", "incident_kind": "quality", "start": rfc3339(T0 + 20 * MINUTE_MS),
        "end": rfc3339(T0 + (20 + minutes) * MINUTE_MS), "scope": SCOPE, "devices": [], "customers": ["acme"],
        "share_of_requests": 0.01, "bad_added": 5_000,
    }  # fmt: skip
    return stated | changes


def incident(n: int, at: int = 22, where: dict[str, str] | None = None, **changes: Any) -> Incident:
    when = T0 + at * MINUTE_MS
    since = {"customers": ("acme",), "measures": ("failures",), "factor": 2.0, "since": when}
    causes = () if where is None else (Cause(where, 0.9, 90, 10, 900, True, "failures"),)
    fields = {"kind": "quality", "state": "open", "customers": ("acme",), "measures": ("failures",), "causes": causes}
    said = Sentence("quality.unexplained", since)
    times = {"onset": when, "detected_at": when, "newest": when}
    return Incident(f"inc-{n}", headline=said, severity=Severity("low"), **(fields | times | changes))


def scored(faults: list[dict[str, Any]], incidents: list[Incident]) -> dict[str, Any]:
    return score({"start": rfc3339(T0), "faults": faults}, incidents)


def test_a_fault_is_found_by_an_incident_of_its_kind_time_and_customer() -> None:
    result = scored([fault()], [incident(1, where=SCOPE)])
    assert (result["found"], result["recall"], result["precision"], result["cause_exact"]) == (1, 1.0, 1.0, 1.0)
    assert result["seconds_to_detect"] == {"p50": 120.0, "p95": 120.0}


@pytest.mark.parametrize(
    "one",
    [
        incident(1, at=19, where=SCOPE),
        incident(1, at=36, where=SCOPE),
        incident(1, kind="silence.box"),
        incident(1, customers=("bolt",)),
    ],
)
def test_too_early_too_late_of_another_kind_or_of_nobody_concerned_is_false(one: Incident) -> None:
    result = scored([fault()], [one])
    assert (result["found"], result["false"], result["missed"]) == (0, ["inc-1"], ["fault-1"])


def test_naming_the_scope_is_enough_and_equivalents_count_as_the_cause() -> None:
    other = Cause({"device_isp": "unicom"}, 0.9, 90, 10, 900, True, "failures", equivalents=(Equivalent(SCOPE),))
    result = scored([fault()], [incident(1, customers=("bolt",), causes=(other,))])
    assert (result["found"], result["cause_exact"]) == (1, 1.0)


def test_a_cause_in_third_place_is_in_the_top_three_only() -> None:
    places = [{"model": "m1"}, {"model": "m2"}, SCOPE]
    causes = tuple(Cause(w, 0.5, 9, 1, 90, n == 0, "failures") for n, w in enumerate(places))
    result = scored([fault()], [incident(1, causes=causes)])
    assert (result["cause_exact"], result["cause_top3"]) == (0.0, 1.0)


def test_an_incident_finds_one_fault_the_one_it_names_best() -> None:
    faults = [fault(1, scope={"model": "m1"}), fault(2)]
    result = scored(faults, [incident(1, where=SCOPE)])
    assert (result["matches"], result["missed"]) == ({"fault-2": "inc-1"}, ["fault-1"])
    result = scored([fault(2)], [incident(1, where=SCOPE), incident(2, at=23)])
    assert (result["duplicates"], result["false_incidents"], result["precision"]) == (1, 0, 1.0)


def test_merged_incidents_do_not_count() -> None:
    merged = incident(2, at=3, state="resolved", resolved_at=T0 + 30 * MINUTE_MS, merged_into="inc-1")
    assert scored([fault()], [incident(1, where=SCOPE), merged])["incidents"] == 1


@pytest.mark.parametrize("change", [{"share_of_requests": 0.001}, {"bad_added": 100}, {"minutes": 4}])
def test_what_is_below_the_detectable_size_is_not_counted_as_missed(change: dict[str, Any]) -> None:
    result = scored([fault(**change)], [])
    assert (result["faults"], result["recall"], result["below_detectable"]) == (0, None, {"faults": 1, "found": 0})


@pytest.mark.parametrize(
    ("kind", "minutes", "counted"),
    [("silence.box", 4, 0), ("silence.box", 5, 1), ("silence.region", 2, 0), ("silence.region", 3, 1)],
)
def test_silence_counts_from_a_length_that_a_place_reaches_before_a_box(kind: str, minutes: int, counted: int) -> None:
    result = scored([fault(incident_kind=kind, minutes=minutes, scope={}, devices=["b-1"], customers=[])], [])
    assert (result["faults"], result["below_detectable"]["faults"]) == (counted, 1 - counted)
    assert result["detectable"] == {
        "share_of_requests": 0.003, "minutes": 5.0, "bad_added": 500, "after_minutes": 10.0,
        "silent_minutes": 5.0, "dark_minutes": 3.0,
    }  # fmt: skip


def test_silence_is_found_by_device_or_place() -> None:
    dark = fault(incident_kind="silence.region", scope={"device_isp": "unicom"}, devices=["b-1"], customers=[])
    by_place = incident(1, kind="silence.region", customers=(), where=None, causes=())
    assert scored([dark], [by_place])["found"] == 0
    named = Incident(
        "inc-1", "silence.region", "open", T0, T0 + 22 * MINUTE_MS, T0,
        Sentence("silence.region", {"boxes": 1, "where": SCOPE, "share": 1.0, "since": T0}), Severity("low"),
        where={"device_isp": "unicom"},
    )  # fmt: skip
    assert scored([dark], [named])["found"] == 1


def test_wilson_intervals() -> None:
    assert wilson(0, 0) is None
    assert wilson(8, 10) == [0.4902, 0.9433]  # Newcombe (1998), table I, to rounding
    assert wilson(0, 20) == [0.0, 0.1611]


def test_the_score_and_headlines_in_words() -> None:
    result = scored([fault()], [incident(1, where=SCOPE)])
    assert in_words(result) == (
        "incidents: 1 of 1 detectable faults found, half of them within 120 s; 0 of 1 incidents false"
    )
    assert words(incident(1).headline) == "acme: failures at 2.0 times normal since 10:22, cause not found"


def test_files_for_people_state_times_with_their_zone() -> None:
    document = for_people(incident(1, where=SCOPE))
    assert list(document)[:3] == ["id", "kind", "state"]
    assert document["onset"] == "2026-01-05T10:22:00.000Z"
    assert document["headline"]["params"]["since"] == "2026-01-05T10:22:00.000Z"
    assert document["resolved_at"] is None
