"""How long questions of the explore page take with a month of many customers stored.

    python -m benchmarks.explore --seed 1 [--customers 200] [--cells 40] [--days 30] [--questions 300]

Cells are made by the engine itself from the seed: per customer and hour `cells` of them with histograms of 12 cells,
each present in every hour; their minutes for the last two days, half as many a minute (a question whose steps are below
an hour spans at most two days, so older minutes are never read); and their days. Before anything is timed, the answers
of one question from days and from hours must agree. Then questions are drawn from a fixed mix of measures,
dimensions, filters, spans and steps as the page asks them, one after another, each new to the engine's result caches
(there are none). Writes results/explore.json and prints it.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import write_result
from contracts.columns import CELL_DIMENSIONS, COUNT_NAMES
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from history import rollups
from history.chdb_store import ChdbStore
from history.query_cells import MEASURES, WITH_THRESHOLD, CellQuestion, cells

START = 1_700_000_000_000 // DAY_MS * DAY_MS
GOAL_P95_S = 0.5
CARDINALITY = {"app": 2, "client_isp": 5, "client_region": 31, "sched_rule": 20, "device_isp": 4}
CARDINALITY |= {"device_region": 31, "nat_type": 4, "cohort": 3, "model": 3, "firmware": 4}
THRESHOLD = {"slow_requests": 400.0, "low_throughput": 900.0}
# (span, step) as the page chooses them; None: table and heat map, one figure for the whole span.
SPANS = (
    (HOUR_MS, MINUTE_MS),
    (6 * HOUR_MS, 5 * MINUTE_MS),
    (DAY_MS, HOUR_MS),
    (7 * DAY_MS, 6 * HOUR_MS),
    (30 * DAY_MS, DAY_MS),
    (HOUR_MS, None),
    (DAY_MS, None),
    (30 * DAY_MS, None),
)


def fill(store: ChdbStore, options: argparse.Namespace) -> int:
    """Store the cells; returns the end of time."""
    end = START + options.days * DAY_MS
    hours = options.customers * options.cells
    for day in range(options.days):
        for first in range(0, 24, 6):
            _insert(store, "cell_hours", "hour", START + day * DAY_MS + first * HOUR_MS, HOUR_MS, 6, hours, options)
        store.execute(rollups.CELL_DAYS, {"start": START + day * DAY_MS, "version": 2})
    for first in range(0, min(2, options.days) * 1440, 60):
        at = end - min(2, options.days) * DAY_MS + first * MINUTE_MS
        _insert(store, "cell_minutes", "minute", at, MINUTE_MS, 60, hours // 2, options)
    return end


def _insert(
    store: ChdbStore, table: str, column: str, start: int, width: int, n: int, per: int, options: argparse.Namespace
) -> None:
    """`per` cells in each of `n` steps. A cell's dimensions come from a hash of its number, its counts from time."""
    half = options.cells // (1 if table == "cell_hours" else 2)
    dims = [f"concat('customer-', toString(intDiv(k, {half})))", "concat('service-', toString(k % 2))"]
    dims += [
        f"concat('{name}-', toString(cityHash64(k % {half}, '{name}', {options.seed}) % {size}))"
        for name, size in CARDINALITY.items()
    ]
    assert len(dims) == len(CELL_DIMENSIONS)
    scale = width // MINUTE_MS
    q = f"toInt64((20 + h % 30) * {scale})"
    bad = f"toInt64((h % 7 = 0) * {scale})"
    counts = dict.fromkeys(COUNT_NAMES, "toInt64(0)")
    counts |= {"requests": q, "s2xx": f"{q} - {bad}", "s5xx": bad, "f_server": bad, "bytes": f"{q} * 50000"}
    counts |= {"cache_hits": f"intDiv({q}, 2)", "sessions": f"intDiv({q}, 4)", "stalled_sessions": bad}
    histogram = "range(toUInt8(30 + h % 8), toUInt8(42 + h % 8)) AS {0}, arrayMap(x -> toUInt64(2), {0})"
    names = ", ".join((column, *CELL_DIMENSIONS, *COUNT_NAMES, *rollups.HISTOGRAM_PARTS, "version"))
    store.execute(
        f"INSERT INTO {table} ({names}) SELECT {start} + intDiv(number, {per}) * {width}, {', '.join(dims)},"
        f" {', '.join(counts[name] for name in COUNT_NAMES)}, {histogram.format('a')}, {histogram.format('b')}, 1"
        f" FROM (SELECT number, number % {per} AS k, cityHash64(number, {start}) AS h FROM numbers({n * per}))"
    )


def agree(store: ChdbStore, end: int) -> None:
    """One day's answer from its row, its hours, and by hand from the engine: the same."""
    day = CellQuestion("failures", end - 3 * DAY_MS, end - 2 * DAY_MS, by=("firmware",))
    rolled = cells(store, day)
    hours = cells(store, CellQuestion(day.measure, day.start, day.end, by=day.by, step_ms=HOUR_MS))
    sums: dict[tuple[str, ...], int] = {}
    for key, value in zip(hours.keys, hours.value, strict=True):
        sums[key] = sums.get(key, 0) + int(value)
    if (rolled.sources, hours.sources) != (("cell_days",), ("cell_hours",)):
        raise SystemExit(f"expected answers from days and hours, got {rolled.sources}, {hours.sources}")
    if sums != dict(zip(rolled.keys, rolled.value, strict=True)):
        raise SystemExit("hours and days disagree")


def questions(rng: random.Random, end: int, options: argparse.Namespace) -> list[CellQuestion]:
    """A fixed mix, drawn by seed."""
    drawn = []
    for _ in range(options.questions):
        span, step = rng.choice(SPANS)
        measure = rng.choice(MEASURES)
        by = tuple(rng.sample([d for d in CELL_DIMENSIONS if d != "customer"], rng.choice((0, 1, 1, 2))))
        if step is not None:
            by = by[:1]
        where = {"customer": (f"customer-{rng.randrange(options.customers)}",)} if rng.random() < 0.5 else {}
        if not where and rng.random() < 0.3:
            by = ("customer",)
        drawn.append(
            CellQuestion(
                measure, end - span, end, by=by, where=where, step_ms=step,
                threshold=THRESHOLD[measure] if measure in WITH_THRESHOLD else None,
            )
        )  # fmt: skip
    return drawn


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Fill, prove, ask; the figures."""
    store = ChdbStore(folder / "history", memory_limit_bytes=2_000 * 2**20)
    end = fill(store, options)
    agree(store, end)
    took: dict[str, list[float]] = {}
    everything = []
    for question in questions(random.Random(options.seed), end, options):
        begin = time.perf_counter()
        answer = cells(store, question)
        passed = time.perf_counter() - begin
        kind = "quantile" if question.measure.startswith("latency") else "histogram" if question.threshold else "sum"
        days = (question.end - question.start) / DAY_MS
        shape = "whole" if question.step_ms is None else "steps"
        scope = "one customer" if question.where else "all customers"
        took.setdefault(f"{kind}, {days:.2g} d, {shape}, {scope}", []).append(passed)
        everything.append(passed)
        if not answer.value:
            raise SystemExit(f"no answer to {question}")
    sizes = store.query(
        "SELECT table, sum(rows) AS n, sum(bytes_on_disk) AS size, count() AS parts FROM system.parts"
        " WHERE active AND table LIKE 'cell_%' GROUP BY table"
    )
    stored = {t: [n, s, p] for t, n, s, p in zip(*sizes.values(), strict=True)}
    store.close()
    return {
        "customers": options.customers,
        "days": options.days,
        "cells_per_customer_hour": options.cells,
        "rows_bytes_parts": stored,
        "questions": len(everything),
        "query_p50_s": quantile(everything, 0.5),
        "query_p95_s": quantile(everything, 0.95),
        "query_max_s": max(everything),
        "query_p95_s_by_kind": {name: quantile(times, 0.95) for name, times in sorted(took.items())},
    }


def quantile(values: list[float], q: float) -> float:
    """Nearest rank."""
    return float(np.quantile(np.array(values), q, method="inverted_cdf"))


def main() -> None:
    """Run, write, judge against the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = (("seed", 1), ("customers", 200), ("cells", 40), ("days", 30), ("questions", 300))
    for name, default in defaults:
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = run(options, Path(folder))
    figures["goals"] = {"query_p95_s_below": GOAL_P95_S, "met": figures["query_p95_s"] < GOAL_P95_S}
    write_result("explore", figures, ("chdb", "pyarrow", "numpy"))


if __name__ == "__main__":
    main()
