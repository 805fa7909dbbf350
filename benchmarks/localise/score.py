"""Exact-match scoring: a named combination is right when it equals a labelled one, same dimensions, same values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter, process_time

import numpy as np

from anomaly.localise import Localisation
from benchmarks.localise.cases import Case, Cell, Settings

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one case gave."""

    hits: int
    wrong: int
    missed: int
    single: bool
    """Whether it has exactly one labelled cause."""
    in_top3: bool
    """Whether that one is among the first three."""
    verdict: str
    seconds: float
    cpu_seconds: float


def score(
    truth: Sequence[Cell],
    answer: Sequence[Cell],
    ranked: Sequence[Cell],
    verdict: str,
    seconds: float,
    cpu_seconds: float = 0.0,
) -> Outcome:
    """Outcome of an answer and the ranked list it heads."""
    hits = len(set(truth) & set(answer))
    single = len(truth) == 1
    in_top3 = single and truth[0] in ranked[:3]
    return Outcome(hits, len(answer) - hits, len(truth) - hits, single, in_top3, verdict, seconds, cpu_seconds)


def cells_of(result: Localisation) -> tuple[list[Cell], list[Cell]]:
    """(answer, all ranked) of a localisation."""
    return [frozenset(c.where) for c in result.answer], [frozenset(c.where) for c in result.causes]


def outcomes(cases: Sequence[Case], settings: Settings) -> list[Outcome]:
    """The localiser on every case; time without reading the file."""
    return [timed(case.causes, partial(case.answer, settings)) for case in cases]


def timed(truth: Sequence[Cell], localise: Callable[[], Localisation]) -> Outcome:
    """Outcome of a call, with wall-clock and processor time."""
    start, cpu_start = perf_counter(), process_time()
    result = localise()
    seconds, cpu_seconds = perf_counter() - start, process_time() - cpu_start
    return score(truth, *cells_of(result), result.verdict.value, seconds, cpu_seconds)


def f1(found: Sequence[Outcome]) -> float:
    """2 TP / (2 TP + FP + FN); nothing named and nothing to name counts as 0."""
    hits = sum(o.hits for o in found)
    return 2 * hits / max(1, 2 * hits + sum(o.wrong + o.missed for o in found))


def figures(found: Sequence[Outcome], rng: np.random.Generator) -> dict[str, object]:
    """What the benchmark prints; the interval of F1 is a bootstrap over cases."""
    singles = [o for o in found if o.single]
    resampled = [f1([found[i] for i in rng.integers(len(found), size=len(found))]) for _ in range(RESAMPLES)]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {
        "cases": len(found),
        "f1": round(f1(found), 3),
        "f1_95": [round(float(low), 3), round(float(high), 3)],
        "top3": round(sum(o.in_top3 for o in singles) / len(singles), 3) if singles else None,
        "verdicts": dict(sorted(Counter(o.verdict for o in found).items())),
        "ms_median": round(1000 * median(o.seconds for o in found), 1),
        "cpu_ms_median": round(1000 * median(o.cpu_seconds for o in found), 1),
        "ms_max": round(1000 * max(o.seconds for o in found), 1),
    }


def null_baseline(cases: Sequence[Case]) -> list[Outcome]:
    """Names nothing: the floor of F1."""
    return [score(case.causes, (), (), "none", 0.0) for case in cases]


def random_baseline(cases: Sequence[Case], rng: np.random.Generator, max_order: int) -> list[Outcome]:
    """Three combinations of a random leaf each, the first of them the answer."""
    found = []
    for case in cases:
        ranked = []
        for _ in range(3):
            leaf = case.codes[rng.integers(len(case.codes))]
            order = int(rng.integers(1, min(max_order, len(leaf)) + 1))
            dims = rng.choice(len(leaf), order, replace=False)
            ranked.append(frozenset((int(d), int(leaf[d])) for d in dims))
        found.append(score(case.causes, ranked[:1], ranked, "random", 0.0))
    return found


def largest_baseline(cases: Sequence[Case]) -> list[Outcome]:
    """What a dashboard sorted by excess shows: the three single values with most of it, the first the answer."""
    found = []
    for case in cases:
        sums = [
            (float(excess), dim, value)
            for dim in range(case.codes.shape[1])
            for value, excess in enumerate(np.bincount(case.codes[:, dim], case.excess))
        ]
        ranked: list[Cell] = [frozenset({(dim, value)}) for _, dim, value in sorted(sums, reverse=True)[:3]]
        found.append(score(case.causes, ranked[:1], ranked, "largest", 0.0))
    return found
