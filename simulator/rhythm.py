"""How traffic and health move with time: the day, the week, and slow noise of customers and boxes."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from contracts.times import DAY_MS, GRID_MS, HOUR_MS, MINUTE_MS
from simulator.catalogue import DAY, REGIONS, SERVICES, WEEKEND

Floats = NDArray[np.float64]

CUSTOMER_NOISE = 0.03  # spread of a customer's traffic around its rhythm, natural log
CUSTOMER_NOISE_MEMORY_MS = 10 * MINUTE_MS
BOX_FAILURE_SPREAD = 0.6  # spread of a box's failures around its rows' own: what makes boxes over-dispersed
BOX_LATENCY_SPREAD_LOG2 = 0.12
BOX_MEMORY_MS = 5 * MINUTE_MS
PEAK_LATENCY_LOG2 = 0.15  # added to latency when traffic is at twice the day's mean
_THURSDAY = 3  # weekday of the epoch, Monday 0
_DAY = np.array([DAY[s] for s in SERVICES])
_WEEKEND = np.array([WEEKEND[s] for s in SERVICES])
_UTC_OFFSET_H = np.array([r.utc_offset_h for r in REGIONS])


def traffic_factors(time_ms: int) -> Floats:
    """Traffic relative to the day's mean, (n_services, n_regions), hours joined by straight lines."""
    local_ms = time_ms + _UTC_OFFSET_H * HOUR_MS
    hour, rest = np.divmod(local_ms % DAY_MS, HOUR_MS)
    share = rest / HOUR_MS
    day = _DAY[:, hour] * (1 - share) + _DAY[:, (hour + 1) % 24] * share
    weekend = (local_ms // DAY_MS + _THURSDAY) % 7 >= 5
    return np.where(weekend, _WEEKEND[:, None], 1.0) * day


def evening(time_ms: int, utc_offset_h: int = 8) -> float:
    """0 to 1: how far into the evening peak a place is: rises 18:30-19:30, holds, falls 22:30-23:30 local time."""
    hour = (time_ms + utc_offset_h * HOUR_MS) % DAY_MS / HOUR_MS
    return min(1.0, max(0.0, min(hour - 18.5, 23.5 - hour)))


class SlowNoise:
    """Autoregressive noise of unit variance over n series, one step per interval of the grid."""

    def __init__(self, rng: Generator, n: int, memory_ms: int) -> None:
        self._keep = math.exp(-GRID_MS / memory_ms)
        self.values = rng.standard_normal(n)

    def advance(self, rng: Generator) -> Floats:
        """The next values."""
        fresh = rng.standard_normal(self.values.size)
        self.values = self._keep * self.values + math.sqrt(1 - self._keep**2) * fresh
        return self.values


class Rhythm:
    """The slow noise of a world; `advance` once per interval, in order."""

    def __init__(self, rng: Generator, n_customers: int, n_devices: int) -> None:
        self._customers = SlowNoise(rng, n_customers, CUSTOMER_NOISE_MEMORY_MS)
        self._failures = SlowNoise(rng, n_devices, BOX_MEMORY_MS)
        self._latency = SlowNoise(rng, n_devices, BOX_MEMORY_MS)

    def advance(self, rng: Generator) -> tuple[Floats, Floats, Floats]:
        """Factor of traffic per customer, factor of failures per box (both of mean 1), added log2 latency per box."""
        traffic = np.exp(CUSTOMER_NOISE * self._customers.advance(rng) - CUSTOMER_NOISE**2 / 2)
        failures = np.exp(BOX_FAILURE_SPREAD * self._failures.advance(rng) - BOX_FAILURE_SPREAD**2 / 2)
        return traffic, failures, BOX_LATENCY_SPREAD_LOG2 * self._latency.advance(rng)
