"""The closed loop's figures."""

from __future__ import annotations

import json

import pytest

from dipper import loop
from dipper.loop import Run, _Loop, in_words, judged
from simulator.fleet import Fleet
from simulator.settings import Settings
from simulator.world import build_world

MINUTE = 60_000
T0 = 1_767_600_000_000


def runs() -> tuple[Run, Run]:
    """Two of 300 boxes ill; one drained in time and once more by mistake, the other never; one healthy box drained."""
    ill = [(1, 10 * MINUTE, 50 * MINUTE), (2, 10 * MINUTE, 50 * MINUTE)]
    without = Run(bad=5_000, requests=10**6, ill=[(*i, bad) for i, bad in zip(ill, (1_000, 600), strict=True)])
    removals = [(12 * MINUTE, 1), (30 * MINUTE, 1), (40 * MINUTE, 9)]
    with_feed = Run(
        bad=4_200,
        requests=10**6,
        ill=[(*i, bad) for i, bad in zip(ill, (100, 600), strict=True)],
        removals=removals,
        drains=removals,
        removed_max=0.02,
    )
    return without, with_feed


def test_figures_follow_from_the_runs_by_hand() -> None:
    result = judged(*runs(), 300)
    assert result["bad_requests"]["avoidable"] == 1_600
    assert result["bad_requests"]["avoided_share"] == 0.5625  # 900 of 1600
    assert result["drains"]["precision"] == pytest.approx(2 / 3, abs=1e-4)
    assert result["drains"]["recall"] == 0.5
    # a second removal in one illness and one of a healthy box, in 300 boxes x 240 minutes = 50 box-days
    assert result["flaps_per_100_box_days"] == 4.0


def test_a_box_of_the_place_that_failed_is_rightly_drained_but_was_not_to_be_found() -> None:
    without, with_feed = runs()
    with_feed.place = (frozenset({9}), 35 * MINUTE, 45 * MINUTE)
    result = judged(without, with_feed, 300)
    assert (result["drains"]["precision"], result["drains"]["recall"]) == (1.0, 0.5)
    assert result["drains"]["of_the_failing_place"] == 1
    assert result["flaps_per_100_box_days"] == 2.0


def test_nothing_to_avoid_is_no_ratio() -> None:
    result = judged(Run(), Run(), 300)
    assert result["bad_requests"]["avoided_share"] is None
    assert result["drains"]["precision"] is None
    assert "no box that fell ill" in in_words(result)


def test_the_line_for_people_names_what_was_avoided() -> None:
    assert "avoided 56% of 1600 failures of ill boxes; 3 drains" in in_words(judged(*runs(), 300))


def test_a_scheduler_that_gives_no_box_anything_breaches_every_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    world = build_world(3, 40, 8, start_ms=T0)
    closed = _Loop(world, Fleet(world, (), 3))
    run = Run()
    closed.tell(run, T0)
    assert (run.breaches, run.cell_removed_max) == (0, 0.0)
    monkeypatch.setattr(closed._copy, "share", lambda *_: 0.0)
    closed.tell(run, T0)
    rows = world.placement
    large = [c for c in range(8) if len(set(rows.device[rows.customer == c].tolist())) >= 15]
    assert run.breaches >= 1 + len(large) > 1  # all boxes; each customer of enough of them
    assert run.cell_removed_max == 1.0


@pytest.mark.verify
def test_the_loop_reaches_its_goals(tmp_path) -> None:
    result = loop.write(Settings(seed=7, devices=300), tmp_path)
    assert result == json.loads((tmp_path / "loop.json").read_text())
    assert result["bad_requests"]["avoided_share"] >= 0.6
    assert result["budget_breaches"] == 0
    assert 0 < result["cell_removed_max"] <= 0.21
    assert result["flaps_per_100_box_days"] < 1
    assert result["drains"]["precision"] >= 0.95
    assert result["drains"]["recall"] >= 0.9
    assert any(row["exploration"] for row in json.loads((tmp_path / "assignments.json").read_text()))
