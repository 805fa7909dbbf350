"""The simulated scheduler keeps traffic together and writes down what it did."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.errors import SimulatorError
from simulator.fleet import Fleet
from simulator.scheduler import Scheduler
from simulator.world import World, build_world

SEED = 3
MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(SEED, 60, 4, start_ms=1_767_600_000_000)


def scheduler_of(world: World) -> Scheduler:
    return Scheduler(world.placement, [d.id for d in world.devices])


def of_device(world: World, weight: np.ndarray, i: int) -> float:
    return float(weight[world.placement.device == i].sum())


def test_without_a_word_from_the_feed_nothing_moves(world: World) -> None:
    scheduler = scheduler_of(world)
    usual = world.placement.weight
    assert scheduler.steer(usual) is usual
    scheduler.note(0, usual, usual)
    assert scheduler.log == []


def test_a_drained_box_keeps_its_probes_and_others_take_the_rest(world: World) -> None:
    scheduler = scheduler_of(world)
    scheduler.share[5] = 0.015
    usual = world.placement.weight
    steered = scheduler.steer(usual)
    assert of_device(world, steered, 5) == pytest.approx(0.015 * of_device(world, usual, 5), rel=0.2)
    assert steered.sum() == pytest.approx(usual.sum())
    assert all(of_device(world, steered, i) >= of_device(world, usual, i) for i in range(60) if i != 5)


def test_each_customers_service_keeps_its_traffic(world: World) -> None:
    scheduler = scheduler_of(world)
    scheduler.share[:20] = 0.3
    rows, usual = world.placement, world.placement.weight
    steered = scheduler.steer(usual)
    key = rows.customer * 10 + rows.service
    assert np.bincount(key, steered) == pytest.approx(np.bincount(key, usual))


def test_what_nobody_else_can_take_stays(world: World) -> None:
    scheduler = scheduler_of(world)
    scheduler.share[:] = 0.1
    assert scheduler.steer(world.placement.weight) == pytest.approx(world.placement.weight)


def test_probabilities_of_steered_boxes_are_written_down(world: World) -> None:
    scheduler = scheduler_of(world)
    scheduler.share[5], scheduler.share[6] = 0.015, 0.3
    usual = world.placement.weight
    scheduler.note(7, usual, scheduler.steer(usual))
    probe, reduced = scheduler.log
    assert (probe.at, probe.device, probe.share, probe.exploration) == (7, world.devices[5].id, 0.015, True)
    assert (reduced.device, reduced.exploration) == (world.devices[6].id, False)
    assert 0 < probe.probability < probe.usual_probability < 1


@pytest.mark.parametrize("share", [np.full(60, 1.5), np.full(59, 1.0), np.full(60, np.nan)])
def test_shares_that_are_none_are_refused(world: World, share: np.ndarray) -> None:
    scheduler = scheduler_of(world)
    scheduler.share = share
    with pytest.raises(SimulatorError, match="share"):
        scheduler.steer(world.placement.weight)


def test_a_steered_fleet_serves_as_much_elsewhere(world: World) -> None:
    served = []
    for share in (1.0, 0.015):
        fleet = Fleet(world, seed=SEED)
        fleet.scheduler = Scheduler(fleet.rows, [d.id for d in world.devices])
        fleet.scheduler.share[5] = share
        counts = np.zeros(60)
        for k in range(1, 31):
            interval = fleet.traffic(world.start_ms + k * 10_000)
            counts += np.bincount(fleet.rows.device[interval.rows], interval.counts[0], 60)
        served.append(counts)
    assert served[1][5] < 0.1 * served[0][5]
    assert served[1].sum() == pytest.approx(served[0].sum(), rel=0.03)
