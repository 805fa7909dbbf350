"""A small network that emits minutes and cells, with faults where a test wants them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from contracts.arrow import batch
from contracts.columns import CELL_DIMENSIONS, COUNT_NAMES, HISTOGRAM_NAMES, QUALITY_CUBE, QUALITY_MINUTES, REPORTS
from contracts.entities import Objective
from contracts.times import MINUTE_MS

T0 = 1_767_607_200_000  # 2026-01-05T10:00:00Z
ISPS, REGIONS, FIRMWARES = ("telecom", "unicom", "mobile"), ("north", "south"), ("1.0", "1.1")
OBJECTIVES = tuple(Objective(customer, "video", "failures", 0.98) for customer in ("acme", "bolt", "core"))
Worse = Callable[[Mapping[str, str]], float]
"""Added probability of failure of a cell."""


def nothing(_: Mapping[str, str]) -> float:
    """No fault."""
    return 0.0


def inside(where: Mapping[str, str], added: float) -> Worse:
    """A fault in all cells of a combination."""
    return lambda cell: added if all(cell[d] == v for d, v in where.items()) else 0.0


class Network:
    """Three customers over twelve cells each; `requests` a minute and cell, 1% of which usually fail."""

    def __init__(self, seed: int = 1, requests: int = 250) -> None:
        self._rng = np.random.default_rng(seed)
        self._requests = requests
        fixed = dict.fromkeys(CELL_DIMENSIONS, "x")
        self.cells = [
            fixed | {"customer": c, "service": "video", "client_isp": i, "client_region": r, "firmware": f}
            for c, i, r, f in itertools.product(("acme", "bolt", "core"), ISPS, REGIONS, FIRMWARES)
        ]

    def minute(self, n: int, worse: Worse = nothing, coverage: float = 1.0) -> tuple[Any, Any]:
        """(quality_minutes, quality_cube) of minute n."""
        requests = self._rng.poisson(self._requests, len(self.cells))
        p = np.array([0.01 + worse(cell) for cell in self.cells])
        failed = self._rng.binomial(requests, np.minimum(p, 1.0))
        cube = rows_of(QUALITY_CUBE, n, self.cells, requests, failed)
        names = [cell["customer"] for cell in self.cells]
        customers = sorted(set(names))
        of = np.array([customers.index(name) for name in names])
        sums = [np.bincount(of, x).astype(np.int64) for x in (requests, failed)]
        keys = [{"customer": c, "service": "video"} for c in customers]
        return rows_of(QUALITY_MINUTES, n, keys, *sums, coverage=coverage), cube


def rows_of(columns: Any, n: int, keys: list[dict[str, str]], requests: Any, failed: Any, coverage: float = 1.0) -> Any:
    """A batch of minutes or cells in which every request that did not fail was fast, a cache hit, and a session."""
    size = len(keys)
    zero = np.zeros(size, np.int64)
    values: dict[str, Any] = {
        "minute": np.full(size, minute(n)), "revision": zero + 1, "late_requests": zero, "boxes": zero,
        "coverage": np.full(size, coverage), "emitted_at": np.full(size, minute(n + 1)),
    }  # fmt: skip
    values |= dict.fromkeys(COUNT_NAMES, zero)
    values |= {"requests": requests, "f_server": failed, "s5xx": failed, "cache_hits": requests, "sessions": requests}
    for name, cell in zip(HISTOGRAM_NAMES, (40, 80), strict=True):  # 32 ms, 1 MB/s
        values[f"{name}_cell"] = [[cell]] * size
        values[f"{name}_count"] = [[int(r)] for r in requests]
    values |= {name: [key.get(name, "x") for key in keys] for name in CELL_DIMENSIONS}
    return batch(columns, {c.name: values[c.name] for c in columns}, pa)


def minute(n: int) -> int:
    """Start of minute n."""
    return T0 + n * MINUTE_MS


def reports(boxes: Mapping[str, tuple[str, str, str]], at: int, start: int | None = None) -> Any:
    """Headers of one report per box: device -> (boot, isp, region), received at a time, of the interval just before or
    of one that began at `start`."""
    n = len(boxes)
    values: dict[str, Any] = {c.name: [""] * n if c.dtype in ("string", "text") else [0] * n for c in REPORTS}
    values |= {"device": list(boxes), "boot": [b for b, _, _ in boxes.values()], "received_at": [at] * n}
    values |= {"device_isp": [i for _, i, _ in boxes.values()], "device_region": [r for _, _, r in boxes.values()]}
    values |= {"requests": [100] * n, "start": [at - 10_000 if start is None else start] * n}
    return batch(REPORTS, values, pa)
