"""The histogram of the wire: OpenTelemetry's exponential layout, scale 3, in 130 cells.

Bucket i of 128 covers (base * 2**(i/8), base * 2**((i+1)/8)], upper bound inclusive, as in the OpenTelemetry
metrics data model ("Exponential Histogram"). Cell 0 is underflow (value <= base), cells 1..128 are the buckets,
cell 129 is overflow (value > base * 2**16). A quantile is answered with the geometric middle of its bucket, so its
relative error is at most 2**(1/16) - 1 = 4.43% inside the buckets; underflow answers `base`, overflow the top
bound, and `Quantile.exact_within` says whether the bound holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SCALE = 3
BUCKETS = 128
CELLS = BUCKETS + 2
UNDERFLOW = 0
OVERFLOW = CELLS - 1
RATIO = math.exp2(1.0 / 2**SCALE)
RELATIVE_ERROR = math.sqrt(RATIO) - 1.0  # 0.0443

DELIVERY_LATENCY_BASE_MS = 1.0
COMPUTE_DURATION_BASE_MS = 1000.0
THROUGHPUT_BASE_KB_PER_S = 1.0
COMPUTE_SERVICE = "compute"


def latency_base_ms(service: str) -> float:
    """Base of the latency histogram in ms: 1 ms for delivery, 1 s for tasks of service `compute`."""
    return COMPUTE_DURATION_BASE_MS if service == COMPUTE_SERVICE else DELIVERY_LATENCY_BASE_MS


def upper_bounds(base: float) -> tuple[float, ...]:
    """Inclusive upper bounds of cells 0..128 in the unit of `base`, length 129; cell 129 is unbounded."""
    return tuple(base * math.exp2(i / 2**SCALE) for i in range(BUCKETS + 1))


_UNIT_BOUNDS = upper_bounds(1.0)


def cell_of(value: float, base: float) -> int:
    """Cell of a value (>= 0) in the unit of `base`: the first whose upper bound is not below it. Raises ValueError."""
    if not value >= 0.0:
        raise ValueError(f"histogram value: expected a number >= 0, got {value!r}")
    if value <= base:
        return UNDERFLOW
    if value > base * _UNIT_BOUNDS[BUCKETS]:
        return OVERFLOW
    cell: int = max(1, math.ceil(math.log2(value / base) * 2**SCALE))
    # Division and log2 may round across a bound by one ulp; the table of `upper_bounds(base)` decides.
    if value <= base * _UNIT_BOUNDS[cell - 1]:
        return cell - 1
    return cell + 1 if value > base * _UNIT_BOUNDS[cell] else cell


def middle_of(cell: int, base: float) -> float:
    """The value that stands for a cell: geometric middle of a bucket, `base` below, the top bound above."""
    if cell == UNDERFLOW:
        return base
    if cell == OVERFLOW:
        return base * _UNIT_BOUNDS[BUCKETS]
    return base * math.exp2((cell - 0.5) / 2**SCALE)


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile's estimate; `exact_within` is its relative error bound, or None when the value is off the scale."""

    value: float
    exact_within: float | None


def quantile(counts: Mapping[int, int], q: float, base: float) -> Quantile | None:
    """Quantile q (0..1) of sparse counts {cell: count}, nearest rank (ceil(q*n), at least 1); None when empty."""
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"q: expected 0..1, got {q!r}")
    total = sum(counts.values())
    if total == 0:
        return None
    rank = max(1, math.ceil(q * total))
    seen = 0
    for cell in sorted(counts):
        seen += counts[cell]
        if seen >= rank:
            bounded = UNDERFLOW < cell < OVERFLOW
            return Quantile(middle_of(cell, base), RELATIVE_ERROR if bounded else None)
    raise AssertionError("rank lies within the total")


def merge(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Sum of sparse histograms of one base. Associative and commutative."""
    merged: dict[int, int] = {}
    for histogram in histograms:
        for cell, count in histogram.items():
            merged[cell] = merged.get(cell, 0) + count
    return merged


def threshold_cell(threshold: float, base: float) -> int:
    """First cell counted as above a threshold (> 0, finite). The threshold acts at the nearest bucket bound (ratio
    error <= 4.43% on the scale, from base to base * 2**16); `effective_threshold` names that bound."""
    if not 0.0 < threshold < math.inf:
        raise ValueError(f"histogram threshold: expected a number above 0, got {threshold!r}")
    scaled = max(threshold / base, 1.0)
    nearest: int = round(math.log2(scaled) * 2**SCALE)
    return min(nearest, BUCKETS) + 1


def effective_threshold(threshold: float, base: float) -> float:
    """The bucket bound at which a threshold acts, in the unit of `base`."""
    return base * _UNIT_BOUNDS[threshold_cell(threshold, base) - 1]


def count_above(counts: Mapping[int, int], threshold: float, base: float) -> int:
    """How many values lie above the effective threshold."""
    first = threshold_cell(threshold, base)
    return sum(n for cell, n in counts.items() if cell >= first)
