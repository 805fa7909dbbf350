"""`python -m benchmarks.localise`: generated incidents and scale; with --cases FOLDER, labelled cases instead."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np

from anomaly.localise import CountSettings, RatioSettings, localise_ratio
from benchmarks.common import write_result
from benchmarks.localise import scale, score, tuning
from benchmarks.localise.cases import Columns, read_folder
from benchmarks.localise.generate import HISTORY, KINDS, incidents
from dipper.localise_input import CaseError

EXCESSES = (0.01, 0.1)
CLEAN_TIMES = 5
"""Clean minutes per generated incident of another kind: their rate of false causes is to stay under 1%."""
PACKAGES = ("numpy", "pyarrow")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.localise", description=__doc__)
    parser.add_argument("--cases", type=Path, metavar="FOLDER", help="folder with labels.json and cases/")
    parser.add_argument("--name", help="name of the result (default: of the folder, or localise-generated)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100, help="generated incidents per kind and size (default 100)")
    parser.add_argument("--tries", type=int, default=80, help="settings tried in cross-validation (default 80)")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=20)
    for column in fields(Columns):
        parser.add_argument(f"--{column.name}", default=column.default, metavar="COLUMN", help=f"({column.default})")
    args = parser.parse_args(argv)
    if args.cases is None:
        write_result(args.name or "localise-generated", generated(args.count, args.seed), PACKAGES)
        return 0
    columns = Columns(**{column.name: getattr(args, column.name) for column in fields(Columns)})
    try:
        figures = labelled(args.cases, columns, args)
    except (CaseError, OSError) as error:
        print(f"benchmarks.localise: {error}", file=sys.stderr)
        return 2
    write_result(args.name or f"localise-{args.cases.name}", figures, PACKAGES)
    return 0


def labelled(folder: Path, columns: Columns, args: argparse.Namespace) -> dict[str, object]:
    """Fixed settings, cross-validated settings and baselines on a folder of cases."""
    rng = np.random.default_rng(args.seed)
    kind, cases = read_folder(folder, columns)
    fixed = RatioSettings() if kind == "ratio" else CountSettings()
    score.outcomes(cases[:3], fixed)
    return {
        "fixed": score.figures(score.outcomes(cases, fixed), rng),
        "cross_validated": tuning.cross_validated(
            cases, fixed, tries=args.tries, folds=args.folds, repeats=args.repeats, rng=rng
        ),
        "null": score.figures(score.null_baseline(cases), rng),
        "random": score.figures(score.random_baseline(cases, rng, fixed.max_order), rng),
        "largest_value": score.figures(score.largest_baseline(cases), rng),
    }


def generated(count: int, seed: int) -> dict[str, object]:
    """Every kind of incident at every size, and the scale test."""
    rng = np.random.default_rng(seed)
    found: dict[str, object] = {}
    for excess in EXCESSES:
        with_cause: list[score.Outcome] = []
        for kind in KINDS:
            size = count * CLEAN_TIMES if kind == "clean" else count
            results = _outcomes(kind, excess, size, seed)
            if kind in ("single", "several"):
                with_cause += results
                found[f"{kind}_{excess:g}"] = score.figures(results, rng)
            else:
                named = sum(o.wrong > 0 for o in results)
                found[f"{kind}_{excess:g}"] = {
                    "cases": size,
                    "named_share": round(named / size, 4),
                    "verdicts": score.figures(results, rng)["verdicts"],
                }
        found[f"f1_{excess:g}"] = round(score.f1(with_cause), 3)
    found["scale"] = scale.figures(200_000, 10, rng)
    found["scale_counts"] = scale.count_figures(200_000, 10, rng)
    return found


def _outcomes(kind: str, excess: float, count: int, seed: int) -> list[score.Outcome]:
    results = []
    for incident in incidents(kind, excess, count, seed):
        truth = [frozenset(cause) for cause in incident.causes]
        localise = partial(localise_ratio, incident.codes, incident.bad, incident.total, HISTORY)
        results.append(score.timed(truth, localise))
    return results


if __name__ == "__main__":
    sys.exit(main())
