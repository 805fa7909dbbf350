"""Time and memory at the size the localiser is made for."""

from __future__ import annotations

import resource
from time import perf_counter, process_time

import numpy as np
import numpy.typing as npt

from anomaly.localise import localise_counts, localise_ratio

CARDINALITIES = (8, 5, 30, 4, 12, 9, 200, 3000, 50, 7, 6, 40)
MINUTES = 11


def figures(leaves: int, dims: int, rng: np.random.Generator, repeats: int = 3) -> dict[str, object]:
    """Median seconds of a localisation of `leaves` x `dims` with one injected cause, and the process's peak memory.

    Values are skewed as in traffic; one dimension has 3,000 values.
    """
    codes = np.column_stack([rng.choice(n, leaves, p=_zipf(n)).astype(np.int32) for n in CARDINALITIES[:dims]])
    traffic = 3 * np.exp(rng.normal(0, 1.2, leaves))
    rate = np.repeat(0.02 * np.exp(rng.normal(0, 0.3, leaves))[:, None], MINUTES, axis=1)
    total = rng.poisson(np.repeat(traffic[:, None], MINUTES, axis=1))
    rate[(codes[:, 0] == 1) & (codes[:, 2] == 2), -1] += 0.25
    bad = rng.binomial(total, np.minimum(rate, 0.9))
    del rate, traffic
    before = _peak_mb()
    seconds, cpu_seconds = [], []
    for _ in range(repeats):
        start, cpu_start = perf_counter(), process_time()
        result = localise_ratio(codes, bad, total, MINUTES - 1)
        seconds.append(perf_counter() - start)
        cpu_seconds.append(process_time() - cpu_start)
    return {
        "leaves": leaves,
        "dims": dims,
        "seconds_median": round(float(np.median(seconds)), 2),
        "cpu_seconds_median": round(float(np.median(cpu_seconds)), 2),
        "peak_mb": round(_peak_mb()),
        "peak_mb_before": round(before),
        "found": [c.where for c in result.answer] == [((0, 1), (2, 2))],
    }


def count_figures(leaves: int, dims: int, rng: np.random.Generator) -> dict[str, object]:
    """Processor seconds of one localisation of counts per kind of noise: normal of 5%, and skewed upwards.

    The same columns as for ratios; the one injected cause has half as much again as its forecast.
    """
    codes = np.column_stack([rng.choice(n, leaves, p=_zipf(n)).astype(np.int32) for n in CARDINALITIES[:dims]])
    forecast = rng.uniform(50, 150, leaves)
    cause = ((0, 1), (2, 2))
    inside = (codes[:, 0] == 1) & (codes[:, 2] == 2)
    noises = {"normal": rng.normal(0, 0.05, leaves), "skewed": rng.exponential(0.3, leaves) - 0.3}
    found: dict[str, object] = {"leaves": leaves, "dims": dims}
    for name, noise in noises.items():
        real = forecast * np.exp(noise) * np.where(inside, 1.5, 1.0)
        start = process_time()
        result = localise_counts(codes, real, forecast)
        found[name] = {
            "cpu_seconds": round(process_time() - start, 2),
            "found": [c.where for c in result.answer] == [cause],
            "named": len(result.answer),
        }
    found["peak_mb"] = round(_peak_mb())
    return found


def _zipf(n: int) -> npt.NDArray[np.float64]:
    weight: npt.NDArray[np.float64] = 1.0 / np.arange(1, n + 1)
    return weight / float(weight.sum())


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
