"""What vital signs take away from a value."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import numpy.typing as npt

from anomaly.health.settings import Limit, VitalsSettings

Floats = npt.NDArray[np.float64]

SIGNS = tuple(f.name for f in fields(VitalsSettings) if f.name != "max_age_minutes")


def factors(signs: Floats, settings: VitalsSettings) -> Floats:
    """What each sign leaves of the value, (len(SIGNS), n) in 0..1. `signs` (len(SIGNS), n): in the order of SIGNS, NaN
    where nobody measured."""
    rows = []
    for i, name in enumerate(SIGNS):
        limit: Limit = getattr(settings, name)
        beyond = np.clip((np.abs(signs[i]) - limit.fine) / (limit.worst - limit.fine), 0.0, 1.0)
        rows.append(1.0 - limit.weight * np.nan_to_num(beyond))
    return np.array(rows)
