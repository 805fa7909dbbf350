"""Labelled cases from a folder: `labels.json` and `cases/`, each case a CSV or Parquet table.

A label is `{"case": file, "causes": [{dimension: value}, ...]}`, for ratios with `"at"`, the bad moment.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomaly.localise import CountSettings, Localisation, RatioSettings, localise_counts, localise_ratio
from dipper.localise_input import Dimensions, read_count_case, read_ratio_case

Settings = RatioSettings | CountSettings
Cell = frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Columns:
    bad: str = "value"
    total: str = "cnt"
    time: str = "min"
    real: str = "real"
    forecast: str = "predict"


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    causes: tuple[Cell, ...]
    codes: Any
    """(n_leaves, n_dims)."""
    answer: Callable[[Any], Localisation]
    """Settings -> answer."""
    excess: Any
    """(n_leaves,): bad or real counts now beyond a simple expectation; for baselines."""


def read_folder(folder: Path, columns: Columns) -> tuple[str, list[Case]]:
    """("ratio" or "counts", cases). Raises CaseError for what cannot be read."""
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    is_ratio = "at" in labels[0]
    read = _ratio_case if is_ratio else _count_case
    return ("ratio" if is_ratio else "counts"), [read(folder / "cases" / x["case"], x, columns) for x in labels]


def _cells(causes: list[dict[str, str]], dimensions: Dimensions) -> tuple[Cell, ...]:
    """Labels in codes; a value that the case does not have gets code -1 and can only be missed."""
    cells = []
    for cause in causes:
        pairs = set()
        for name, value in cause.items():
            dim = dimensions.names.index(name)
            known = dimensions.values[dim]
            pairs.add((dim, known.index(value) if value in known else -1))
        cells.append(frozenset(pairs))
    return tuple(cells)


def _ratio_case(path: Path, label: dict[str, Any], columns: Columns) -> Case:
    case = read_ratio_case(str(path), label["at"], columns.bad, columns.total, columns.time, ())
    codes, moment = case.dimensions.codes, len(case.minutes) - 1
    before = case.bad[:, :moment].sum(), max(1, case.total[:, :moment].sum())
    return Case(
        label["case"],
        _cells(label["causes"], case.dimensions),
        codes,
        lambda settings: localise_ratio(codes, case.bad, case.total, moment, settings),
        case.bad[:, moment] - case.total[:, moment] * before[0] / before[1],
    )


def _count_case(path: Path, label: dict[str, Any], columns: Columns) -> Case:
    case = read_count_case(str(path), columns.real, columns.forecast, ())
    return Case(
        label["case"],
        _cells(label["causes"], case.dimensions),
        case.dimensions.codes,
        lambda settings: localise_counts(case.dimensions.codes, case.real, case.forecast, settings),
        abs(case.real - case.forecast),
    )
