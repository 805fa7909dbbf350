"""The world: sizes, identities and behaviour as stated."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.auth import KEY_BYTES, check_id
from contracts.entities import Customer, DeviceAttributes, SchedulingRule
from contracts.times import AUTH_WINDOW_MS, shift_for_offset
from simulator.errors import SimulatorError
from simulator.rhythm import evening, traffic_factors
from simulator.world import build_world, request_rates
from tests.simulator.builders import CALM, START, Gateway, make_fleet, play


def test_same_seed_builds_the_same_world_and_another_seed_another():
    first, second, other = build_world(1, 50), build_world(1, 50), build_world(2, 50)
    assert first.registry_rows() == second.registry_rows()
    assert all(np.array_equal(getattr(first.placement, n), getattr(second.placement, n)) for n in ("device", "weight"))
    assert first.devices[0].key != other.devices[0].key


def test_registry_rows_are_what_the_registry_takes():
    rows = build_world(1, 60, start_ms=START).registry_rows()
    for device, key, attributes in rows["devices"]:
        assert check_id("device", device) == device
        assert len(key) == KEY_BYTES
        assert isinstance(attributes, DeviceAttributes)
        assert attributes.valid_from < START
    assert len({key for _, key, _ in rows["devices"]}) == 60
    assert all(isinstance(c, Customer) and check_id("customer", c.id) and c.objectives for c in rows["customers"])
    assert all(isinstance(r, SchedulingRule) and r.valid_from < START for r in rows["rules"])


def test_customers_are_of_very_different_sizes():
    rates = request_rates(8, 300)
    assert rates[0] >= 5_000
    assert rates[-1] == pytest.approx(6.0)
    assert list(rates) == sorted(rates, reverse=True)


def test_the_largest_customer_has_five_thousand_requests_a_minute_on_300_boxes():
    fleet = make_fleet(devices=300, habits=CALM)
    play(fleet, Gateway(fleet), 1)
    minutes = fleet.truth.minutes(fleet.boxes)
    by_customer = {}
    for (customer, _, _), counts in minutes.items():
        by_customer[customer] = by_customer.get(customer, 0) + counts["requests"]
    assert max(by_customer.values()) >= 5_000


def test_a_report_of_a_thousand_boxes_has_about_ten_slices():
    fleet = make_fleet(devices=1_000, habits=CALM)
    fleet.step(START + 10_000)
    slices = fleet.truth.ledger(())["slices"]["reported"] / 1_000
    assert 8 <= slices <= 12


def test_a_box_serves_a_stratum_once():
    p = build_world(4, 300).placement
    names = ("device", "customer", "service", "app", "client_isp", "client_region", "rule")
    keys = np.stack([getattr(p, n) for n in names], axis=1)
    assert len(np.unique(keys, axis=0)) == len(keys)
    assert (np.diff(p.device) >= 0).all()


def test_every_customer_gets_its_requests_placed():
    world = build_world(4, 100)
    placed = np.bincount(world.placement.customer, world.placement.weight)
    assert placed == pytest.approx(world.rates)


def test_some_clocks_are_wrong_within_and_beyond_the_window_but_none_near_half_a_step():
    errors = [d.clock_error_ms for d in build_world(4, 2_000).devices]
    assert any(10_000 < abs(e) < AUTH_WINDOW_MS for e in errors)
    assert any(abs(e) > AUTH_WINDOW_MS for e in errors)
    assert sum(abs(e) <= 2_000 for e in errors) > 1_600
    assert all(shift_for_offset(e - 1_000) == shift_for_offset(e + 1_000) for e in errors)


@pytest.mark.parametrize(("devices", "customers", "seed"), [(0, 8, 1), (10, 0, 1), (10, 8, -1), (10**6, 8, 1)])
def test_impossible_sizes_are_refused_by_name(devices, customers, seed):
    with pytest.raises(SimulatorError, match=r"devices|customers|seed"):
        build_world(seed, devices, customers)


def test_many_customers_on_few_boxes_still_place():
    world = build_world(1, 2, 40)
    assert set(world.placement.customer.tolist()) == set(range(40))


def test_video_peaks_in_the_evening_of_shanghai_and_on_the_weekend():
    nine_in_the_evening = START + 3 * 3_600_000
    four_in_the_morning = START - 14 * 3_600_000
    assert traffic_factors(nine_in_the_evening)[0, 0] == pytest.approx(2.2)
    assert traffic_factors(four_in_the_morning)[0, 0] == pytest.approx(0.2)
    saturday = nine_in_the_evening + 5 * 86_400_000
    assert traffic_factors(saturday)[0, 0] == pytest.approx(2.2 * 1.2)


def test_half_past_the_hour_lies_halfway_between_two_hours():
    assert traffic_factors(START + 1_800_000)[0, 0] == pytest.approx((1.4 + 1.8) / 2)


def test_evening_rises_holds_and_falls():
    at = {hour: evening(START + int((hour - 18) * 3_600_000)) for hour in (18, 19, 21, 23, 23.75)}
    assert at == {18: 0.0, 19: 0.5, 21: 1.0, 23: 0.5, 23.75: 0.0}
