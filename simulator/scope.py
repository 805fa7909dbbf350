"""Which rows a combination of dimension values means."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from contracts.columns import REGISTRY_DIMENSIONS
from simulator.catalogue import ISPS, REGIONS, SERVICES
from simulator.placement import APPS, Placement
from simulator.world import World

Bools = NDArray[np.bool_]


def dimension_values(world: World, rows: Placement | None = None) -> dict[str, list[str]]:
    """The value of every dimension per row, as at the start of the run, and `device`."""
    rows = world.placement if rows is None else rows
    codes = {
        "customer": ([c.id for c in world.customers], rows.customer),
        "service": (list(SERVICES), rows.service),
        "app": (list(APPS), rows.app),
        "client_isp": (list(ISPS), rows.client_isp),
        "client_region": ([r.name for r in REGIONS], rows.client_region),
        "sched_rule": ([r.sched_rule for r in world.rules], rows.rule),
        "model": ([d.model for d in world.devices], rows.device),
        "firmware": ([d.firmware for d in world.devices], rows.device),
        "device": ([d.id for d in world.devices], rows.device),
    }
    for name in REGISTRY_DIMENSIONS:
        codes[name] = ([getattr(d.attributes, name) for d in world.devices], rows.device)
    return {name: [texts[i] for i in column] for name, (texts, column) in codes.items()}


def rows_in_scope(values: Mapping[str, list[str]], scope: Mapping[str, str]) -> Bools:
    """Mask of the rows that have all the scope's values; `values` from `dimension_values`."""
    n = len(next(iter(values.values())))
    mask = np.ones(n, dtype=bool)
    for dimension, value in scope.items():
        mask &= np.array([v == value for v in values[dimension]], dtype=bool)
    return mask
