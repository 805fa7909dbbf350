"""Versions of service levels: what held for a month stays what held for it."""

from dataclasses import replace

import pytest

from contracts.errors import ContractError
from contracts.sla import CreditTier, Month, ServiceLevel
from contracts.times import from_rfc3339
from history.objectives import in_force, record, retire, versions

# Still September in Europe, October already in Shanghai.
NOW = from_rfc3339("2026-10-01T00:30:00+08:00")
OCT, NOV, DEC = Month(2026, 10), Month(2026, 11), Month(2026, 12)
VOD = ServiceLevel("acme", "vod-failures", "vod", "failures", 0.99, 0.999, "Asia/Shanghai", OCT)


def refusal(change, *arguments):
    with pytest.raises(ContractError) as refused:
        change(*arguments)
    return str(refused.value)


def held(store, month):
    return {v.level.name: (v.number, v.level.target) for v in in_force(versions(store), month)}


def test_a_change_holds_from_its_month_on_and_leaves_the_past(store):
    record(store, [VOD], "ana", NOW)
    record(store, [replace(VOD, target=0.99, valid_from=NOV)], "ben", NOW + 1)
    assert held(store, Month(2026, 9)) == {}
    assert held(store, OCT) == {"vod-failures": (1, 0.999)}
    assert held(store, NOV) == held(store, DEC) == {"vod-failures": (2, 0.99)}
    assert [(v.author, v.recorded_at) for v in versions(store)] == [("ana", NOW), ("ben", NOW + 1)]


def test_a_month_that_has_begun_cannot_be_changed(store):
    record(store, [VOD], "ana", NOW)
    message = refusal(record, store, [replace(VOD, target=0.9)], "ben", NOW + 1)
    expected = "a month that has not begun, 2026-11 or later: a change never rewrites the past, got '2026-10'"
    assert message == f"acme vod-failures: valid_from: expected {expected}"
    assert held(store, OCT) == {"vod-failures": (1, 0.999)}


def test_a_month_to_come_may_be_corrected_and_all_versions_stay(store):
    record(store, [VOD], "ana", NOW)
    record(store, [replace(VOD, target=0.9, valid_from=DEC)], "ana", NOW + 1)
    record(store, [replace(VOD, target=0.95, valid_from=DEC)], "ana", NOW + 2)
    assert held(store, DEC) == {"vod-failures": (3, 0.95)}
    assert [v.level.target for v in versions(store)] == [0.999, 0.9, 0.95]


def test_saying_the_same_again_adds_nothing(store):
    assert [v.number for v in record(store, [VOD], "ana", NOW)] == [1]
    assert record(store, [VOD], "ana", NOW + 1) == []
    assert len(versions(store)) == 1


def test_two_objectives_for_one_measure_are_refused_all_or_none(store):
    record(store, [replace(VOD, valid_from=DEC)], "ana", NOW)
    other = replace(VOD, name="vod-errors", valid_from=NOV)
    fine = replace(VOD, name="live", service="live")
    message = refusal(record, store, [fine, other], "ben", NOW)
    expected = "one objective for acme vod failures; vod-failures holds it in 2026-12, got 'vod-errors'"
    assert message == f"acme vod-errors: expected {expected}"
    assert [v.level.name for v in versions(store)] == ["vod-failures"]
    both = refusal(record, store, [fine, replace(fine, name="live-2")], "ben", NOW)
    assert "live holds it in 2026-10" in both


def test_the_months_of_an_objective_do_not_move(store):
    record(store, [VOD], "ana", NOW)
    message = refusal(record, store, [replace(VOD, timezone="Europe/Berlin", valid_from=NOV)], "ana", NOW)
    assert message.startswith("acme vod-failures: timezone: expected Asia/Shanghai as before")


def test_a_retired_objective_makes_room_from_its_last_month_on(store):
    record(store, [VOD], "ana", NOW)
    assert retire(store, "acme", "vod-failures", NOV, "ana", NOW + 1).retired
    assert held(store, OCT) == {"vod-failures": (1, 0.999)}
    assert held(store, NOV) == {}
    record(store, [replace(VOD, name="vod-errors", valid_from=NOV)], "ana", NOW + 2)
    assert list(held(store, DEC)) == ["vod-errors"]
    assert "expected an objective of acme: vod-errors" in refusal(
        retire, store, "acme", "vod-failures", DEC, "ana", NOW
    )
    assert "an objective of nobody: (none)" in refusal(retire, store, "nobody", "x", DEC, "ana", NOW)
    record(store, [replace(VOD, name="live", service="live")], "ana", NOW)
    assert "2026-11 or later" in refusal(retire, store, "acme", "live", OCT, "ana", NOW)


def test_what_was_planned_for_later_ends_with_a_retired_objective(store):
    record(store, [VOD], "ana", NOW)
    record(store, [replace(VOD, target=0.99, valid_from=Month(2027, 3))], "ben", NOW + 1)
    ended = retire(store, "acme", "vod-failures", Month(2027, 1), "ana", NOW + 2)
    assert (ended.level.valid_from, ended.level.target, ended.retired) == (Month(2027, 1), 0.999, True)
    assert ended in versions(store)
    assert held(store, DEC) == {"vod-failures": (1, 0.999)}
    for month in (Month(2027, 1), Month(2027, 3), Month(2028, 1)):
        assert held(store, month) == {}
    record(store, [replace(VOD, valid_from=Month(2027, 6))], "ana", NOW + 3)  # promised anew
    assert held(store, Month(2027, 5)) == {}
    assert list(held(store, Month(2027, 6))) == ["vod-failures"]


def test_an_objective_may_end_before_it_begins_or_earlier_than_was_said(store):
    record(store, [replace(VOD, valid_from=Month(2027, 3))], "ana", NOW)
    retire(store, "acme", "vod-failures", Month(2027, 6), "ana", NOW + 1)
    retire(store, "acme", "vod-failures", Month(2027, 1), "ana", NOW + 2)
    assert held(store, Month(2027, 3)) == held(store, Month(2027, 6)) == {}


def test_customers_are_kept_apart(store):
    record(store, [VOD, replace(VOD, customer="beta", credits=(CreditTier(0.99, 0.1),))], "ana", NOW)
    assert [v.level.customer for v in versions(store, "beta")] == ["beta"]
    assert versions(store, "beta")[0].level.credits == (CreditTier(0.99, 0.1),)
    assert versions(store, "gamma") == []
