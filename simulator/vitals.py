"""Vitals of the boxes, from their load and what leaks. In the order of VITALS_MEASURES without the clock's offset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from contracts.columns import COUNT_NAMES
from contracts.times import DEFAULT_INTERVAL_MS
from simulator.box import Box
from simulator.placement import Floats, Placement
from simulator.traffic import Interval
from simulator.world import World

_BYTES = COUNT_NAMES.index("bytes")
_HITS = COUNT_NAMES.index("cache_hits")
CORES = 4
LEAKED_MEMORY = 0.4  # share of memory a firmware has leaked at its worst


class Vitals:
    """What is constant of each box, and the measuring."""

    def __init__(self, rng: Generator, world: World) -> None:
        n = len(world.devices)
        self._capacity = np.array([d.attributes.capacity_mbps for d in world.devices]) * 125_000.0
        self._memory = rng.uniform(0.35, 0.55, n)
        self._flash = rng.uniform(0.4, 0.93, n)
        self._ambient = rng.uniform(36.0, 50.0, n)

    def measure(
        self, rng: Generator, interval: Interval, placement: Placement, leak: Floats, boxes: Sequence[Box]
    ) -> list[list[float]]:
        """Rows of numbers, one per box."""
        n = self._memory.size
        device = placement.device[interval.rows]
        seconds = DEFAULT_INTERVAL_MS / 1000
        requests = np.bincount(device, interval.counts[0], n)
        sent = np.bincount(device, interval.counts[_BYTES], n) / seconds
        missed = np.bincount(device, interval.counts[0] - interval.counts[_HITS], n) / np.maximum(requests, 1)
        noise = rng.standard_normal((2, n))
        cpu = np.clip(0.05 + 0.006 * requests / seconds + 0.5 * sent / self._capacity + 0.01 * noise[0], 0.01, 1.0)
        uptime = [(interval.start + DEFAULT_INTERVAL_MS - box.power_on_ms) // 1000 for box in boxes]
        columns = (
            np.round(cpu, 4),
            np.round(CORES * cpu * 0.9 + 0.05 * np.abs(noise[1]), 2),
            np.round(np.clip(self._memory + 0.1 * cpu + LEAKED_MEMORY * leak, 0.0, 0.99), 4),
            np.round(self._flash, 4),
            np.round(sent * missed * seconds),
            np.round(self._ambient + 18 * cpu + 0.2 * noise[1], 1),
            np.round(sent * missed + 2_000),
            np.round(sent),
            np.array(uptime, dtype=np.float64),
            np.array([box.reboots for box in boxes], dtype=np.float64),
        )
        rows: list[list[float]] = np.stack(columns, axis=1).tolist()
        return rows
