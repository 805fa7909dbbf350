"""truth.json's form, and comparisons that notice what is wrong."""

from __future__ import annotations

import copy
import json

import pytest

from contracts.times import from_rfc3339, minute_of
from simulator.truth import compare_ledger, compare_minutes
from tests.simulator.builders import CALM, START, Gateway, make_fleet, play, settle, spec


@pytest.fixture(scope="module")
def finished():
    fleet = make_fleet([spec("origin_failure", 1, 60), spec("box_off", 1, 1)], devices=15, habits=CALM)
    gateway = Gateway(fleet)
    settle(fleet, gateway, play(fleet, gateway, 3))
    return fleet, gateway


def test_truth_json_has_the_agreed_form(finished, tmp_path):
    fleet, _ = finished
    fleet.truth.write(tmp_path / "truth.json", fleet.boxes)
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert {"seed", "minutes", "devices", "faults"} <= truth.keys()
    assert (truth["seed"], truth["minutes"], truth["devices"]) == (3, 3.0, 15)
    fields = {"id", "kind", "start", "end", "scope", "customers", "share_of_requests", "bad_added", "change_id"}
    assert all(fields <= fault.keys() for fault in truth["faults"])
    # A fault that outlasts the run ends with it.
    assert max(from_rfc3339(f["end"]) for f in truth["faults"]) == START + 180_000


def test_totals_per_customer_are_the_sums_of_the_minutes(finished):
    fleet, gateway = finished
    counts = fleet.truth.as_json()["counts"]
    for customer, total in counts.items():
        rows = [c for (name, _, _), c in gateway.minutes().items() if name == customer]
        assert total["requests"] == sum(c["requests"] for c in rows)
        assert total["failures"] == sum(v for c in rows for n, v in c.items() if n.startswith("f_"))


def test_a_fault_after_the_end_of_the_run_is_not_in_the_truth():
    fleet = make_fleet([spec("box_off", 1, 1), spec("uplink_off", 2, 5)], devices=5)
    play(fleet, Gateway(fleet), 1.5)
    assert [f["kind"] for f in fleet.truth.as_json()["faults"]] == ["box_off"]


@pytest.mark.parametrize("figure", ["reported", "stored", "rejected", "declared_dropped", "pending", "lost"])
def test_a_ledger_that_is_off_by_one_is_noticed(finished, figure):
    fleet, gateway = finished
    ledger = copy.deepcopy(gateway.ledger())
    assert compare_ledger(fleet.truth.ledger(fleet.boxes), ledger) == (True, [])
    ledger["slices"][figure] += 1
    matches, differences = compare_ledger(fleet.truth.ledger(fleet.boxes), ledger)
    assert not matches
    assert f"slices.{figure}" in differences[0]


def test_a_ledger_without_figures_or_with_other_boxes_is_noticed(finished):
    fleet, gateway = finished
    truth = fleet.truth.ledger(fleet.boxes)
    assert len(compare_ledger(truth, {})[1]) == 15
    assert compare_ledger(truth, {**gateway.ledger(), "devices": 14})[0] is False


def test_minutes_that_are_changed_missing_or_invented_are_noticed(finished):
    fleet, gateway = finished
    truth, history = fleet.truth.minutes(fleet.boxes), gateway.minutes()
    key = min(history)
    changed = {**history, key: {**history[key], "bytes": history[key]["bytes"] + 1}}
    missing = {k: v for k, v in history.items() if k != key}
    invented = {**history, ("nobody", "vod", minute_of(START)): {"requests": 1}}
    for wrong in (changed, missing, invented):
        matches, differences = compare_minutes(truth, wrong)
        assert not matches
        assert len(differences) == 1


def test_history_may_state_fewer_columns_and_minutes_of_zeros(finished):
    fleet, gateway = finished
    history = {k: {"requests": v["requests"], "f_server": v["f_server"]} for k, v in gateway.minutes().items()}
    history["aurora-video", "vod", minute_of(START) - 60_000] = {"requests": 0, "f_server": 0}
    assert compare_minutes(fleet.truth.minutes(fleet.boxes), history) == (True, [])


def test_many_differences_are_cut_short():
    truth = {(f"c{i}", "vod", 0): {"requests": 1} for i in range(80)}
    matches, differences = compare_minutes(truth, {})
    assert not matches
    assert len(differences) == 51
    assert differences[-1] == "and 30 more"


def test_what_boxes_still_hold_is_pending_not_lost():
    fleet = make_fleet([spec("path_cut", 1, 60, boxes=2)], devices=10, habits=CALM)
    gateway = Gateway(fleet)
    now = play(fleet, gateway, 2)
    before = fleet.truth.ledger(fleet.boxes)
    # What lies beyond the newest report that arrived, the gateway cannot know of.
    assert before["requests"]["pending"] == 0
    assert compare_ledger(before, gateway.ledger()) == (True, [])
    assert compare_minutes(fleet.truth.minutes(fleet.boxes), gateway.minutes()) == (True, [])
    settle(fleet, gateway, now)
    after = fleet.truth.ledger(fleet.boxes)
    assert after["requests"]["reported"] > before["requests"]["reported"]
    assert compare_ledger(after, gateway.ledger()) == (True, [])
