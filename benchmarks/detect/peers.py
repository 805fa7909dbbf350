"""Detectors of other libraries on one stream: `python -m benchmarks.detect.peers STREAM.npz ALARMS.npz`, .venv-peers.

STREAM.npz: bad, total (minutes, customers, measures), frozen (minutes, customers), begin (minute from which alarms
count). Each series is given to each detector as its bad of total, minutes without trustworthy data left out, in units
of the standard deviation of what lies before `begin`. Settings: README.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pyod.models.ecod import ECOD
from river.drift import ADWIN, PageHinkley

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LIBRARIES = ("river", "pyod")
LEARNT_MINUTES = 4 * 1_440
"""Of the warm-up given to the detectors of drift: they forget, and take some microseconds a minute."""
# The best window score of a small grid each, on one of the tuning streams.
PAGE_HINKLEY_SIGMAS = 0.5
PAGE_HINKLEY_THRESHOLD = 30.0
ADWIN_DELTA = 1e-8
ECOD_QUANTILE = 0.9999
WINDOWS = (1, 5, 30)
DAY = 1_440


def river_page_hinkley(values: Floats, minutes: npt.NDArray[np.int64], begin: int) -> Bools:
    """Page and Hinkley's sum of what exceeds the running mean by half a standard deviation."""
    detector = PageHinkley(delta=PAGE_HINKLEY_SIGMAS, threshold=PAGE_HINKLEY_THRESHOLD, mode="up")
    return _drift(detector, values, minutes >= begin - LEARNT_MINUTES)


def river_adwin(values: Floats, minutes: npt.NDArray[np.int64], begin: int) -> Bools:
    """Bifet and Gavalda's adaptive window; a drift upwards is an alarm."""
    detector = ADWIN(delta=ADWIN_DELTA)
    alarms = np.zeros(len(values), np.bool_)
    for k in np.flatnonzero(minutes >= begin - LEARNT_MINUTES):
        before = detector.estimation
        detector.update(values[k])
        alarms[k] = detector.drift_detected and detector.estimation > before
    return alarms


def pyod_ecod(values: Floats, minutes: npt.NDArray[np.int64], begin: int) -> Bools:
    """Outliers by empirical tails, over the means of the last 1, 5 and 30 minutes against the same time of day."""
    known = minutes < begin
    if known.sum() < DAY:
        return np.zeros(len(values), np.bool_)
    half_hour = minutes % DAY // 30
    usual = np.bincount(half_hour[known], values[known], 48) / np.maximum(np.bincount(half_hour[known], None, 48), 1)
    residual = values - usual[half_hour]
    sums = np.concatenate([[0.0], np.cumsum(residual)])
    at = np.arange(len(values)) + 1
    features = np.stack([(sums[at] - sums[np.maximum(at - w, 0)]) / np.minimum(at, w) for w in WINDOWS], axis=1)
    model = ECOD().fit(features[known])
    scores = model.decision_function(features)
    raised = features.max(axis=1) > 0
    return np.asarray(raised & (scores > np.quantile(scores[known], ECOD_QUANTILE)))


DETECTORS: dict[str, Callable[[Floats, npt.NDArray[np.int64], int], Bools]] = {
    "river_page_hinkley": river_page_hinkley,
    "river_adwin": river_adwin,
    "pyod_ecod": pyod_ecod,
}


def _drift(detector: PageHinkley, values: Floats, used: Bools) -> Bools:
    alarms = np.zeros(len(values), np.bool_)
    for k in np.flatnonzero(used):
        detector.update(values[k])
        alarms[k] = detector.drift_detected
    return alarms


def main(source: str, target: str) -> int:
    with np.load(source) as stream:
        bad, total, frozen, begin = stream["bad"], stream["total"], stream["frozen"], int(stream["begin"])
    found = {name: np.zeros(bad.shape, np.bool_) for name in DETECTORS}
    for customer in range(bad.shape[1]):
        for measure in range(bad.shape[2]):
            minutes = np.flatnonzero((total[:, customer, measure] > 0) & ~frozen[:, customer])
            ratio = bad[minutes, customer, measure] / total[minutes, customer, measure]
            known = ratio[minutes < begin] if (minutes < begin).sum() > 60 else ratio[:60]
            values = (ratio - known.mean()) / max(float(known.std()), 1e-9)
            for name, detect in DETECTORS.items():
                found[name][minutes, customer, measure] = detect(values, minutes, begin)
    np.savez_compressed(target, **found)
    Path(target).with_suffix(".json").write_text(json.dumps({name: version(name) for name in LIBRARIES}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
