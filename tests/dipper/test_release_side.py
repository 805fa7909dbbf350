"""Matching of a roll-out's boxes, and its verdict from history."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dipper.release_side import release, sides
from feed.errors import Refusal
from history.chdb_store import ChdbStore

MINUTE = 60_000
START = 600 * MINUTE


def rows_of(boxes: list[dict[str, Any]], minutes: range) -> dict[str, list[Any]]:
    """Boxes: device, isp, region, requests, failures (a minute after the start), updated_at (minute or None), until."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("minute", "device", "device_isp", "device_region", "firmware", "requests", "failures")
    }
    for at in minutes:
        for box in boxes:
            if at >= box.get("until", 10**9):
                continue
            updated = box.get("updated_at")
            row = {
                "minute": START + at * MINUTE,
                "device": box["device"],
                "device_isp": box.get("isp", "i"),
                "device_region": box.get("region", "r"),
                "firmware": "2.0" if updated is not None and at >= updated else "1.0",
                "requests": box.get("requests", 100),
                "failures": box.get("failures", 0) if at >= 0 else 0,
            }
            for name, value in row.items():
                columns[name].append(value)
    return columns


def judged(boxes: list[dict[str, Any]], minutes: range = range(-10, 20)) -> Any:
    return sides(rows_of(boxes, minutes), "2.0", START, START + (minutes.stop - 1) * MINUTE)


def test_a_box_counts_as_changed_from_its_first_minute_on_the_new_firmware() -> None:
    changed, unchanged = judged([{"device": "a", "updated_at": 5, "failures": 2}, {"device": "b", "failures": 1}])
    assert (changed.total.sum(), changed.bad.sum()) == (1_500, 30)
    # what box a did before it was reached is nobody's
    assert (unchanged.total.sum(), unchanged.bad.sum()) == (2_000, 20)


def test_only_boxes_of_the_same_place_load_and_time_are_compared() -> None:
    boxes = [
        {"device": "a", "updated_at": 0, "region": "north"},
        {"device": "b", "region": "south"},
        {"device": "c", "region": "north", "requests": 10_000},
    ]
    changed, unchanged = judged(boxes)
    assert not ((changed.total > 0) & (unchanged.total > 0)).any()
    alike = [{"device": "a", "updated_at": 0}, {"device": "b"}, {"device": "c", "requests": 10_000}]
    changed, unchanged = judged(alike)
    assert ((changed.total > 0) & (unchanged.total > 0)).sum() == 4  # 20 minutes in fives
    assert unchanged.total[changed.total > 0].sum() == 2_000  # of box b alone


def test_boxes_that_are_not_heard_any_more_have_vanished_and_idle_ones_do_not_count() -> None:
    boxes = [
        {"device": "a", "updated_at": 0, "until": 10},
        {"device": "b", "updated_at": 0},
        {"device": "c", "updated_at": 0, "requests": 0},
        {"device": "d", "until": 17},
        {"device": "e", "until": 5},
    ]
    changed, unchanged = judged(boxes)
    assert (changed.boxes, changed.vanished) == (2, 1)
    assert (unchanged.boxes, unchanged.vanished) == (2, 1)  # d was heard three minutes ago


def test_no_rows_are_no_boxes() -> None:
    changed, unchanged = sides(rows_of([], range(1)), "2.0", START, 0)
    assert (changed.boxes, unchanged.boxes, len(changed.total)) == (0, 0, 0)


@pytest.mark.parametrize("updated", [0, 7])
def test_sides_add_up_to_what_was_served_after_the_start(updated: int) -> None:
    boxes = [{"device": f"d{i}", "updated_at": updated if i % 2 else None, "failures": i % 3} for i in range(9)]
    changed, unchanged = judged(boxes)
    before_update = sum(100 * updated for i in range(9) if i % 2)
    assert changed.total.sum() + unchanged.total.sum() == 9 * 20 * 100 - before_update


# --- from history ---

NOW = START + 40 * MINUTE


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChdbStore]:
    opened = ChdbStore(tmp_path / "history", min_free_bytes=0)
    yield opened
    opened.close()


def put_change(store: ChdbStore, change_id: str, kind: str, scope: dict[str, str]) -> None:
    row = {
        "id": change_id, "kind": kind, "scope": json.dumps(scope), "start": START, "end": None, "author": "a",
        "reference": "", "note": "", "extra": "{}", "received_at": START,
    }  # fmt: skip
    types = {"start": pa.int64(), "end": pa.int64(), "received_at": pa.int64()}
    columns = {name: pa.array([value], types.get(name, pa.utf8())) for name, value in row.items()}
    store.insert("changes", pa.table(columns))


def put_minutes(store: ChdbStore, rows: dict[str, list[Any]]) -> None:
    n = len(rows["minute"])
    columns = dict(rows) | {
        "nat_type": ["n"] * n, "cohort": ["c"] * n, "model": ["m1"] * n, "covered_ms": [60_000] * n,
        "reports": [6] * n, "bytes": [0] * n, "version": pa.array([1] * n, pa.uint64()),
    }  # fmt: skip
    store.insert("box_minutes", pa.table(columns))


def test_a_roll_out_that_harms_is_rolled_back_from_what_history_holds(store: ChdbStore) -> None:
    put_change(store, "change-1", "firmware", {"model": "m1", "firmware": "2.0"})
    boxes = [{"device": f"new-{i}", "updated_at": 0, "failures": 8} for i in range(8)]
    boxes += [{"device": f"old-{i}", "failures": 1} for i in range(24)]
    put_minutes(store, rows_of(boxes, range(-30, 30)))
    document = json.loads(release(store, "change-1", NOW))
    assert document["verdict"] == "roll back"
    assert document["scope"] == {"model": "m1", "firmware": "2.0"}
    assert document["arithmetic"]["changed_boxes"] == 8
    assert document["arithmetic"]["ratio"] > 5


def test_a_roll_out_nobody_has_got_yet_has_insufficient_data(store: ChdbStore) -> None:
    put_change(store, "change-1", "firmware", {"model": "m1", "firmware": "2.0"})
    assert json.loads(release(store, "change-1", NOW))["verdict"] == "insufficient data"


def test_what_is_no_roll_out_of_a_firmware_is_told_so(store: ChdbStore) -> None:
    put_change(store, "change-2", "scheduling_rule", {"sched_rule": "near@2"})
    for change_id, said in (("change-2", "is no roll-out of a firmware"), ("change-9", "no change is named change-9")):
        with pytest.raises(Refusal, match=said):
            release(store, change_id, NOW)
