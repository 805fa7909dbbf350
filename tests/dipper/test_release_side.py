"""What a roll-out is compared with, and its verdict, from history."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from contracts.columns import COUNT_NAMES
from contracts.errors import ContractError
from contracts.releases import MATCHED_ON, Release, release_to_json
from dipper.release_side import judge, recent
from history.chdb_store import ChdbStore

MINUTE = 60_000
START = 600 * MINUTE
NOW = START + 40 * MINUTE
Box = dict[str, Any]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbStore]:
    opened = ChdbStore(tmp_path_factory.mktemp("releases") / "history", min_free_bytes=0)
    yield opened
    opened.close()


@pytest.fixture
def store(engine: ChdbStore) -> ChdbStore:
    for table in ("changes", "box_minutes", "slices"):
        engine.execute(f"TRUNCATE TABLE {table}")
    return engine


def put_change(store: ChdbStore, change_id: str, kind: str, scope: dict[str, str], start: int = START) -> None:
    row = {
        "id": change_id, "kind": kind, "scope": json.dumps(scope), "start": start, "end": None, "author": "a",
        "reference": "", "note": "", "extra": "{}", "received_at": start,
    }  # fmt: skip
    types = {"start": pa.int64(), "end": pa.int64(), "received_at": pa.int64()}
    store.insert("changes", pa.table({name: pa.array([v], types.get(name, pa.utf8())) for name, v in row.items()}))


def put(store: ChdbStore, table: str, rows: list[dict[str, Any]]) -> None:
    store.insert(table, pa.table({name: [row[name] for row in rows] for name in rows[0]}))


def put_boxes(store: ChdbStore, boxes: list[Box], minutes: range = range(-10, 20)) -> None:
    """Boxes: device, model, isp, region, cohort, requests and failures (a minute after the start), updated_at (minute),
    until."""
    rows = [
        {
            "minute": START + at * MINUTE,
            "device": box["device"],
            "device_isp": box.get("isp", "i"),
            "device_region": box.get("region", "r"),
            "nat_type": "n",
            "cohort": box.get("cohort", "main"),
            "model": box.get("model", "m1"),
            "firmware": "2.0" if at >= box.get("updated_at", 10**9) else "1.0",
            "covered_ms": 60_000,
            "reports": 6,
            "requests": box.get("requests", 100),
            "failures": box.get("failures", 0) if at >= 0 else 0,
            "bytes": 0,
        }
        for at in minutes
        for box in boxes
        if at < box.get("until", 10**9)
    ]
    versions = pa.array([1] * len(rows), pa.uint64())
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    store.insert("box_minutes", pa.table(columns | {"version": versions}))


def put_slices(store: ChdbStore, box: Box, of: Callable[[int], list[dict[str, Any]]], minutes: range) -> None:
    """Slices of a box: `of(minute)` says which, as dimensions, requests and failures."""
    rows = []
    for at in minutes:
        for row, given in enumerate(of(at)):
            sums = dict.fromkeys(COUNT_NAMES, 0) | {"requests": given["requests"], "f_reset": given["failures"]}
            rows.append(
                {
                    "device": box["device"], "boot": "b", "seq": at + 1_000, "row": row,
                    "start": START + at * MINUTE, "end": START + at * MINUTE + 10_000, "received_at": START,
                    "customer": "c", "service": "vod", "app": given.get("app", "cache"), "client_isp": "ci",
                    "client_region": given.get("client_region", "cr"), "sched_rule": given.get("rule", "near@1"),
                    "device_isp": "i", "device_region": box.get("region", "r"), "nat_type": "n", "cohort": "main",
                    "model": box.get("model", "m1"), "firmware": "1.0", **sums,
                }
            )  # fmt: skip
    cells, counts = ("latency_cell", "throughput_cell"), ("latency_count", "throughput_count")
    empty = dict.fromkeys(cells, pa.uint8()) | dict.fromkeys(counts, pa.uint32())
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    lists = {name: pa.array([[]] * len(rows), pa.list_(kind)) for name, kind in empty.items()}
    store.insert("slices", pa.table(columns | lists))


def firmware(store: ChdbStore, boxes: list[Box], minutes: range = range(-10, 20), **scope: str) -> Release:
    put_change(store, "change-1", "firmware", {"model": "m1", "firmware": "2.0", **scope})
    put_boxes(store, boxes, minutes)
    return judge(store, "change-1", START + minutes.stop * MINUTE)


def test_a_box_counts_as_changed_from_its_first_minute_on_the_new_firmware(store: ChdbStore) -> None:
    told = firmware(store, [{"device": "a", "updated_at": 5, "failures": 2}, {"device": "b", "failures": 1}]).comparison
    assert (told.changed_total, told.changed_bad) == (1_500, 30)
    # what box a did before it was reached is nobody's, and five minutes have nothing to be compared with
    assert (told.unchanged_total, told.unchanged_bad) == (1_500, 15)


def test_only_boxes_of_the_same_place_load_and_time_are_compared(store: ChdbStore) -> None:
    boxes = [
        {"device": "a", "updated_at": 0, "region": "north"},
        {"device": "b", "region": "south"},
        {"device": "c", "region": "north", "requests": 10_000},
        {"device": "d", "region": "south", "requests": 10_000},
    ]
    told = firmware(store, boxes).comparison
    assert (told.changed_total, told.unmatched_requests) == (0, 2_000)


def test_a_box_of_the_same_load_is_compared_and_one_of_another_is_not(store: ChdbStore) -> None:
    boxes = [{"device": "a", "updated_at": 0}, {"device": "b"}, {"device": "c", "requests": 10_000}]
    told = firmware(store, boxes).comparison
    assert (told.changed_total, told.unchanged_total) == (2_000, 2_000)  # of box b alone


def test_boxes_that_are_not_heard_any_more_have_vanished_and_idle_ones_do_not_count(store: ChdbStore) -> None:
    boxes = [
        {"device": "a", "updated_at": 0, "until": 10},
        {"device": "b", "updated_at": 0},
        {"device": "c", "updated_at": 0, "requests": 0},
        {"device": "d", "until": 17},
        {"device": "e", "until": 5},
    ]
    told = firmware(store, boxes).comparison
    assert (told.changed_boxes, told.changed_vanished) == (2, 1)
    assert (told.unchanged_boxes, told.unchanged_vanished) == (2, 1)  # d was heard three minutes ago


def test_a_box_that_went_back_to_its_old_firmware_has_not_vanished(store: ChdbStore) -> None:
    put_boxes(store, [{"device": "a", "updated_at": 0, "until": 5}], range(-10, 5))
    put_boxes(store, [{"device": "a"}], range(5, 20))
    told = firmware(store, [{"device": "b"}]).comparison
    assert (told.changed_boxes, told.changed_vanished) == (1, 0)
    assert told.changed_total == 500


def test_a_box_that_was_to_be_reached_and_fell_silent_at_once_counts_as_changed_and_vanished(store: ChdbStore) -> None:
    boxes = [
        {"device": "a", "updated_at": 1, "cohort": "canary"},
        {"device": "b", "until": 1, "cohort": "canary"},
        {"device": "c", "until": -5, "cohort": "canary"},  # before the roll-out
        {"device": "d"},
    ]
    told = firmware(store, boxes, cohort="canary").comparison
    assert (told.changed_boxes, told.changed_vanished) == (2, 1)
    assert (told.unchanged_boxes, told.unchanged_vanished) == (1, 0)


def test_a_box_that_told_of_the_new_firmware_and_died_before_its_next_request_vanished(store: ChdbStore) -> None:
    boxes: list[Box] = [{"device": f"new-{i}"} for i in range(20)]
    put_boxes(store, boxes, range(-10, 1))
    put_boxes(store, [{**box, "updated_at": 1, "requests": 0, "until": 2} for box in boxes], range(1, 2))
    found = firmware(store, [{"device": f"old-{i}"} for i in range(20)])
    assert (found.comparison.changed_boxes, found.comparison.changed_vanished) == (20, 20)
    assert found.verdict == "roll back"


def test_boxes_that_fell_idle_count_whether_they_vanish_or_not(store: ChdbStore) -> None:
    """Else one idle box of many that vanishes by chance would be all that is known of them."""
    both: list[Box] = [{"device": "new", "updated_at": 1}, {"device": "old"}]
    lost: list[Box] = [{**box, "device": f"{box['device']}-lost", "until": 5} for box in both]
    put_boxes(store, both + lost, range(-10, 0))
    put_boxes(store, [{**box, "requests": 0} for box in both + lost], range(20))
    told = firmware(store, [{"device": "busy"}, {"device": "off", "until": -3}]).comparison
    assert (told.changed_boxes, told.changed_vanished) == (2, 1)
    assert (told.unchanged_boxes, told.unchanged_vanished) == (3, 1)  # `off` was so before


def test_a_place_that_goes_dark_is_not_the_roll_outs_fault(store: ChdbStore) -> None:
    boxes: list[Box] = [{"device": f"new-{i}", "updated_at": 0, "region": "dark", "until": 10} for i in range(8)]
    boxes += [{"device": f"old-{i}", "region": "dark", "until": 10} for i in range(8)]
    boxes += [{"device": f"far-{i}", "region": "lit"} for i in range(300)]
    found = firmware(store, boxes)
    assert found.verdict == "hold"
    told = found.comparison
    assert (told.changed_boxes, told.changed_vanished) == (8, 8)
    assert (told.unchanged_boxes, told.unchanged_vanished) == (8, 8)


def test_boxes_that_die_of_a_roll_out_beside_others_of_their_place_roll_it_back(store: ChdbStore) -> None:
    boxes: list[Box] = [{"device": f"new-{i}", "updated_at": 0, "until": 10} for i in range(8)]
    boxes += [{"device": f"old-{i}"} for i in range(8)]
    found = firmware(store, boxes)
    assert found.verdict == "roll back"
    assert (found.comparison.changed_vanished, found.comparison.unchanged_vanished) == (8, 0)


def test_a_roll_out_that_harms_is_rolled_back_from_what_history_holds(store: ChdbStore) -> None:
    boxes = [{"device": f"new-{i}", "updated_at": 0, "failures": 8} for i in range(8)]
    boxes += [{"device": f"old-{i}", "failures": 1} for i in range(24)]
    found = firmware(store, boxes, range(-30, 30))
    assert found.verdict == "roll back"
    assert found.comparison.changed_boxes == 8
    assert found.comparison.ratio == pytest.approx(8, rel=0.01)
    assert [step.at for step in found.steps] == [START + k * 5 * MINUTE for k in range(6)]
    assert [step.changed_bad for step in found.steps] == [320] * 6
    assert found.steps[0].harm_e < found.steps[5].harm_e
    (group,) = found.groups
    assert group.where == {"model": "m1", "device_isp": "i", "device_region": "r"}
    assert (group.changed_bad, group.unchanged_bad) == (8 * 8 * 30, 24 * 30)


def test_what_is_sent_can_be_read_by_anybody(store: ChdbStore) -> None:
    boxes = [{"device": f"b{i}", "updated_at": 0} if i < 5 else {"device": f"b{i}"} for i in range(10)]
    document = json.loads(json.dumps(release_to_json(firmware(store, boxes))))
    assert document["verdict"] == "hold"
    assert document["scope"] == {"model": "m1", "firmware": "2.0"}
    assert document["start"] == "1970-01-01T10:00:00.000Z"
    assert document["arithmetic"]["ratio"] is None
    assert document["matched_on"] == list(MATCHED_ON["firmware"])


def test_a_roll_out_nobody_has_got_yet_has_insufficient_data(store: ChdbStore) -> None:
    put_change(store, "change-1", "firmware", {"model": "m1", "firmware": "2.0"})
    assert judge(store, "change-1", NOW).verdict == "insufficient data"
    put_boxes(store, [{"device": "a"}, {"device": "b"}])
    assert judge(store, "change-1", NOW).verdict == "insufficient data"


def test_what_is_no_roll_out_is_told_so(store: ChdbStore) -> None:
    put_change(store, "change-2", "maintenance", {"device_region": "r"})
    put_change(store, "change-3", "firmware", {"model": "m1"})  # a roll-back names nothing new
    for change_id, reason in (("change-2", "no_release"), ("change-3", "no_release"), ("change-9", "unknown_release")):
        with pytest.raises(ContractError) as caught:
            judge(store, change_id, NOW)
        assert caught.value.reason == reason


def test_an_application_is_judged_by_all_that_its_boxes_serve(store: ChdbStore) -> None:
    put_change(store, "change-1", "application", {"app": "cache@2"})
    boxes: list[Box] = [{"device": f"b{i}"} for i in range(20)]
    put_boxes(store, boxes)
    for i, box in enumerate(boxes):
        new = i < 6

        def served(at: int, new: bool = new) -> list[dict[str, Any]]:
            on = new and at >= 0
            own = {"app": "cache@2" if on else "cache", "requests": 60, "failures": 0}
            # what else runs on the box suffers
            return [own, {"app": "relay", "requests": 40, "failures": 6 if on else 0}]

        put_slices(store, box, served, range(-5, 20))
    found = judge(store, "change-1", NOW)
    assert found.verdict == "roll back"
    assert (found.comparison.changed_total, found.comparison.changed_bad) == (6 * 20 * 100, 6 * 20 * 6)
    assert found.comparison.unchanged_total == 14 * 20 * 100
    assert (found.comparison.changed_boxes, found.comparison.unchanged_boxes) == (6, 14)


def test_boxes_of_other_models_say_nothing_about_those_that_vanish_under_an_application(store: ChdbStore) -> None:
    put_change(store, "change-1", "application", {"app": "cache@2"})
    boxes: list[Box] = [{"device": f"new-{i}", "until": 10} for i in range(6)]
    boxes += [{"device": f"old-{i}", "model": "m2"} for i in range(60)]
    put_boxes(store, boxes)
    for box in boxes[:6]:
        put_slices(store, box, lambda at: [{"app": "cache@2", "requests": 60, "failures": 0}], range(10))
    told = judge(store, "change-1", NOW).comparison
    assert (told.changed_boxes, told.unchanged_boxes) == (0, 0)
    assert (told.unmatched_boxes, told.unmatched_vanished) == (6, 6)


def test_a_rule_is_judged_by_what_it_placed_against_other_rules_for_the_same_clients(store: ChdbStore) -> None:
    put_change(store, "change-1", "scheduling_rule", {"sched_rule": "near@2"})
    boxes: list[Box] = [{"device": f"b{i}", "region": f"r{i % 3}"} for i in range(12)]
    put_boxes(store, boxes)
    for i, box in enumerate(boxes):
        new = i < 6

        def placed(at: int, new: bool = new) -> list[dict[str, Any]]:
            rule = "near@2" if new and at >= 0 else "near@1"
            here = {"rule": rule, "requests": 100, "failures": 9 if rule == "near@2" else 1}
            return [here, {"rule": "idle@1", "requests": 10, "failures": 0, "client_region": "elsewhere"}]

        put_slices(store, box, placed, range(-5, 20))
    found = judge(store, "change-1", NOW)
    assert found.verdict == "roll back"
    assert (found.comparison.changed_total, found.comparison.changed_bad) == (6 * 20 * 100, 6 * 20 * 9)
    # clients elsewhere have none of it
    assert (found.comparison.unchanged_total, found.comparison.unchanged_bad) == (6 * 20 * 100, 6 * 20)
    assert [group.where["client_region"] for group in found.groups] == ["cr"]


def test_roll_outs_of_the_last_month_are_listed_newest_first(store: ChdbStore) -> None:
    day = 24 * 60 * MINUTE
    now = START + 60 * day
    put_change(store, "old", "firmware", {"model": "m1", "firmware": "1.9"}, now - 31 * day)
    put_change(store, "one", "firmware", {"model": "m1", "firmware": "2.0"}, now - 3 * day)
    put_change(store, "back", "firmware", {"model": "m1"}, now - 2 * day)
    put_change(store, "two", "application", {"app": "cache@2"}, now - day)
    put_change(store, "care", "maintenance", {"device_region": "r"}, now - day)
    put_change(store, "three", "scheduling_rule", {"sched_rule": "near@2"}, now)
    assert [change.id for change in recent(store, now)] == ["three", "two", "one"]
