"""Cross-validation: for every split the settings are chosen anew on the other cases, and scored on the held-out ones.

The difference to the score of the fixed settings tells how much of that score is owed to having seen the cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.localise import RatioSettings
from benchmarks.localise.cases import Case, Settings
from benchmarks.localise.score import Outcome, f1, outcomes

RATIO_CHOICES: dict[str, tuple[float, ...]] = {
    "leaf_weight": (1.0, 2.0, 3.0, 5.0, 10.0),
    "value_weight": (5.0, 10.0, 20.0, 50.0),
    "leaf_variance": (0.002, 0.004, 0.008, 0.015, 0.03),
    "least_degree": (0.3, 0.4, 0.5, 0.6, 0.7),
    "order_cost": (0.0, 0.25, 0.5, 1.0),
    "extra_min_share": (0.05, 0.15, 0.3),
    "extra_cost": (0.05, 0.1, 0.15, 0.2),
    "min_support_share": (0.01, 0.05, 0.1),
    "min_cause_share": (0.05, 0.1, 0.15, 0.2),
    "min_gain_share": (0.05, 0.12, 0.2),
}
COUNT_CHOICES: dict[str, tuple[float, ...]] = {
    "min_gain": (1.0, 3.0, 6.0, 10.0),
    "min_noise": (0.003, 0.01, 0.03),
    "outlier_sigmas": (4.0, 5.0, 6.0),
    "min_outlier_share": (1e-10, 1e-8, 1e-5, 1e-3),
}


def settings_to_try(fixed: Settings, count: int, rng: np.random.Generator) -> list[Settings]:
    """The fixed settings and `count` others, every number drawn from its choices."""
    tried = [fixed]
    for _ in range(count):
        choices = RATIO_CHOICES if isinstance(fixed, RatioSettings) else COUNT_CHOICES
        drawn: dict[str, Any] = {name: float(rng.choice(values)) for name, values in choices.items()}
        tried.append(replace(fixed, **drawn))
    return tried


def cross_validated(
    cases: Sequence[Case], fixed: Settings, *, tries: int, folds: int, repeats: int, rng: np.random.Generator
) -> dict[str, object]:
    """Mean and range over `repeats` random partitions into `folds`; the fixed settings get no preference over others
    that score the same on the training cases."""
    table = [outcomes(cases, s) for s in settings_to_try(fixed, tries, rng)]
    scores = [_one_partition(table, rng.permutation(len(cases)) % folds, rng) for _ in range(repeats)]
    return {
        "f1_mean": round(float(np.mean(scores)), 3),
        "f1_range": [round(min(scores), 3), round(max(scores), 3)],
        "settings_tried": len(table),
        "f1_of_settings_median": round(float(np.median([f1(row) for row in table])), 3),
        "folds": folds,
        "repeats": repeats,
    }


def _one_partition(table: list[list[Outcome]], fold: npt.NDArray[np.int64], rng: np.random.Generator) -> float:
    held_out: list[Outcome] = []
    for part in range(int(fold.max()) + 1):
        training, test = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
        trained = [f1([row[i] for i in training]) for row in table]
        best = np.flatnonzero(np.array(trained) >= max(trained) - 1e-12)
        chosen = table[int(rng.choice(best))]
        held_out += [chosen[i] for i in test]
    return f1(held_out)
