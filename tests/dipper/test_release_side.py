"""Matching of a roll-out's boxes, and its verdict from history."""

from __future__ import annotations

from typing import Any

import pytest

from dipper.release_side import sides

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
    alike = [{"device": "a", "updated_at": 0}, {"device": "b"}]
    # of two boxes one is in a lower quarter of load than the other: more boxes make the quarters
    crowd = [{"device": f"x{i}", "requests": 1} for i in range(6)]
    changed, unchanged = judged([*crowd, *alike])
    assert ((changed.total > 0) & (unchanged.total > 0)).sum() == 4  # 20 minutes in fives


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
