"""Customers, rules, and bulk import: all or nothing, every problem with its line and column."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.entities import Customer, Objective, SchedulingRule
from contracts.errors import ContractError
from ingest.registry import BadImport, SqliteRegistry
from ingest.registry.importing import (
    Format,
    parse_objective,
    parse_objectives,
    read_customers,
    read_devices,
    read_rules,
)
from tests.ingest.registry.builders import NOW, make_attributes, make_customer

DEVICES_CSV = """device,device_isp,device_region,nat_type,cohort,capacity_mbps,valid_from
box-1,telecom,guangdong,full_cone,stable,30,
box-2,unicom,"hu,bei",symmetric,canary,12.5,2026-02-01T00:00:00+08:00
"""
RULE = SchedulingRule("near", 3, "Nearest box first", "traffic team", NOW)


def problems(call: Any, *arguments: Any) -> list[tuple[int, str]]:
    with pytest.raises(BadImport) as caught:
        call(*arguments)
    for problem in caught.value.problems:
        assert str(problem.line) in str(problem)
        assert problem.column in str(problem)
    return [(p.line, p.column) for p in caught.value.problems]


def test_customers_keep_their_objectives(registry: SqliteRegistry) -> None:
    slow = Objective("acme", "video", "slow_requests", 0.95, 800.0)
    customer = make_customer(objectives=(Objective("acme", "video", "failures", 0.995), slow))
    registry.add_customer(customer)
    assert registry.customer("acme") == customer
    with pytest.raises(ContractError, match="not taken"):
        registry.add_customer(customer)
    smaller = replace(customer, objectives=(slow,))
    registry.add_customer(smaller, replace=True)
    assert registry.customers() == (smaller,)


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"id": "has space"}, "customer.id"),
        ({"name": ""}, "customer.name"),
        ({"name": "a\nb"}, "customer.name"),
        ({"timezone": "Mars/Olympus"}, "customer.timezone"),
        ({"timezone": "../../etc/passwd"}, "customer.timezone"),
        ({"objectives": (Objective("other", "video", "failures", 0.9),)}, "objective.customer"),
        ({"objectives": (Objective("acme", "video", "failures", 0.9),) * 2}, "objective.measure"),
    ],
)
def test_bad_customers_are_refused_with_the_field(
    registry: SqliteRegistry, overrides: dict[str, Any], field: str
) -> None:
    with pytest.raises(ContractError) as caught:
        registry.add_customer(make_customer(**overrides))
    assert caught.value.field == field
    assert registry.customers() == ()


def test_rules_are_kept_by_id_and_version(registry: SqliteRegistry) -> None:
    older = replace(RULE, version=2)
    registry.add_rule(RULE)
    registry.add_rule(older)
    assert registry.rules() == (older, RULE)
    with pytest.raises(ContractError, match="near@3"):
        registry.add_rule(RULE)
    registry.add_rule(replace(RULE, owner="edge team"), replace=True)
    assert [r.owner for r in registry.rules()] == ["traffic team", "edge team"]


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"version": 0}, "rule.version"),
        ({"id": "a@b"}, "rule.id"),
        ({"id": "x" * 63, "version": 1}, "rule.id@version"),
        ({"owner": ""}, "rule.owner"),
        ({"valid_from": -1}, "rule.valid_from"),
    ],
)
def test_bad_rules_are_refused_with_the_field(registry: SqliteRegistry, overrides: dict[str, Any], field: str) -> None:
    with pytest.raises(ContractError) as caught:
        registry.add_rule(replace(RULE, **overrides))
    assert caught.value.field == field


def test_devices_from_csv(registry: SqliteRegistry) -> None:
    rows = read_devices(DEVICES_CSV, "csv", NOW)
    assert rows == [
        ("box-1", make_attributes()),
        ("box-2", make_attributes(valid_from=1_769_875_200_000, device_isp="unicom", device_region="hu,bei",
                                  nat_type="symmetric", cohort="canary", capacity_mbps=12.5)),
    ]  # fmt: skip
    assert registry.upsert_devices(rows, NOW) == ["added", "added"]
    assert registry.upsert_devices(rows, NOW) == ["unchanged", "unchanged"]
    moved = [("box-1", make_attributes(valid_from=NOW + 9, cohort="canary"))]
    assert registry.upsert_devices(moved, NOW) == ["changed"]
    assert registry.attributes("box-1", NOW) == make_attributes()
    assert registry.attributes("box-1", NOW + 9) == moved[0][1]


def test_byte_order_mark_and_carriage_returns_of_spreadsheets_are_read() -> None:
    assert read_devices("\ufeff" + DEVICES_CSV.replace("\n", "\r\n"), "csv", NOW) == read_devices(
        DEVICES_CSV, "csv", NOW
    )


def test_json_and_csv_say_the_same() -> None:
    document = [
        {"device": "box-1", "device_isp": "telecom", "device_region": "guangdong", "nat_type": "full_cone",
         "cohort": "stable", "capacity_mbps": 30},
        {"device": "box-2", "device_isp": "unicom", "device_region": "hu,bei", "nat_type": "symmetric",
         "cohort": "canary", "capacity_mbps": 12.5, "valid_from": "2026-02-01T00:00:00+08:00"},
    ]  # fmt: skip
    assert read_devices(json.dumps(document, indent=1), "json", NOW) == read_devices(DEVICES_CSV, "csv", NOW)


def test_every_problem_of_a_csv_is_named() -> None:
    lines = DEVICES_CSV.splitlines()
    lines[1] = "box 1,telecom,guangdong,full_cone,stable,30,"
    lines[2] = 'box-2,unicom,"hu\nbei",symmetric,canary,12.5,'
    lines += ["box-3,a,b,c,d,fast,", "box-4,a,b,c,d,1,2026-02-01", "box-5,a,b,c,d,-1,", "box-6,a,b,c,d,nan,", ""]
    lines += ["box-7,a,b,c,d,1,", "box-7,a,b,c,d,1,"]
    assert problems(read_devices, "\n".join(lines), "csv", NOW) == [
        (2, "device"),
        (3, "device_region"),
        (5, "capacity_mbps"),
        (6, "valid_from"),
        (7, "capacity_mbps"),
        (8, "capacity_mbps"),
        (11, "device"),
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", (1, "device")),
        ("device,device_isp\nx,y\n", (1, "device_region")),
        (DEVICES_CSV.replace("cohort", "cohrt"), (1, "cohort")),
        (DEVICES_CSV.replace("valid_from", "colour"), (1, "colour")),
        (DEVICES_CSV.replace("valid_from", "cohort"), (1, "cohort")),
        (DEVICES_CSV + "box-3,only,three\n", (4, "")),
        (DEVICES_CSV + 'box-3,"open\n', (4, "")),
    ],
)
def test_a_csv_of_the_wrong_shape_is_refused(text: str, place: tuple[int, str]) -> None:
    assert problems(read_devices, text, "csv", NOW) == [place]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", (1, "1")),
        ("{}", (1, "1")),
        ('[\n{"id": "a",\n "name": }]', (3, "10")),
        ('[\n\n{"id": "a"}]', (3, "name")),
        ('[{"id": "a", "name": "A"},\n 7]', (2, "")),
        ('[{"id": "a", "name": "A"}\n {"id": "b", "name": "B"}]', (2, "2")),
        ('[{"id": "a", "name": "A"}] tail', (1, "27")),
        ('[{"id": "a", "name": "A"},\n{"id": "b", "name": 5}]', (2, "name")),
        ('[{"id": "a", "name": "A"},\n{"id": "a", "name": "A"}]', (2, "id")),
        ('[{"id": "a", "name": "A", "objectives": [{"service": "v"}]}]', (1, "objectives")),
        ('[{"id": "a", "name": "A", "objectives": 5}]', (1, "objectives")),
        ('[{"id": ["a"], "name": "A"}]', (1, "id")),
        ("[" * 100_000, (1, "")),
    ],
)
def test_bad_json_is_refused_with_its_place(text: str, place: tuple[int, str]) -> None:
    assert problems(read_customers, text, "json") == [place]


def test_a_bad_file_stores_nothing(registry: SqliteRegistry) -> None:
    with pytest.raises(BadImport):
        registry.upsert_devices(read_devices(DEVICES_CSV + "box 3,a,b,c,d,1,\n", "csv", NOW), NOW)
    assert registry.device_ids() == []


def test_more_problems_than_are_shown_are_counted() -> None:
    text = "device,device_isp,device_region,nat_type,cohort,capacity_mbps\n" + "x,a,b,c,d,?\n" * 50
    with pytest.raises(BadImport, match="and 30 more"):
        read_devices(text, "csv", NOW)


def test_customers_with_objectives_from_both_formats(registry: SqliteRegistry) -> None:
    csv_text = (
        "id,name,timezone,objectives\n"
        "acme,Acme Video,Asia/Shanghai,measure=failures service=video target=0.995\n"
        'dl,Downloads,,"measure=failures,service=download,target=0.99;'
        'measure=low_throughput,service=download,target=0.9,threshold=500"\n'
    )
    json_text = json.dumps([
        {"id": "acme", "name": "Acme Video", "timezone": "Asia/Shanghai",
         "objectives": [{"measure": "failures", "service": "video", "target": 0.995}]},
        {"id": "dl", "name": "Downloads", "objectives": [
            {"measure": "failures", "service": "download", "target": 0.99},
            {"measure": "low_throughput", "service": "download", "target": 0.9, "threshold": 500}]},
    ])  # fmt: skip
    customers = read_customers(csv_text, "csv")
    assert customers == read_customers(json_text, "json")
    assert customers[1] == Customer(
        "dl",
        "Downloads",
        "UTC",
        (Objective("dl", "download", "failures", 0.99), Objective("dl", "download", "low_throughput", 0.9, 500.0)),
    )
    assert registry.upsert_customers(customers) == ["added", "added"]
    assert registry.upsert_customers(customers) == ["unchanged", "unchanged"]
    assert registry.upsert_customers([replace(customers[0], name="Acme")]) == ["changed"]


def test_rules_from_both_formats(registry: SqliteRegistry) -> None:
    csv_text = "id,version,name,owner,valid_from\nnear,3,Nearest box first,traffic team,2026-01-01T00:00:00Z\n"
    json_text = '[{"id": "near", "version": 3, "name": "Nearest box first", "owner": "traffic team"}]'
    assert read_rules(csv_text, "csv", 0) == read_rules(json_text, "json", NOW) == [RULE]
    assert registry.upsert_rules([RULE]) == ["added"]
    assert registry.upsert_rules([RULE]) == ["unchanged"]
    assert problems(read_rules, csv_text.replace(",3,", ",3.5,"), "csv", 0) == [(2, "version")]
    assert problems(read_rules, csv_text.replace(",3,", ",inf,"), "csv", 0) == [(2, "version")]


@pytest.mark.parametrize(
    "text",
    ["", "failures", "measure=failures", "measure=failures,service=v,target=much",
     "measure=failures,service=v,target=1",
     "measure=failures,service=v,target=0.9,target=0.8", "measure=slow_requests,service=v,target=0.9",
     "measure=nothing,service=v,target=0.9", "measure=failures,service=v,target=0.9,colour=red"],
)  # fmt: skip
def test_bad_objectives_are_refused(text: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse_objective("acme", text)
    assert caught.value.reason == "bad_objective"


def test_objectives_are_separated_by_semicolons() -> None:
    first, second = "measure=failures,service=v,target=0.9", "measure=failures,service=w,target=0.8"
    assert parse_objectives("a", f"{first}; {second};") == (parse_objective("a", first), parse_objective("a", second))


@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet='[]{},:"\\\n abc0.e-\x00', max_size=60), form=st.sampled_from(["csv", "json"]))
def test_any_text_is_read_or_refused_with_a_line(text: str, form: Format) -> None:
    refused: list[BadImport] = []
    for call in (lambda: read_devices(text, form, NOW), lambda: read_customers(text, form)):
        try:
            assert isinstance(call(), list)
        except BadImport as error:
            refused.append(error)
    assert all(error.problems[0].line >= 1 for error in refused)
