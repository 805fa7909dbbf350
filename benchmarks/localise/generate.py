"""Labelled incidents in a cube like ours: customers, networks, regions, box models, firmware, scheduling rules.

Traffic is skewed (most combinations carry a handful of requests per minute), firmware belongs to a model, and rates
differ by every dimension. Minutes scatter more than chance: all of them together, each value of a dimension, and each
leaf. The size of an incident is the excess of each of its causes: added bad requests over all requests of the minute.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Combination = tuple[tuple[int, int], ...]

DIMENSIONS = ("customer", "isp", "region", "model", "firmware", "rule")
CARDINALITIES = (8, 5, 10, 4, 12, 9)
FIRMWARE_PER_MODEL = 3
KINDS = ("clean", "single", "several", "diffuse", "mix")
HISTORY = 12
SHARED_SCATTER = 0.05
"""Standard deviation of the log rate that a minute, and each value of a dimension in it, has of its own."""
LEAF_SCATTER = 0.10
MAX_RATE = 0.95
MAX_LOG_SHIFT = float(np.log(8))
"""A minute moves the traffic of no combination by more than about 8 times, up or down."""
SEPARATION = 0.2
"""Of every wider combination, the part outside the cause carries at least this share of traffic: else nobody could
tell the two apart, and the label would be arbitrary."""


@dataclass(frozen=True, slots=True)
class Incident:
    name: str
    kind: str
    codes: Ints
    bad: Ints
    total: Ints
    """(n_leaves, HISTORY + 1); the last minute is the moment."""
    causes: tuple[Combination, ...]
    """Empty: no cause among the dimensions."""


@dataclass(frozen=True, slots=True)
class _Fleet:
    codes: Ints
    traffic: Floats
    """Expected requests per minute and leaf."""
    rate: Floats


def incidents(kind: str, excess: float, count: int, seed: int) -> Iterator[Incident]:
    """`count` labelled incidents; equal arguments give equal incidents."""
    for number in range(count):
        rng = np.random.default_rng([seed, KINDS.index(kind), round(excess * 1000), number])
        yield _incident(f"{kind}-{excess:g}-{seed}-{number}", kind, excess, rng)


def sized(
    excess: float, ratio: float, requests: float, customers: int, rng: np.random.Generator
) -> tuple[Incident, Combination | None]:
    """One incident in the cube of as many customers, with `requests` in each column and `ratio` of them bad as usual,
    and its cause; None where no combination can hold that excess and be told from others."""
    fleet = _fleet(rng, customers, requests, ratio)
    name = f"sized-{excess:.4f}"
    found = _incident_in(fleet, name, "single", excess, rng)
    return found, found.causes[0] if found.causes else None


def _incident(name: str, kind: str, excess: float, rng: np.random.Generator) -> Incident:
    return _incident_in(_fleet(rng), name, kind, excess, rng)


def _incident_in(fleet: _Fleet, name: str, kind: str, excess: float, rng: np.random.Generator) -> Incident:
    causes: tuple[Combination, ...] = ()
    traffic = np.repeat(fleet.traffic[:, None], HISTORY + 1, axis=1)
    traffic *= np.exp(rng.normal(0, 0.03, HISTORY + 1) + np.linspace(-0.05, 0.05, HISTORY + 1))
    if kind == "mix":
        traffic[:, -1] = _shifted(fleet, excess, rng)
    total = rng.poisson(traffic)
    rate = fleet.rate[:, None] * _scatter(fleet.codes, rng)
    if kind in ("single", "several"):
        wanted = 1 if kind == "single" else int(rng.integers(2, 4))
        causes = _pick(fleet, wanted, excess, rng)
        for cause in causes:
            inside = _inside(fleet.codes, cause)
            rate[inside, -1] = _raised(rate[inside, -1], total[inside, -1], excess, total, rng)
    elif kind == "diffuse":
        rate[:, -1] *= 1 + excess * total[:, -1].sum() / (rate[:, -1] * total[:, -1]).sum()
    bad = rng.binomial(total, np.minimum(rate, MAX_RATE))
    return Incident(name, kind, fleet.codes, bad, total, causes)


def _fleet(
    rng: np.random.Generator,
    customers: int = CARDINALITIES[0],
    requests: float | None = None,
    ratio: float | None = None,
) -> _Fleet:
    n_leaves = int(rng.integers(300, 2500))
    cardinalities = (customers, *CARDINALITIES[1:])
    columns = [rng.choice(n, n_leaves, p=_skewed(n, rng)) for n in cardinalities]
    model = columns[DIMENSIONS.index("model")]
    columns[DIMENSIONS.index("firmware")] = model * FIRMWARE_PER_MODEL + rng.integers(0, FIRMWARE_PER_MODEL, n_leaves)
    codes = np.unique(np.column_stack(columns), axis=0)
    volume = np.exp(rng.normal(0, 1.2, len(codes)))
    drawn = rng.uniform(15, 60) * n_leaves
    traffic = volume / volume.sum() * (drawn if requests is None else requests)
    rate = np.full(len(codes), np.exp(rng.uniform(np.log(0.005), np.log(0.03))))
    for column, n in zip(codes.T, cardinalities, strict=True):
        rate *= np.exp(rng.normal(0, 0.25, n))[column]
    rate *= np.exp(rng.normal(0, 0.2, len(codes)))
    if ratio is not None:
        rate *= ratio * traffic.sum() / (traffic * rate).sum()
    return _Fleet(codes, traffic, np.minimum(rate, 0.3))


def _skewed(n: int, rng: np.random.Generator) -> Floats:
    share: Floats = rng.permutation(1.0 / np.arange(1, n + 1) ** 0.7)
    return share / float(share.sum())


def _scatter(codes: Ints, rng: np.random.Generator) -> Floats:
    """(n_leaves, minutes) factors by which rates vary without any cause."""
    minutes = HISTORY + 1
    log_factor = rng.normal(0, SHARED_SCATTER, (1, minutes)) + rng.normal(0, LEAF_SCATTER, (len(codes), minutes))
    for column, n in zip(codes.T, CARDINALITIES, strict=True):
        log_factor += rng.normal(0, SHARED_SCATTER, (n, minutes))[column]
    factor: Floats = np.exp(log_factor)
    return factor


def _inside(codes: Ints, cause: Combination) -> npt.NDArray[np.bool_]:
    mask = np.ones(len(codes), dtype=np.bool_)
    for dim, value in cause:
        mask &= codes[:, dim] == value
    return mask


def _raised(rate: Floats, total: Ints, excess: float, everything: Ints, rng: np.random.Generator) -> Floats:
    """Rates of a cause's leaves, raised by `excess` of all requests: half by adding, half by multiplying."""
    wanted = excess * everything[:, -1].sum()
    uneven = np.exp(rng.normal(0, 0.2, len(rate)))
    multiplying = rng.uniform(0, 1)
    weight = (multiplying * rate / rate.mean() + 1 - multiplying) * uneven
    raised: Floats = np.minimum(rate + weight * wanted / max(1.0, float((weight * total).sum())), MAX_RATE)
    return raised


def _pick(fleet: _Fleet, wanted: int, excess: float, rng: np.random.Generator) -> tuple[Combination, ...]:
    """Combinations large enough to hold their excess, that nobody could describe in fewer or other words, and that
    share no traffic."""
    chosen: list[Combination] = []
    taken = np.zeros(len(fleet.codes), dtype=np.bool_)
    least = 1.6 * excess
    for _ in range(4000):
        order = int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]))
        dims = sorted(rng.choice(len(DIMENSIONS), order, replace=False).tolist())
        leaf = fleet.codes[rng.integers(len(fleet.codes))]
        cause = tuple((d, int(leaf[d])) for d in dims)
        inside = _inside(fleet.codes, cause)
        share = fleet.traffic[inside].sum() / fleet.traffic.sum()
        if not least <= share <= 0.5 or (taken & inside).any() or not _distinct(fleet, cause, inside):
            continue
        chosen.append(cause)
        taken |= inside
        if len(chosen) == wanted:
            break
    return tuple(chosen)


def _distinct(fleet: _Fleet, cause: Combination, inside: npt.NDArray[np.bool_]) -> bool:
    own = fleet.traffic[inside].sum()
    for order in range(1, len(cause)):
        for part in combinations(cause, order):
            wider = fleet.traffic[_inside(fleet.codes, part)].sum()
            if wider - own < SEPARATION * wider:
                return False
    for dim in range(len(DIMENSIONS)):
        if dim not in dict(cause) and fleet.codes[:, dim].max() > 0:
            of_value = np.bincount(fleet.codes[inside, dim], fleet.traffic[inside])
            if of_value.max() > (1 - SEPARATION) * own and dim != DIMENSIONS.index("model"):
                return False
    return True


def _shifted(fleet: _Fleet, excess: float, rng: np.random.Generator) -> Floats:
    """Traffic of a minute in which the worse combinations serve much more, so that the overall rate rises by about
    `excess` where the rates of the fleet allow it, while no combination got worse: Simpson's paradox."""
    start = fleet.traffic
    before = float((start * fleet.rate).sum() / start.sum())
    dim = int(rng.integers(len(DIMENSIONS)))
    by_value = np.bincount(fleet.codes[:, dim], start * fleet.rate) / np.maximum(
        np.bincount(fleet.codes[:, dim], start), 1e-9
    )
    standing = np.log(fleet.rate / before) + np.log(np.maximum(by_value, 1e-9) / before)[fleet.codes[:, dim]]
    shifted = start
    for tilt in np.linspace(0.1, 3, 30):
        tilted = start * np.exp(np.clip(tilt * standing, -MAX_LOG_SHIFT, MAX_LOG_SHIFT))
        shifted = tilted / tilted.sum() * start.sum()
        if float((shifted * fleet.rate).sum() / shifted.sum()) >= before + excess:
            break
    return shifted
