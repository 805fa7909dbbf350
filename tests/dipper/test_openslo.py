"""Objectives in OpenSLO: what is understood, and that everything else is refused with its place."""

from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from contracts.entities import Objective
from contracts.errors import ContractError
from dipper.openslo import parse_objectives


def slo(**overrides):
    """An SLO document as data; overrides replace keys of its spec."""
    source = {"customer": "acme", "measure": "failures"}
    spec = {
        "service": "vod",
        "budgetingMethod": "Occurrences",
        "indicator": {
            "metadata": {"name": "acme-failures"},
            "spec": {
                "ratioMetric": {
                    "counter": True,
                    "bad": {"metricSource": {"type": "dipper", "spec": source}},
                    "total": {"metricSource": {"type": "dipper"}},
                }
            },
        },
        "objectives": [{"target": 0.99}],
    } | overrides
    return {"apiVersion": "openslo/v1", "kind": "SLO", "metadata": {"name": "acme-vod"}, "spec": spec}


def indicator(**source):
    spec = slo()["spec"]["indicator"]
    spec["spec"]["ratioMetric"]["bad"]["metricSource"]["spec"] = source
    return spec


def text(*documents):
    return yaml.safe_dump_all(documents)


def refused(document_or_text):
    given_text = document_or_text if isinstance(document_or_text, str) else text(document_or_text)
    with pytest.raises(ContractError) as error:
        parse_objectives(given_text)
    return error.value


def test_an_objective_per_slo():
    slow = slo(
        indicator=indicator(customer="acme", measure="slow_requests", threshold=400),
        objectives=[{"displayName": "fast", "targetPercent": 98.5}],
    )
    assert parse_objectives(text(slo(), slow)) == (
        Objective("acme", "vod", "failures", 0.99),
        Objective("acme", "vod", "slow_requests", 0.985, 400.0),
    )


def test_an_indicator_may_stand_by_itself():
    shared = {"apiVersion": "openslo/v1", "kind": "SLI", "metadata": {"name": "errors"}}
    shared["spec"] = indicator(customer="acme", measure="failures")["spec"]
    spec = slo()
    del spec["spec"]["indicator"]
    spec["spec"]["indicatorRef"] = "errors"
    assert parse_objectives(text(spec, shared)) == (Objective("acme", "vod", "failures", 0.99),)


def test_services_may_stand_beside_and_nothing_is_nothing():
    service = {"apiVersion": "openslo/v1", "kind": "Service", "metadata": {"name": "vod"}}
    assert parse_objectives(text(service)) == ()
    assert parse_objectives("") == ()


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (slo(objectives=[{"target": 1.0}]), "document 1: spec.objectives[0].target"),
        (slo(objectives=[{"targetPercent": 0}]), "document 1: spec.objectives[0].targetPercent"),
        (slo(objectives=[{"target": True}]), "document 1: spec.objectives[0].target"),
        (slo(objectives=[{"target": float("nan")}]), "document 1: spec.objectives[0].target"),
        (slo(objectives=[{"target": 0.9, "targetPercent": 90}]), "document 1: spec.objectives[0].target"),
        (slo(objectives=[{"target": 0.9}, {"target": 0.99}]), "document 1: spec.objectives"),
        (slo(budgetingMethod="Timeslices"), "document 1: spec.budgetingMethod"),
        (slo(service=None), "document 1: spec.service"),
        (slo(service="two words"), "document 1: spec.service"),
        (slo(timeWindow=[{"duration": "28d", "isRolling": True}]), "document 1: spec.timeWindow"),
        (slo(indicatorRef="errors"), "document 1: spec.indicator"),
        (slo() | {"apiVersion": "openslo/v1alpha"}, "document 1: apiVersion"),
        (slo() | {"kind": "AlertPolicy"}, "document 1: kind"),
        (["no mapping"], "document 1"),
        (
            slo(indicator=indicator(customer="acme", measure="failures", treshold=3)),
            "document 1: spec.indicator.spec.ratioMetric.bad.metricSource.spec.treshold",
        ),
        (slo(indicator=indicator(customer="acme", measure="errors")), "objective.measure"),
        (slo(indicator=indicator(customer="acme", measure="slow_requests")), "objective.threshold"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(document, field):
    assert refused(document).field == field


def test_the_second_document_is_counted_as_second():
    assert refused(text(slo(), slo() | {"kind": "Slo"})).field == "document 2: kind"


def test_the_same_measure_twice_is_refused():
    assert refused(text(slo(), slo())).field == "document 2"


def test_what_yaml_would_hide_is_refused():
    assert refused("a: 1\na: 2\n").field == "line 2, column 1"
    assert refused("a: &x [1]\nb: *x\n").field == "line 2, column 4"
    assert refused("a: !!python/object/apply:os.system [true]\n").field == "line 1, column 4"
    assert refused("[" * 10_000).reason == "bad_openslo"
    assert refused("x" * 1_000_001).field == "text"
    assert refused("\0").reason == "bad_openslo"


@given(st.text(max_size=200))
def test_no_text_makes_a_traceback(anything):
    with suppress(ContractError):
        parse_objectives(anything)
