"""Every measure as bad of total, from rows that carry counts and histograms: customer minutes and cells alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.columns import FAILURE_NAMES
from contracts.entities import MEASURES, Objective
from contracts.histogram import COMPUTE_SERVICE, THROUGHPUT_BASE_KB_PER_S, latency_base_ms, threshold_cell
from contracts.thresholds import Thresholds
from streams.incident_settings import DetectorSettings

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Service = tuple[str, str]  # customer, service

FAILURES, SLOW, STALLED, LOW, MISSES = range(len(MEASURES))


@dataclass(frozen=True, slots=True)
class BadOfTotal:
    """(len(MEASURES), n) int64, bad <= total; measures in the order of MEASURES. 0 of 0 where a measure has no
    meaning (stalls of downloads) or nothing came."""

    bad: Ints
    total: Ints


class Promises:
    """What customers were promised: allowed bad of total and thresholds, by customer and service. A measure without an
    objective has no allowed ratio, and the default threshold."""

    def __init__(self, objectives: Iterable[Objective], settings: DetectorSettings) -> None:
        self._by_series = {(o.customer, o.service, o.measure): o for o in objectives}
        self._thresholds = Thresholds(settings.slow_ms, settings.slow_task_ms, settings.low_kb_per_s)

    def allowed(self, customer: str, service: str, measure: str) -> float:
        """1 - target; NaN without an objective."""
        objective = self._by_series.get((customer, service, measure))
        return float("nan") if objective is None else 1.0 - objective.target

    def slow_cell(self, customer: str, service: str) -> int:
        """First latency cell that counts as slow."""
        return threshold_cell(self._threshold(customer, service, "slow_requests"), latency_base_ms(service))

    def low_cell(self, customer: str, service: str) -> int:
        """First throughput cell that counts as high enough."""
        return threshold_cell(self._threshold(customer, service, "low_throughput"), THROUGHPUT_BASE_KB_PER_S)

    def _threshold(self, customer: str, service: str, measure: str) -> float:
        objective = self._by_series.get((customer, service, measure))
        threshold = self._thresholds.in_force(() if objective is None else (objective,), service, measure)
        assert threshold is not None  # both measures have one
        return threshold


def measures_of(rows: Any, promises: Promises) -> BadOfTotal:
    """Of a pyarrow RecordBatch of quality_minutes or quality_cube, row by row."""
    service_of, services = service_codes(rows)
    slow = np.array([promises.slow_cell(*s) for s in services], np.int64)[service_of]
    low = np.array([promises.low_cell(*s) for s in services], np.int64)[service_of]
    task = np.array([s == COMPUTE_SERVICE for _, s in services], np.bool_)[service_of]
    n = rows.num_rows
    bad, total = np.zeros((len(MEASURES), n), np.int64), np.zeros((len(MEASURES), n), np.int64)
    requests = _numbers(rows, "requests")
    total[FAILURES], bad[FAILURES] = requests, sum(_numbers(rows, name) for name in FAILURE_NAMES)
    total[SLOW], bad[SLOW] = _above(rows, "latency", slow)
    total[STALLED], bad[STALLED] = _numbers(rows, "sessions"), _numbers(rows, "stalled_sessions")
    total[LOW], enough = _above(rows, "throughput", low)
    bad[LOW] = total[LOW] - enough
    total[MISSES] = np.where(task, 0, requests)
    bad[MISSES] = np.where(task, 0, requests - _numbers(rows, "cache_hits"))
    return BadOfTotal(np.clip(bad, 0, total), total)


def service_codes(rows: Any) -> tuple[Ints, list[Service]]:
    """Per row the number of its (customer, service), and those."""
    customer, customers = _codes(rows.column("customer"))
    service, services = _codes(rows.column("service"))
    pairs, of = np.unique(customer * len(services) + service, return_inverse=True)
    return of.astype(np.int64), [(customers[p // len(services)], services[p % len(services)]) for p in pairs.tolist()]


def _codes(column: Any) -> tuple[Ints, list[str]]:
    return column.indices.to_numpy(zero_copy_only=False).astype(np.int64), column.dictionary.to_pylist() or [""]


def codes_of(rows: Any, name: str) -> tuple[Ints, list[str]]:
    """A text column as codes and their texts."""
    return _codes(rows.column(name))


def _numbers(rows: Any, name: str) -> Ints:
    values: Ints = rows.column(name).to_numpy(zero_copy_only=False)
    return values


def _above(rows: Any, name: str, first: Ints) -> tuple[Ints, Ints]:
    """Per row: how many values a histogram holds, and how many of them at or above a cell."""
    cells = rows.column(f"{name}_cell")
    owner = np.repeat(np.arange(rows.num_rows), np.diff(cells.offsets.to_numpy()))
    count = rows.column(f"{name}_count").flatten().to_numpy().astype(np.float64)
    cell = cells.flatten().to_numpy().astype(np.int64)
    n = rows.num_rows
    held = np.bincount(owner, count, n)
    above = np.bincount(owner, np.where(cell >= first[owner], count, 0.0), n)
    return held.astype(np.int64), above.astype(np.int64)
