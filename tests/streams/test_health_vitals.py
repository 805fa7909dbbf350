"""Vital signs of boxes: from what agents report to the signs that scores are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anomaly.health import SIGNS
from contracts.columns import VITALS_MEASURES
from contracts.times import HOUR_MS, MINUTE_MS
from streams.health_boxes import VitalSigns

T0 = 1_767_600_000_000


class Box:
    """One box that reports vitals of ten seconds."""

    def __init__(self) -> None:
        self.vitals = VitalSigns()
        self.vitals.grow(1)

    def report(self, end: int, lasts: int = 10_000, **measured: float) -> None:
        columns = {c.name: np.array([measured.get(c.name, np.nan)]) for c in VITALS_MEASURES}
        self.vitals.add(np.array([0]), columns, np.array([end - lasts]), np.array([end]))

    def sign(self, name: str, now: int) -> Any:
        return self.vitals.signs(now, 10.0)[SIGNS.index(name), 0]


def test_machine_starts_count_as_they_happen_and_fade_over_an_hour() -> None:
    box = Box()
    box.report(T0, reboots=7.0)
    assert box.sign("reboots_per_hour", T0) == 0  # what was before nobody saw
    box.report(T0 + MINUTE_MS, reboots=9.0)
    assert box.sign("reboots_per_hour", T0 + MINUTE_MS) == 2
    box.report(T0 + MINUTE_MS + HOUR_MS, reboots=9.0)
    assert box.sign("reboots_per_hour", T0 + MINUTE_MS + HOUR_MS) == pytest.approx(2 * np.exp(-1))
    box.report(T0 + 2 * MINUTE_MS + HOUR_MS, reboots=1.0)  # installed anew
    assert box.sign("reboots_per_hour", T0 + 2 * MINUTE_MS + HOUR_MS) < 1


def test_a_clock_is_taken_in_seconds_with_its_sign() -> None:
    box = Box()
    box.report(T0, clock_offset_ms=-400_000.0)
    assert box.sign("clock_offset_s", T0) == -400


def test_what_was_written_to_flash_is_taken_per_day() -> None:
    box = Box()
    box.report(T0, lasts=10_000, flash_written_bytes=10e6)  # 1 MB a second
    assert box.sign("flash_written_gb_per_day", T0) == pytest.approx(86.4)


def test_old_signs_say_nothing_and_late_ones_change_nothing() -> None:
    box = Box()
    box.report(T0, temperature_c=80.0)
    box.report(T0 - MINUTE_MS, temperature_c=20.0)
    assert box.sign("temperature_c", T0) == 80
    assert np.isnan(box.sign("temperature_c", T0 + 11 * MINUTE_MS))


def test_a_sign_nobody_measured_keeps_its_last_value() -> None:
    box = Box()
    box.report(T0, temperature_c=80.0)
    box.report(T0 + MINUTE_MS, memory_used_ratio=0.5)
    assert box.sign("temperature_c", T0 + MINUTE_MS) == 80
