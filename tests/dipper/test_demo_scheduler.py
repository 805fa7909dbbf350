"""The live demo's scheduler follows the feed over HTTP."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from contracts.health import DRAIN
from dipper import demo_scheduler
from dipper.demo_scheduler import LiveScheduler
from simulator.fleet import Fleet
from simulator.schedule import illnesses, resolve
from simulator.world import build_world
from tests.feed.builders import NOW, TOKEN, Served, entry, until

START = 1_767_600_000_000
MINUTE = 60_000


def test_a_drained_box_loses_its_traffic_and_what_it_was_given_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = build_world(3, 30, 4, start_ms=START)
    fleet = Fleet(world, (), 3)
    ill = world.devices[5].id

    def requests_of_ill(minute: int) -> int:
        total = 0
        for k in range(6):
            interval = fleet.traffic(START + minute * MINUTE + (k + 1) * 10_000)
            total += int(interval.counts[0][fleet.rows.device[interval.rows] == 5].sum())
        return total

    with Served() as server:
        server.publish(entry(world.devices[0].id, 1))
        log = tmp_path / "assignments.jsonl"
        scheduler = LiveScheduler(fleet, server.url, TOKEN, lambda: NOW, log)
        scheduler.start()
        try:
            asyncio.run(scheduler.follow())
            before = requests_of_ill(0)
            server.publish(entry(ill, 2, state=DRAIN))
            until(lambda: scheduler.client.copy.known(ill) is not None)
            asyncio.run(scheduler.follow())
            assert requests_of_ill(1) < 0.1 * before
            assert not log.exists()
            asyncio.run(scheduler.follow())
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            assert {line["device"] for line in lines} == {ill}
            assert all(line["exploration"] and 0 < line["probability"] < line["usual_probability"] for line in lines)
            monkeypatch.setattr(demo_scheduler, "MOST_LOGGED_BYTES", 10)
            requests_of_ill(2)
            asyncio.run(scheduler.follow())
            assert log.with_suffix(".old").exists()
            assert len(log.read_text().splitlines()) == 6
        finally:
            asyncio.run(scheduler.stop())


def test_boxes_fall_ill_one_after_the_other_each_once() -> None:
    world = build_world(3, 30, 4, start_ms=START)
    found = illnesses(world, START, 600, 3.0, 12)
    assert len(found) == 29  # three an hour for 9.8 hours
    assert len({spec.scope["device"] for spec in found if spec.scope}) == 29
    assert all(spec.start >= START + 12 * MINUTE for spec in found)
    assert [spec.start for spec in found] == sorted(spec.start for spec in found)
    assert len(resolve(world, found)) == 29
    assert illnesses(world, START, 600, 0.0, 12) == []
