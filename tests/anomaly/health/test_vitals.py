"""What vital signs take away."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.health.settings import VitalsSettings
from anomaly.health.vitals import SIGNS, factors

SETTINGS = VitalsSettings()


def left(**signs: float) -> dict[str, float]:
    columns = np.array([[signs.get(name, np.nan)] for name in SIGNS])
    return {name: float(f[0]) for name, f in zip(SIGNS, factors(columns, SETTINGS), strict=True) if f[0] != 1.0}


def test_what_nobody_measured_takes_nothing() -> None:
    assert left() == {}


@pytest.mark.parametrize(
    ("sign", "fine", "half", "half_left"),
    [
        ("temperature_c", 75.0, 85.0, 0.7),
        ("memory_used_ratio", 0.92, 0.955, 0.7),
        ("flash_used_ratio", 0.95, 0.975, 0.75),
        ("flash_written_gb_per_day", 40.0, 120.0, 0.8),
        ("cpu_ratio", 0.92, 0.96, 0.8),
        ("reboots_per_hour", 2.0, 4.0, 0.65),
        ("clock_offset_s", 300.0, 1_950.0, 0.95),
    ],
)
def test_each_sign_takes_in_proportion_beyond_its_limit(sign: str, fine: float, half: float, half_left: float) -> None:
    assert left(**{sign: fine}) == {}
    assert left(**{sign: half})[sign] == pytest.approx(half_left)
    assert left(**{sign: half * 100})[sign] == pytest.approx(1 - 2 * (1 - half_left))


def test_a_clock_may_be_off_either_way() -> None:
    assert left(clock_offset_s=-1_950.0) == left(clock_offset_s=1_950.0)
