"""Who serves whom: the scheduler's work, as one row per (box, stratum), and how a healthy row behaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from contracts.entities import SchedulingRule
from contracts.histogram import THROUGHPUT_BASE_KB_PER_S, latency_base_ms, threshold_cell
from simulator.catalogue import CARRIER_SHARES, CARRIERS, ISPS, PROFILES, REGIONS, SERVICES, SHARED_RULES

if TYPE_CHECKING:
    from simulator.world import Device

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ROWS_PER_BOX = 13.0  # placed; about 10 of them have traffic in a given interval
ROW_SHARE_EXPONENT = 0.8  # boxes of a customer grow slower than its requests
LEAST_ROWS_OF_CUSTOMER = 3
SAME_REGION = 0.78
SAME_ISP = 0.85
OWN_RULE = 0.55  # share of a customer's rows placed by its own rule rather than a shared one
REGION_PENALTY_LOG2 = 0.45  # latency of a box in another region, and of another carrier, as powers of two
ISP_PENALTY_LOG2 = 0.35
ROW_SPREAD_LOG2 = 0.2
BOX_SPREAD_LOG2 = 0.15
APPS = tuple(sorted({app for p in PROFILES.values() for app in p.apps}))


@dataclass(frozen=True, slots=True)
class Placement:
    """Columns over rows, sorted by box. Codes index the catalogues; `rule` indexes World.rules.

    `weight`: requests per minute, mean of a day. `latency`, `throughput`: mean of log2(value / base);
    `slow_cell`, `low_cell`: first histogram cell above the objective's threshold.
    """

    device: Ints
    customer: Ints
    service: Ints
    app: Ints
    client_isp: Ints
    client_region: Ints
    rule: Ints
    weight: Floats
    failure: Floats
    latency: Floats
    throughput: Floats
    stall: Floats
    slow_cell: Ints
    low_cell: Ints

    def __len__(self) -> int:
        return int(self.device.size)

    def take(self, rows: Ints) -> Placement:
        """The rows at the given indices, in that order."""
        return Placement(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def place(
    rng: Generator,
    devices: Sequence[Device],
    customers: Sequence[str],
    services: Sequence[tuple[tuple[str, float], ...]],
    rates: Sequence[float],
    rules: Sequence[SchedulingRule],
) -> Placement:
    """Boxes for every customer: mostly near its clients, more of them for larger customers."""
    sizes = np.asarray(rates) ** ROW_SHARE_EXPONENT
    wanted = np.maximum(LEAST_ROWS_OF_CUSTOMER, ROWS_PER_BOX * len(devices) * sizes / sizes.sum()).astype(int)
    rule_index = {rule.id: i for i, rule in enumerate(rules)}
    box = _Boxes(devices)
    keys, weights = [], []
    for c, customer in enumerate(customers):
        key = _strata(rng, box, c, customer, services[c], int(wanted[c]), rule_index)
        weight = np.exp(0.7 * rng.standard_normal(len(key))) * box.capacity[key[:, 0]]
        keys.append(key)
        weights.append(weight * rates[c] / weight.sum())
    key, weight = np.concatenate(keys), np.concatenate(weights)
    order = np.argsort(key[:, 0], kind="stable")
    return _with_behaviour(rng, box, key[order], weight[order])


class _Boxes:
    """Codes of the boxes' own places."""

    def __init__(self, devices: Sequence[Device]) -> None:
        regions = {r.name: i for i, r in enumerate(REGIONS)}
        isps = {name: i for i, name in enumerate(ISPS)}
        self.region = np.array([regions[d.attributes.device_region] for d in devices])
        self.isp = np.array([isps[d.attributes.device_isp] for d in devices])
        self.capacity = np.array([d.attributes.capacity_mbps for d in devices])


def _strata(
    rng: Generator,
    box: _Boxes,
    c: int,
    customer: str,
    services: tuple[tuple[str, float], ...],
    n: int,
    rule_index: dict[str, int],
) -> Ints:
    """Distinct (box, customer, service, app, client_isp, client_region, rule), at most n."""
    device = rng.choice(box.capacity.size, n, p=box.capacity / box.capacity.sum())
    pick = rng.choice(len(services), n, p=[share for _, share in services])
    service = np.array([SERVICES.index(name) for name, _ in services])[pick]
    app_of = np.array([[APPS.index(a) for a in PROFILES[name].apps] for name, _ in services])
    app = app_of[pick, (rng.random(n) < 0.3).astype(int)]

    shares = np.array([r.share for r in REGIONS])
    far = rng.choice(len(REGIONS), n, p=shares / shares.sum())
    region = np.where(rng.random(n) < SAME_REGION, box.region[device], far)
    other = rng.choice(len(CARRIERS), n, p=CARRIER_SHARES)
    isp = np.where(rng.random(n) < SAME_ISP, box.isp[device], other)
    # A place with a carrier of its own has no other, and that carrier is nowhere else.
    own = np.array([ISPS.index(r.own_isp) if r.own_isp else -1 for r in REGIONS])
    isp = np.where(own[region] >= 0, own[region], np.where(isp >= len(CARRIERS), other, isp))

    own_rule = np.array([rule_index[f"{customer}-{name}"] for name, _ in services])[pick]
    shared = np.array([rule_index[name] for name in SHARED_RULES])[rng.integers(0, len(SHARED_RULES), n)]
    rule = np.where(rng.random(n) < OWN_RULE, own_rule, shared)
    key = np.stack([device, np.full(n, c), service, app, isp, region, rule], axis=1)
    return np.unique(key, axis=0)


def _with_behaviour(rng: Generator, box: _Boxes, key: Ints, weight: Floats) -> Placement:
    device, customer, service, app, isp, region, rule = key.T.copy()
    n = len(key)
    profiles = [PROFILES[s] for s in SERVICES]
    base = np.array([np.log2(p.latency_median / latency_base_ms(s)) for s, p in PROFILES.items()])
    throughput = np.array([np.log2(p.throughput_median / THROUGHPUT_BASE_KB_PER_S) for p in profiles])
    distance = REGION_PENALTY_LOG2 * (box.region[device] != region) + ISP_PENALTY_LOG2 * (box.isp[device] != isp)
    of_box = BOX_SPREAD_LOG2 * rng.standard_normal(box.region.size)
    compute = service == SERVICES.index("compute")
    return Placement(
        device=device,
        customer=customer,
        service=service,
        app=app,
        client_isp=isp,
        client_region=region,
        rule=rule,
        weight=weight,
        failure=np.array([p.failure for p in profiles])[service] * np.exp(0.25 * rng.standard_normal(n)),
        latency=base[service]
        + np.where(compute, 0.0, distance)
        + of_box[device]
        + ROW_SPREAD_LOG2 * rng.standard_normal(n),
        throughput=throughput[service] - distance + ROW_SPREAD_LOG2 * rng.standard_normal(n),
        stall=np.array([p.stall for p in profiles])[service] * np.exp(0.25 * rng.standard_normal(n)),
        slow_cell=np.array([threshold_cell(p.slow_threshold, latency_base_ms(s)) for s, p in PROFILES.items()])[
            service
        ],
        low_cell=np.array([threshold_cell(p.low_threshold, THROUGHPUT_BASE_KB_PER_S) for p in profiles])[service],
    )
