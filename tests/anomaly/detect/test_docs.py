"""The worked example of docs/detectors.md, computed."""

from math import exp
from pathlib import Path

import numpy as np
import pytest

from anomaly.detect import DetectSettings, Verdict
from anomaly.detect.settings import DiscoverySettings
from anomaly.detect.shift import gain
from anomaly.detect.special import lower_bound, tail

PAGE = (Path(__file__).parents[3] / "docs" / "detectors.md").read_text(encoding="utf-8")
ONE = np.ones(1)


def test_the_worked_example_is_current():
    settings = DetectSettings().shift
    limit = DiscoverySettings().false_per_series_day / 1_440
    total = 0.0
    dip = False
    for clock, bad in (("20:02", 25), ("20:03", 70), ("20:04", 60), ("20:05", 26), ("20:06", 24)):
        gained = gain(np.array([float(bad)]), 5_000 * ONE, 0.005 * ONE, 0.015 * ONE, 2 * ONE)[0]
        total *= 1 - 1 / settings.scales[1].memory_minutes
        total = min(max(0.0, total + min(gained, settings.most_per_minute)), settings.most_evidence)
        chance = min(1.0, len(settings.scales) * exp(-total))
        dip = chance <= limit or (dip and total >= settings.release)
        shown = f"{chance:.1e}" if total else ""
        cells = [clock, bad, f"{gained:.2f}", f"{total:.2f}", shown, "dip" if dip else "ok"]
        assert "| " + " | ".join(str(cell) for cell in cells).replace("|  |", "| |") + " |" in PAGE


def test_the_example_of_the_burn_rate_is_current():
    short = tail(np.array([14.0]), np.array([50.0]), np.array([0.144]))[0]
    assert f"a chance of {short:.4f} at 14.4%; times three rules {3 * short:.3f}" in PAGE
    bound = lower_bound(np.array([120.0]), np.array([600.0]), DetectSettings().burn.confidence)[0]
    assert f"{bound:.1%}" in PAGE.replace("\n", " ")
    # 14.4% is not surely exceeded by 14 of 50, but by 120 of 600.
    assert bound > 0.144 > lower_bound(np.array([14.0]), np.array([50.0]), 0.999)[0]


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_is_explained(verdict):
    assert f"| `{verdict.name.lower()}` |" in PAGE
