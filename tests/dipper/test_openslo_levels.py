"""Service levels in OpenSLO: what a document says, and that everything else is refused with its place."""

from contextlib import suppress

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ContractError
from contracts.sla import CreditTier, Month, Once, ServiceLevel, Weekly
from contracts.times import from_rfc3339
from dipper.openslo_levels import parse_service_levels

DOCUMENT = """
apiVersion: openslo/v1
kind: SLO
metadata:
  name: acme-vod-slow
  annotations:
    dipper/credits: |
      below 99.9%: 10%
      below 99%: 25%
    dipper/maintenance: |
      Sun 02:00-04:00
      2026-10-08T01:00:00+08:00/2026-10-08T03:00:00+08:00 storage moves
    team/owner: video
spec:
  service: vod
  budgetingMethod: Timeslices
  timeWindow:
    - duration: 1M
      isRolling: false
      calendar: {startTime: 2026-10-01 00:00:00, timeZone: Asia/Shanghai}
  indicator:
    metadata: {name: acme-vod-slow}
    spec:
      ratioMetric:
        counter: true
        bad: {metricSource: {type: dipper, spec: {customer: acme, measure: slow_requests, threshold: 400}}}
        total: {metricSource: {type: dipper, spec: {customer: acme}}}
  objectives:
    - {target: 0.999, timeSliceTarget: 0.985, timeSliceWindow: 1m}
"""
AT = "document 1: "


def changed(path, value):
    """The document with one field replaced, or taken away (None)."""
    document = yaml.load(DOCUMENT, Loader=yaml.BaseLoader)  # texts stay texts
    document["spec"]["objectives"] = yaml.safe_load("[{target: 0.999, timeSliceTarget: 0.985, timeSliceWindow: 1m}]")
    document["spec"]["timeWindow"][0]["isRolling"] = False
    source = document["spec"]["indicator"]["spec"]["ratioMetric"]["bad"]["metricSource"]["spec"]
    source["threshold"] = 400
    node = document
    *parents, last = path
    for name in parents:
        node = node[name]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return yaml.safe_dump(document)


def refusal(text):
    with pytest.raises(ContractError) as refused:
        parse_service_levels(text)
    return str(refused.value)


def test_a_document_is_a_promise():
    first = from_rfc3339("2026-10-08T01:00:00+08:00")
    assert parse_service_levels(DOCUMENT) == (
        ServiceLevel(
            customer="acme",
            name="acme-vod-slow",
            service="vod",
            measure="slow_requests",
            threshold=400.0,
            minute_target=0.985,
            target=0.999,
            timezone="Asia/Shanghai",
            valid_from=Month(2026, 10),
            credits=(CreditTier(0.999, 0.1), CreditTier(0.99, 0.25)),
            maintenance=(Weekly(6, 120, 240), Once(first, first + 7_200_000, "storage moves")),
        ),
    )


def test_versions_and_other_measures_stand_beside_each_other():
    later = changed(["spec", "timeWindow", 0, "calendar", "startTime"], "2026-11-01 00:00:00")
    other = changed(["metadata", "name"], "other").replace("slow_requests", "failures").replace("threshold: 400", "")
    other = other.replace("threshold: '400'", "")
    found = parse_service_levels(f"{DOCUMENT}---\n{later}---\n{other}")
    assert [(level.name, level.measure, str(level.valid_from)) for level in found] == [
        ("acme-vod-slow", "slow_requests", "2026-10"),
        ("acme-vod-slow", "slow_requests", "2026-11"),
        ("other", "failures", "2026-10"),
    ]


def test_overlapping_objectives_are_refused():
    overlapping = refusal(f"{DOCUMENT}---\n{changed(['metadata', 'name'], 'another')}")
    expected = "another service, measure or start than document 1 has, got 'acme vod slow_requests from 2026-10'"
    assert overlapping == f"document 2: expected {expected}"
    assert refusal(f"{DOCUMENT}---\n{DOCUMENT}").startswith(
        "document 2: expected another name or start than document 1"
    )


WINDOW = ["spec", "timeWindow", 0]
OBJECTIVE = ["spec", "objectives", 0]
NOTES = ["metadata", "annotations"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ([*OBJECTIVE, "target"], 1, "spec.objectives[0].target: expected above 0 and below 1, got 1"),
        ([*OBJECTIVE, "target"], 0.99999, "target: expected above 0 and at most 0.999975"),
        ([*OBJECTIVE, "target"], "high", "spec.objectives[0].target: expected a number, got 'high'"),
        ([*OBJECTIVE, "timeSliceTarget"], 1.5, "spec.objectives[0].timeSliceTarget: expected above 0 and below 1"),
        ([*OBJECTIVE, "timeSliceTarget"], None, "spec.objectives[0].timeSliceTarget: expected a number, got None"),
        ([*OBJECTIVE, "timeSliceWindow"], "5m", "spec.objectives[0].timeSliceWindow: expected one of 1m, got '5m'"),
        ([*OBJECTIVE, "op"], "lte", "spec.objectives[0].op: expected to be left out for a ratio of time slices"),
        (["spec", "budgetingMethod"], "Occurrences", "spec.budgetingMethod: expected one of Timeslices"),
        (["spec", "timeWindow"], [], "spec.timeWindow: expected a list of exactly one window, got []"),
        ([*WINDOW, "duration"], "28d", "spec.timeWindow[0].duration: expected one of 1M, got '28d'"),
        ([*WINDOW, "isRolling"], True, "spec.timeWindow[0].isRolling: expected false"),
        ([*WINDOW, "calendar", "startTime"], "2026-10-12 00:00:00", "spec.timeWindow[0].calendar.startTime: expected"),
        ([*WINDOW, "calendar", "startTime"], "2026-13-01 00:00:00", "spec.timeWindow[0].calendar.startTime: expected"),
        ([*WINDOW, "calendar", "timeZone"], "Mars/North", "timezone: expected an IANA time zone"),
        ([*NOTES, "dipper/credits"], "99%: 10%", "metadata.annotations.dipper/credits: expected lines such as: below"),
        ([*NOTES, "dipper/credits"], "below 99.95%: 10%", "credits[0].below: expected above 0 and at most the target"),
        ([*NOTES, "dipper/maintenance"], "Sunday", "metadata.annotations.dipper/maintenance: expected lines such as"),
        ([*NOTES, "dipper/maintenance"], "Sun 04:00-02:00", "metadata.annotations.dipper/maintenance: expected an end"),
        ([*NOTES, "dipper/maintenance"], "2026-10-08/2026-10-09", "metadata.annotations.dipper/maintenance: expected"),
        ([*NOTES, "dipper/credit"], "x", "metadata.annotations.dipper/credit: expected dipper/credits or"),
        (["metadata", "name"], "two words", "name: expected 1 to 64 of"),
        (["spec", "service"], "two words", "spec.service: expected 1 to 64 of"),
        (["apiVersion"], "openslo/v2", "apiVersion: expected one of openslo/v1"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(path, value, message):
    assert refusal(changed(path, value)).startswith(AT + message)


@settings(max_examples=40)
@given(st.text(max_size=80))
def test_no_annotation_makes_a_traceback(anything):
    for name in ("dipper/credits", "dipper/maintenance"):
        with suppress(ContractError):
            parse_service_levels(changed([*NOTES, name], anything))
