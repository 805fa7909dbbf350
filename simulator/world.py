"""The simulated world: boxes, customers and their objectives, scheduling rules, placement. All from a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from contracts.auth import KEY_BYTES
from contracts.entities import Customer, DeviceAttributes, Objective, SchedulingRule
from contracts.times import DAY_MS, shift_for_offset
from simulator.catalogue import (
    CARRIER_SHARES,
    CARRIERS,
    COHORT_SHARES,
    COHORTS,
    CUSTOMERS,
    EXTRA_SERVICES,
    MEDIAN_CAPACITY_MBPS,
    MODELS,
    NAT_SHARES,
    NAT_TYPES,
    PROFILES,
    REGIONS,
    RULE_OWNERS,
    SHARED_RULES,
)
from simulator.errors import SimulatorError
from simulator.placement import Placement, place

MAX_DEVICES = 100_000
MAX_CUSTOMERS = 1_000
REGISTERED_BEFORE_MS = 30 * DAY_MS  # registry rows and rules are valid from this long before the start

TOP_REQUESTS_PER_MINUTE_PER_BOX = 120.0  # the largest customer's mean over the day: 36,000 a minute on 300 boxes
SMALLEST_REQUESTS_PER_MINUTE = 6.0
ZIPF_EXPONENT = 1.2

# Share of boxes by the size of their clock's error: (share, least, most) in ms, either sign.
CLOCK_ERRORS = ((0.85, 0, 2_000), (0.10, 5_000, 60_000), (0.04, 60_000, 270_000), (0.01, 360_000, 2_400_000))
CLOCK_EDGE_MS = 2_000  # errors keep this far from half a grid step, where network delay would decide the rounding


@dataclass(frozen=True, slots=True)
class Device:
    """A box as built: its key, what the registry knows of it, and what only the simulation knows (its clock)."""

    id: str
    key: bytes
    attributes: DeviceAttributes
    model: str
    firmware: str
    clock_error_ms: int  # box's clock minus true time


@dataclass(frozen=True, slots=True)
class World:
    """Everything that stands before the first request. `rates`: requests per minute of each customer, mean of a day."""

    seed: int
    start_ms: int
    devices: tuple[Device, ...]
    customers: tuple[Customer, ...]
    services: tuple[tuple[tuple[str, float], ...], ...]  # per customer: service, share of its requests
    rates: tuple[float, ...]
    rules: tuple[SchedulingRule, ...]
    placement: Placement

    def registry_rows(self) -> dict[str, list[Any]]:
        """What an operator would load into the registry: `devices` as (id, key, DeviceAttributes), `customers`,
        `rules`."""
        return {
            "devices": [(d.id, d.key, d.attributes) for d in self.devices],
            "customers": list(self.customers),
            "rules": list(self.rules),
        }


def build_world(seed: int, n_devices: int, n_customers: int = 8, *, start_ms: int = 0) -> World:
    """A world of the given size. `start_ms`: start of the run, UTC, for valid_from. Raises SimulatorError."""
    if not 1 <= n_devices <= MAX_DEVICES:
        raise SimulatorError("devices", f"1 to {MAX_DEVICES}", n_devices)
    if not 1 <= n_customers <= MAX_CUSTOMERS:
        raise SimulatorError("customers", f"1 to {MAX_CUSTOMERS}", n_customers)
    if seed < 0:
        raise SimulatorError("seed", "an integer of at least 0", seed)
    rng = np.random.default_rng((seed, 1))
    valid_from = max(0, start_ms - REGISTERED_BEFORE_MS)
    devices = _devices(rng, n_devices, valid_from)
    catalogue = [_customer_entry(k) for k in range(n_customers)]
    customers = tuple(_customer(cid, name, services) for cid, name, services in catalogue)
    services = tuple(services for _, _, services in catalogue)
    rules = _rules(rng, catalogue, valid_from)
    rates = request_rates(n_customers, n_devices)
    placement = place(rng, devices, [c.id for c in customers], services, rates, rules)
    return World(seed, start_ms, devices, customers, services, rates, rules, placement)


def request_rates(n_customers: int, n_devices: int) -> tuple[float, ...]:
    """Requests per minute by rank: Zipf's law, bent down at the end so that the smallest has a handful."""
    top = max(TOP_REQUESTS_PER_MINUTE_PER_BOX * n_devices, SMALLEST_REQUESTS_PER_MINUTE)
    if n_customers == 1:
        return (top,)
    last = top * n_customers**-ZIPF_EXPONENT
    bend = max(0.0, math.log(last / SMALLEST_REQUESTS_PER_MINUTE))
    ranks = range(1, n_customers + 1)
    return tuple(top * k**-ZIPF_EXPONENT * math.exp(-bend * ((k - 1) / (n_customers - 1)) ** 4) for k in ranks)


def _devices(rng: Generator, n: int, valid_from: int) -> tuple[Device, ...]:
    region = rng.choice(len(REGIONS), n, p=_shares([r.share for r in REGIONS]))
    carrier = rng.choice(len(CARRIERS), n, p=CARRIER_SHARES)
    model = rng.choice(len(MODELS), n, p=_shares([m.share for m in MODELS]))
    nat = rng.choice(len(NAT_TYPES), n, p=NAT_SHARES)
    cohort = rng.choice(len(COHORTS), n, p=COHORT_SHARES)
    capacity = MEDIAN_CAPACITY_MBPS * np.exp(0.5 * rng.standard_normal(n))
    errors = _clock_errors(rng, n)
    devices = []
    for i in range(n):
        place_, kind = REGIONS[region[i]], MODELS[model[i]]
        devices.append(
            Device(
                id=f"box-{i + 1:05d}",
                key=rng.bytes(KEY_BYTES),
                attributes=DeviceAttributes(
                    valid_from=valid_from,
                    device_isp=place_.own_isp or CARRIERS[carrier[i]],
                    device_region=place_.name,
                    nat_type=NAT_TYPES[nat[i]],
                    cohort=COHORTS[cohort[i]],
                    capacity_mbps=round(float(capacity[i]), 1),
                ),
                model=kind.name,
                firmware=str(rng.choice(kind.firmwares, p=kind.firmware_shares)),
                clock_error_ms=int(errors[i]),
            )
        )
    return tuple(devices)


def _clock_errors(rng: Generator, n: int) -> list[int]:
    band = rng.choice(len(CLOCK_ERRORS), n, p=[share for share, _, _ in CLOCK_ERRORS])
    sign = rng.choice((-1, 1), n)
    errors = []
    for i in range(n):
        _, least, most = CLOCK_ERRORS[band[i]]
        size = int(rng.integers(least, most + 1))
        if shift_for_offset(size - CLOCK_EDGE_MS) != shift_for_offset(size + CLOCK_EDGE_MS):
            size -= size % 10_000 - CLOCK_EDGE_MS
        errors.append(size * int(sign[i]))
    return errors


def _customer_entry(k: int) -> tuple[str, str, tuple[tuple[str, float], ...]]:
    if k < len(CUSTOMERS):
        return CUSTOMERS[k]
    return f"customer-{k + 1:03d}", f"Customer {k + 1}", EXTRA_SERVICES[k % len(EXTRA_SERVICES)]


def _customer(cid: str, name: str, services: tuple[tuple[str, float], ...]) -> Customer:
    objectives = []
    for service, _ in services:
        profile = PROFILES[service]
        thresholds = {"slow_requests": profile.slow_threshold, "low_throughput": profile.low_threshold}
        objectives += [Objective(cid, service, m, target, thresholds.get(m)) for m, target in profile.targets]
    return Customer(cid, name, "Asia/Shanghai", tuple(objectives))


def _rules(
    rng: Generator, catalogue: list[tuple[str, str, tuple[tuple[str, float], ...]]], valid_from: int
) -> tuple[SchedulingRule, ...]:
    """The shared rules first, then one rule per customer and service."""
    named = [(rule, rule.replace("-", " ").capitalize()) for rule in SHARED_RULES]
    named += [(f"{cid}-{s}", f"{name}: {s}") for cid, name, services in catalogue for s, _ in services]
    return tuple(
        SchedulingRule(rule, int(rng.integers(1, 12)), title, str(rng.choice(RULE_OWNERS)), valid_from)
        for rule, title in named
    )


def _shares(values: list[float]) -> list[float]:
    total = sum(values)
    return [v / total for v in values]
