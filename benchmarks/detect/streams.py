"""Seeded streams of counts as a fleet makes them, with faults of which everything is known.

Forty customers of very different size, five measures each; a few of them come late and have little history. Traffic
has a daily and weekly rhythm, steps as after a deployment, and noise; ratios have a rhythm of their own, noise that
boxes share for minutes (so minutes are not independent), a slow drift, holidays, and single bad minutes that are
nobody's fault. Counts are beta-binomial. Some minutes are missing, some were measured in part only and with a bias,
and once our own pipeline lags; the latter two are marked as frozen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MEASURES = ("failures", "slow_requests", "stalled_sessions", "low_throughput", "cache_misses")
FAILURES, SLOW, STALLED, LOW, MISSES = range(5)
EFFECTS: dict[str, tuple[tuple[int, float], ...]] = {
    "errors": ((FAILURES, 1.0),),
    "slow": ((SLOW, 1.0), (LOW, 0.5)),
    "stalls": ((LOW, 1.0), (STALLED, 2.0)),
    "misses": ((MISSES, 1.0), (SLOW, 0.5)),
}
"""Kinds of fault: which measures rise, by how many times the share of the fault."""

CUSTOMERS = 40
LATE_CUSTOMERS = 4
LEAST_PER_MINUTE, MOST_PER_MINUTE = 60.0, 150_000.0
REQUESTS_PER_SESSION = 20
REQUESTS_PER_BOX = 50.0
BASE = ((0.0015, 0.008), (0.005, 0.015), (0.005, 0.02), (0.005, 0.02), (0.02, 0.12))
TARGETS = (0.01, 0.015, 0.03, 0.02, 0.15)
BOX_SPREAD = (0.6, 0.6, 0.6, 0.6, 0.25)
BOX_MEMORY = 5.0
DRIFT_SPREAD, DRIFT_MEMORY = 0.05, 360.0
FLEET_SPREAD, FLEET_MEMORY = 0.03, 60.0
TRAFFIC_SPREAD, TRAFFIC_MEMORY = 0.05, 10.0
DAY = 1_440
START = 20_000 * DAY - 3 * DAY
"""Minutes since the epoch of the first minute: some Monday."""
HOLIDAY_TRAFFIC, HOLIDAY_RATIO, HOLIDAY_RISE = 0.4, 0.15, 240.0
CLUMPS = (0.05, 1.5)
"""Extra variance of the bad events of a minute, as a part of the binomial one: retries come together."""
MOST_RHO = 0.3
HICCUPS_PER_DAY = 0.1
HICCUP_SHARE = 0.02
BIG = 5_000.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, and how many faults of each class after the days of warm-up."""

    warm_up_days: int = 14
    days: int = 5
    quick: int = 14
    slight: int = 14
    any: int = 12


@dataclass(frozen=True, slots=True)
class Fault:
    """`share`: added bad of requests on the plateau. Minutes since the start of the stream; `start` with a fraction."""

    kind: str
    class_: str
    customers: tuple[int, ...]
    share: float
    start: float
    ramp: int
    end: int

    def profile(self, minutes: Floats) -> Floats:
        """(n,): part of `share` that is added in each minute (an integer number of minutes since the start)."""
        covered = np.clip(minutes + 1 - self.start, 0, 1) * (minutes < self.end)
        middle = np.maximum(minutes + 0.5 - self.start, 0.0)
        rising = np.minimum(middle / self.ramp, 1.0) if self.ramp else 1.0
        grown: Floats = covered * rising
        return grown


@dataclass(frozen=True, slots=True)
class Stream:
    """bad, total: (minutes, customers, measures) int32; frozen: (minutes, customers) bool; allowed: (customers,
    measures); usual_requests: (minutes, customers), before noise and gaps; since: (customers,), minute in which a
    customer came."""

    bad: npt.NDArray[np.int32]
    total: npt.NDArray[np.int32]
    frozen: npt.NDArray[np.bool_]
    allowed: Floats
    usual_requests: Floats
    since: npt.NDArray[np.int64]
    faults: tuple[Fault, ...]
    plan: Plan


def stream(seed: int, plan: Plan) -> Stream:
    """All of a seed."""
    rng = np.random.default_rng(seed)
    minutes = (plan.warm_up_days + plan.days) * DAY
    rhythm, usual = _traffic(rng, minutes)
    holiday = _holidays(rng, plan)
    usual *= 1 + HOLIDAY_TRAFFIC * holiday
    since = np.zeros(CUSTOMERS, np.int64)
    late = rng.choice(CUSTOMERS, LATE_CUSTOMERS, replace=False)
    since[late] = rng.integers(DAY, minutes - DAY, LATE_CUSTOMERS)
    usual *= np.arange(minutes)[:, None] >= since
    ratio = _usual_ratios(rng, rhythm) * (1 + HOLIDAY_RATIO * holiday)[:, :, None]
    allowed = np.maximum(TARGETS, 1.5 * ratio.max(axis=0))
    noisy = usual * np.exp(_noise(rng, minutes, (CUSTOMERS,), TRAFFIC_SPREAD, TRAFFIC_MEMORY))
    requests = rng.poisson(noisy)
    total = np.repeat(requests[:, :, None], len(MEASURES), axis=2)
    total[:, :, STALLED] = requests // REQUESTS_PER_SESSION
    faults = (*_past(rng, plan), *_faults(rng, plan, usual))
    added = np.zeros(ratio.shape)
    for fault in faults:
        span = slice(int(fault.start), fault.end)
        grown = fault.share * fault.profile(np.arange(span.start, span.stop, dtype=float))
        for customer in fault.customers:
            for measure, times in EFFECTS[fault.kind]:
                added[span, customer, measure] += times * grown
    added += HICCUP_SHARE * (rng.random(ratio.shape) < HICCUPS_PER_DAY / DAY / len(MEASURES))
    ratio = ratio * np.exp(_ratio_noise(rng, usual)) + added
    partly, frozen = _partly_measured(rng, minutes, plan)
    total = rng.binomial(total, partly[:, :, None])
    ratio = np.minimum(ratio * np.where(frozen, rng.uniform(1.5, 3, frozen.shape), 1.0)[:, :, None], 0.9)
    bad = beta_binomial(rng, total, ratio, rng.uniform(*CLUMPS, ratio.shape[1:]))
    return Stream(
        bad, total.astype(np.int32), frozen, allowed, usual, since, tuple(f for f in faults if f.class_ != "past"), plan
    )


def beta_binomial(
    rng: np.random.Generator, total: npt.NDArray[np.integer], ratio: Floats, clumps: Floats
) -> npt.NDArray[np.int32]:
    """(minutes, customers, measures): variance total p (1 - p) (1 + clump); clumps: (customers, measures)."""
    rho = np.minimum(clumps / np.maximum(total - 1, 1), MOST_RHO)
    spread = 1 / rho - 1
    p = rng.beta(np.maximum(ratio * spread, 1e-6), (1 - ratio) * spread)
    return rng.binomial(total, p).astype(np.int32)


def _traffic(rng: np.random.Generator, minutes: int) -> tuple[Floats, Floats]:
    """(rhythm around 1, usual requests a minute), both (minutes, customers)."""
    size = np.exp(rng.uniform(np.log(LEAST_PER_MINUTE), np.log(MOST_PER_MINUTE), CUSTOMERS))
    at = (START + np.arange(minutes))[:, None] * (2 * np.pi / DAY)
    peak = rng.normal(0.0, 0.4, CUSTOMERS) + 13 / 24 * 2 * np.pi  # evening in China, by the clock of UTC
    wave = rng.uniform(0.5, 1.0, CUSTOMERS) * np.cos(at - peak) + rng.uniform(0.1, 0.3, CUSTOMERS) * np.cos(
        2 * at - rng.uniform(0, 2 * np.pi, CUSTOMERS)
    )
    weekend = ((START + np.arange(minutes)) // DAY + 3) % 7 >= 5
    rhythm = np.exp(wave + weekend[:, None] * rng.uniform(-0.2, 0.25, CUSTOMERS))
    steps = np.ones((minutes, CUSTOMERS))
    for customer in range(CUSTOMERS):
        for _ in range(rng.poisson(minutes / DAY / 7)):
            begin, length = rng.integers(minutes), rng.integers(120, 720)
            steps[begin : begin + length, customer] *= np.exp(rng.uniform(np.log(0.5), np.log(2.0)))
    return rhythm, size * rhythm * steps


def _usual_ratios(rng: np.random.Generator, rhythm: Floats) -> Floats:
    """(minutes, customers, measures)."""
    base = np.stack([np.exp(rng.uniform(np.log(low), np.log(high), CUSTOMERS)) for low, high in BASE], axis=-1)
    follows = rng.uniform(0.0, 0.3, base.shape)
    ratios: Floats = base * np.exp(follows * np.log(rhythm)[:, :, None])
    return ratios


def _holidays(rng: np.random.Generator, plan: Plan) -> Floats:
    """(minutes, customers), 0..1: a day of the warm-up and one after it, for half of the customers each; it comes and
    goes over some hours."""
    holiday = np.zeros(((plan.warm_up_days + plan.days) * DAY, CUSTOMERS))
    of_day = np.arange(DAY) + 0.5
    course = np.minimum(np.minimum(of_day, DAY - of_day) / HOLIDAY_RISE, 1.0)
    for first, last in ((0, plan.warm_up_days), (plan.warm_up_days, plan.warm_up_days + plan.days)):
        day = rng.integers(first, last)
        holiday[day * DAY : (day + 1) * DAY, rng.random(CUSTOMERS) < 0.5] = course[:, None]
    return holiday


def _ratio_noise(rng: np.random.Generator, usual: Floats) -> Floats:
    minutes = len(usual)
    boxes = np.maximum(usual.mean(axis=0) / REQUESTS_PER_BOX, 5.0)
    spread = np.array(BOX_SPREAD) / np.sqrt(boxes)[:, None]
    shape = CUSTOMERS, len(MEASURES)
    noise: Floats = spread * _noise(rng, minutes, shape, 1.0, BOX_MEMORY)
    noise += _noise(rng, minutes, shape, DRIFT_SPREAD, DRIFT_MEMORY)
    noise += _noise(rng, minutes, (1, len(MEASURES)), FLEET_SPREAD, FLEET_MEMORY)
    return noise


def _noise(rng: np.random.Generator, minutes: int, shape: tuple[int, ...], spread: float, memory: float) -> Floats:
    """(minutes, *shape): autoregressive, with this standard deviation and memory in minutes."""
    keep = np.exp(-1 / memory)
    fresh = rng.standard_normal((minutes, *shape)) * np.sqrt(1 - keep**2)
    fresh[0] /= np.sqrt(1 - keep**2)
    for minute in range(1, minutes):
        fresh[minute] += keep * fresh[minute - 1]
    noise: Floats = spread * fresh
    return noise


def _partly_measured(rng: np.random.Generator, minutes: int, plan: Plan) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """(measured part, frozen), (minutes, customers). A gap measures nothing and is not marked."""
    part = np.ones((minutes, CUSTOMERS))
    frozen = np.zeros(part.shape, np.bool_)
    for customer in range(CUSTOMERS):
        for _ in range(rng.poisson(minutes / DAY / 5)):
            begin = rng.integers(minutes)
            part[begin : begin + rng.integers(2, 20), customer] = 0.0
        for _ in range(rng.poisson(minutes / DAY / 5)):
            begin = rng.integers(minutes)
            span = slice(begin, begin + rng.integers(5, 40))
            part[span, customer] = rng.uniform(0.3, 0.7)
            frozen[span, customer] = True
    begin = int(rng.integers(plan.warm_up_days * DAY, minutes - 20))
    part[begin : begin + 15] = 0.5
    frozen[begin : begin + 15] = True
    return part, frozen


def _past(rng: np.random.Generator, plan: Plan) -> list[Fault]:
    """Faults of the warm-up, about two a customer: history is not clean either."""
    faults = []
    for _ in range(2 * CUSTOMERS):
        start = rng.uniform(1, plan.warm_up_days - 0.2) * DAY
        share = float(np.exp(rng.uniform(np.log(0.003), np.log(0.1))))
        customer = int(rng.integers(CUSTOMERS))
        end = int(start + rng.uniform(10, 180))
        faults.append(Fault(str(rng.choice(list(EFFECTS))), "past", (customer,), share, start, 0, end))
    return faults


def _faults(rng: np.random.Generator, plan: Plan, usual: Floats) -> list[Fault]:
    """Random faults after the warm-up; a customer's faults of the same kind keep three hours apart, others overlap."""
    faults: list[Fault] = []
    for class_, count in (("quick", plan.quick), ("slight", plan.slight), ("any", plan.any)):
        placed = 0
        while placed < count:
            fault = _draw(rng, class_, plan)
            mean = usual[int(fault.start) : fault.end, fault.customers[0]].mean()
            if mean < (1.0 if class_ == "any" else BIG):
                continue
            if any(_too_near(fault, other) for other in faults):
                continue
            faults.append(fault)
            placed += 1
    return faults


def _draw(rng: np.random.Generator, class_: str, plan: Plan) -> Fault:
    share_range, length_range, longest_ramp = {
        "quick": ((0.01, 0.1), (5, 30), 3),
        "slight": ((0.003, 0.005), (60, 120), 15),
        "any": ((0.002, 0.1), (3, 120), 20),
    }[class_]
    share = float(np.exp(rng.uniform(np.log(share_range[0]), np.log(share_range[1]))))
    ramp = int(rng.integers(longest_ramp + 1)) if rng.random() < 0.5 else 0
    length = int(rng.integers(length_range[0], length_range[1] + 1))
    start = rng.uniform(plan.warm_up_days * DAY, (plan.warm_up_days + plan.days) * DAY - 180)
    wide = int(rng.integers(2, 5)) if rng.random() < 0.25 else 1
    customers = tuple(int(c) for c in rng.choice(CUSTOMERS, wide, replace=False))
    end = int(np.ceil(start)) + ramp + length
    return Fault(str(rng.choice(list(EFFECTS))), class_, customers, share, float(start), ramp, end)


def _too_near(one: Fault, other: Fault) -> bool:
    shared = set(one.customers) & set(other.customers)
    measures = {m for m, _ in EFFECTS[one.kind]} & {m for m, _ in EFFECTS[other.kind]}
    return bool(shared and measures) and one.start < other.end + 180 and other.start < one.end + 180
