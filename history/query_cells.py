"""Any measure by any dimensions over any time, from cells of dimensions rolled up by minute, hour and day (no device).

A question is validated when it is made; names are then declared columns, and values are parameters. What is not
rolled up yet (the running hour, for one) is read from finer cells, so an answer reaches to the newest minute that has
ended. Days are those of UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from contracts.columns import CELL_DIMENSIONS
from contracts.errors import ContractError
from contracts.histogram import COMPUTE_SERVICE, THROUGHPUT_BASE_KB_PER_S, latency_base_ms, threshold_cell
from contracts.protocols import Store
from contracts.times import DAY_MS, HOUR_MS, MAX_TIME_MS, MINUTE_MS
from history.quantiles import dense, quantiles
from history.rollups import FAILURES

RATIOS = ("failures", "slow_requests", "stalled_sessions", "low_throughput", "cache_misses")
RATES = ("requests", "bytes", "sessions")
QUANTILES = {"latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99}
MEASURES = (*RATIOS, *RATES, *QUANTILES)
WITH_THRESHOLD = ("slow_requests", "low_throughput")
OF_LATENCY = ("slow_requests", *QUANTILES)
NOT_OF_COMPUTE = (*OF_LATENCY, "cache_misses")  # tasks have no cache, and their durations never mix with latency
STEPS_MS = tuple(
    minutes * MINUTE_MS for minutes in (1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1440)
)  # each divides a day, so a grid of steps meets hours and days
MAX_STEPS = 750
FINE_SPAN_MS = 2 * DAY_MS  # steps below an hour read every cell-minute: no longer spans than this
MAX_DIMENSIONS = 2
MAX_VALUES = 200
MAX_SPAN_MS = 400 * DAY_MS
MAX_ROWS = 60_000
QUANTILE_CELLS = 10  # rows read per figure of a quantile, at most on average
_BAD = "bad_query"

# ruff: noqa: S608 - every name in these statements is a declared column; values are parameters.
_COUNTS: Mapping[str, tuple[str, str]] = {
    "failures": (FAILURES, "requests"),
    "slow_requests": (
        "toInt64(arraySum((c, n) -> n * (c >= {cell:UInt8}), latency_cell, latency_count))",
        "toInt64(arraySum(latency_count))",
    ),
    "stalled_sessions": ("stalled_sessions", "sessions"),
    "low_throughput": (
        "toInt64(arraySum((c, n) -> n * (c < {cell:UInt8}), throughput_cell, throughput_count))",
        "toInt64(arraySum(throughput_count))",
    ),
    "cache_misses": ("requests - cache_hits", "requests"),
    "requests": ("requests", "0"),
    "bytes": ("bytes", "0"),
    "sessions": ("sessions", "0"),
}
_TIERS = (("cell_days", "day", DAY_MS), ("cell_hours", "hour", HOUR_MS), ("cell_minutes", "minute", MINUTE_MS))
_ROLLED = "SELECT DISTINCT {column} AS at FROM {table} WHERE {column} >= {{start:Int64}} AND {column} < {{end:Int64}}"


@dataclass(frozen=True, slots=True)
class CellQuestion:
    """`measure` of MEASURES by up to two dimensions `by` in [start, end), in steps of `step_ms` (of STEPS_MS; None: one
    figure for the whole span). `where`: values to keep per dimension; `without`: combinations to take out. `threshold`:
    ms for slow_requests, kB/s for low_throughput, else None; it acts at the nearest bound of the histogram. Raises
    ContractError `bad_query` naming the field."""

    measure: str
    start: int
    end: int
    by: tuple[str, ...] = ()
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    without: tuple[Mapping[str, str], ...] = ()
    step_ms: int | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise ContractError(_BAD, "measure", f"one of {', '.join(MEASURES)}", self.measure)
        self._check_span()
        self._check_dimensions()
        needs = self.measure in WITH_THRESHOLD
        if needs and not (self.threshold is not None and 0 < self.threshold < 1e9):
            raise ContractError(_BAD, "threshold", f"a number above 0 for {self.measure}", self.threshold)
        if not needs and self.threshold is not None:
            raise ContractError(_BAD, "threshold", f"none for {self.measure}", self.threshold)

    def _check_span(self) -> None:
        if not 0 <= self.start < self.end <= MAX_TIME_MS or (self.start % MINUTE_MS or self.end % MINUTE_MS):
            raise ContractError(_BAD, "start, end", "whole minutes, start before end", (self.start, self.end))
        span = self.end - self.start
        if span > MAX_SPAN_MS:
            raise ContractError(_BAD, "start, end", f"at most {MAX_SPAN_MS // DAY_MS} days", span // DAY_MS)
        if self.step_ms is None:
            return
        if self.step_ms not in STEPS_MS or self.start % self.step_ms:
            expected = f"minutes among {', '.join(str(s // MINUTE_MS) for s in STEPS_MS)} that divide the start"
            raise ContractError(_BAD, "step", expected, self.step_ms / MINUTE_MS)
        if span > MAX_STEPS * self.step_ms:
            raise ContractError(_BAD, "step", f"at most {MAX_STEPS} steps", -(-span // self.step_ms))
        if self.step_ms < HOUR_MS and span > FINE_SPAN_MS:
            raise ContractError(_BAD, "step", "an hour or more beyond 2 days", f"{self.step_ms // MINUTE_MS} min")

    def _check_dimensions(self) -> None:
        if len(self.by) > MAX_DIMENSIONS or len(set(self.by)) < len(self.by):
            raise ContractError(_BAD, "by", f"at most {MAX_DIMENSIONS} different dimensions", ", ".join(self.by))
        named = [("by", d) for d in self.by] + [("where", d) for d in self.where]
        named += [("without", d) for combination in self.without for d in combination]
        for path, dimension in named:
            if dimension not in CELL_DIMENSIONS:
                raise ContractError(_BAD, path, f"one of {', '.join(CELL_DIMENSIONS)}", dimension)
        for dimension, values in self.where.items():
            if not 1 <= len(values) <= MAX_VALUES:
                raise ContractError(_BAD, f"where.{dimension}", f"1 to {MAX_VALUES} values", len(values))
        if len(self.without) > MAX_VALUES or not all(self.without):
            raise ContractError(_BAD, "without", f"at most {MAX_VALUES} combinations, none empty", len(self.without))

    @property
    def of_compute(self) -> bool:
        """Whether latency means duration of tasks: only when compute alone is asked for; the two never mix."""
        return tuple(self.where.get("service", ())) == (COMPUTE_SERVICE,)

    @property
    def steps(self) -> int:
        """How many steps; 1 without any."""
        return 1 if self.step_ms is None else -(-(self.end - self.start) // self.step_ms)


@dataclass(frozen=True, slots=True)
class Statement:
    """What is sent to the engine."""

    sql: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CellAnswer:
    """Columns of one length, one row per combination of `by` and step with data, unordered. `value`: bad of a ratio,
    sum of a rate, quantile in ms. `total`: what a ratio is of, how many requests a quantile is of; 0 for rates.
    `sources`: tables read."""

    question: CellQuestion
    keys: tuple[tuple[str, ...], ...]
    step: tuple[int, ...]
    value: tuple[float, ...]
    total: tuple[int, ...]
    sources: tuple[str, ...]
    statement: Statement


Span = tuple[int, int]


def cells(store: Store, question: CellQuestion) -> CellAnswer:
    """The answer. Raises ContractError when it has more than MAX_ROWS rows, StoreError when history is away."""
    spans = plan(store, question)
    statement = statement_of(question, spans)
    found = pa.table(store.query_arrow(statement.sql, statement.parameters))
    if found.num_rows > MAX_ROWS * (QUANTILE_CELLS if question.measure in QUANTILES else 1):
        raise ContractError(_BAD, "by", f"at most {MAX_ROWS} figures; filter, or take longer steps", found.num_rows)
    columns = {name: found[name].to_pylist() for name in (*question.by, "i")}
    keys = list(zip(*(columns[d] for d in question.by), strict=True)) if question.by else [()] * found.num_rows
    sources = tuple(table for table in spans if spans[table])
    if question.measure in QUANTILES:
        return _quantiles(question, keys, found, sources, statement)
    value, total = found["value"].to_pylist(), found["total"].to_pylist()
    return CellAnswer(question, tuple(keys), tuple(columns["i"]), tuple(value), tuple(total), sources, statement)


def _quantiles(
    question: CellQuestion, keys: Sequence[tuple[str, ...]], found: Any, sources: tuple[str, ...], statement: Statement
) -> CellAnswer:
    """From rows of (key, step, cell, how many)."""
    place: dict[tuple[tuple[str, ...], int], int] = {}
    group = [place.setdefault(pair, len(place)) for pair in zip(keys, found["i"].to_pylist(), strict=True)]
    cell, count = (found[name].to_numpy().astype(np.int64) for name in ("cell", "total"))
    histograms = dense(len(place), np.array(group, np.int64), cell, count)
    base = latency_base_ms(COMPUTE_SERVICE if question.of_compute else "")
    value = quantiles(histograms, [QUANTILES[question.measure]], base)[:, 0]
    return CellAnswer(
        question,
        tuple(key for key, _ in place),
        tuple(step for _, step in place),
        tuple(float(v) for v in value),
        tuple(int(n) for n in histograms.sum(axis=1)),
        sources,
        statement,
    )


def values_of(store: Store, dimension: str, start: int, end: int, customer: str | None = None) -> list[str]:
    """Values of a dimension with traffic in [start, end), most traffic first, at most MAX_VALUES: to choose from."""
    where = {"customer": (customer,)} if customer else {}
    answer = cells(store, CellQuestion("requests", start, end, by=(dimension,), where=where))
    ranked = sorted(zip(answer.value, answer.keys, strict=True), key=lambda pair: (-pair[0], pair[1]))
    return [key[0] for _, key in ranked[:MAX_VALUES]]


def plan(store: Store, question: CellQuestion, widest_ms: int = DAY_MS) -> dict[str, list[Span]]:
    """Which spans to read from which table: the coarsest that fits the steps, is no wider than `widest_ms` and is
    rolled up."""
    window = {"start": question.start, "end": question.end}
    spans: dict[str, list[Span]] = {}
    rest = [(question.start, question.end)]
    for table, column, width in _TIERS[:-1]:
        fits = question.step_ms is None or question.step_ms % width == 0
        if not fits or width > widest_ms or question.end - question.start < width:
            spans[table] = []
            continue
        rolled = set(store.query(_ROLLED.format(table=table, column=column), window)["at"])
        spans[table], rest = _split(rest, rolled, width)
    spans["cell_minutes"] = rest
    return spans


def _split(spans: Sequence[Span], rolled: set[int], width: int) -> tuple[list[Span], list[Span]]:
    """What of spans is whole and rolled up, and what remains; neighbours are joined."""
    taken: list[Span] = []
    rest: list[Span] = []
    for start, end in spans:
        at = start
        for whole in range(-(-start // width) * width, end - width + 1, width):
            if whole not in rolled:
                continue
            if at < whole:
                rest.append((at, whole))
            if taken and taken[-1][1] == whole:
                taken[-1] = taken[-1][0], whole + width
            else:
                taken.append((whole, whole + width))
            at = whole + width
        if at < end:
            rest.append((at, end))
    return taken, rest


def statement_of(question: CellQuestion, spans: Mapping[str, Sequence[Span]]) -> Statement:
    """The statement that reads these spans."""
    parameters: dict[str, Any] = {}
    condition = where_clause(question, parameters)
    histogram = question.measure in QUANTILES
    columns = "latency_cell, latency_count" if histogram else measure_columns(question, parameters)
    dimensions = "".join(f"{d}, " for d in question.by)
    step = "0"
    if question.step_ms is not None:
        parameters |= {"start": question.start, "step": question.step_ms}
        step = "intDiv(at - {start:Int64}, {step:Int64})"
    body = union_of(spans, f"{dimensions}{columns}", condition, parameters)
    if histogram:
        sql = (
            f"SELECT {dimensions}{step} AS i, cell, toInt64(sum(n)) AS total FROM (\n{body}\n)\n"
            "ARRAY JOIN latency_cell AS cell, latency_count AS n\n"
            f"GROUP BY {dimensions}i, cell LIMIT {MAX_ROWS * QUANTILE_CELLS + 1}"
        )
    else:
        sql = (
            f"SELECT {dimensions}{step} AS i, sum(bad) AS value, sum(of) AS total FROM (\n{body}\n)\n"
            f"GROUP BY {dimensions}i LIMIT {MAX_ROWS + 1}"
        )
    return Statement(sql, parameters)


def union_of(spans: Mapping[str, Sequence[Span]], columns: str, condition: str, parameters: dict[str, Any]) -> str:
    """A union of `at` (ms) and columns of what these spans hold, as of `plan`; adds their parameters. `condition`: more
    of it, as of `where_clause`."""
    parts: list[str] = []
    for table, column, _ in _TIERS:
        for start, end in spans.get(table, ()):
            first, last = f"a{len(parts)}", f"z{len(parts)}"
            parameters |= {first: start, last: end}
            parts.append(
                f"SELECT {column} AS at, {columns} FROM {table} FINAL\n"
                f"WHERE {column} >= {{{first}:Int64}} AND {column} < {{{last}:Int64}}{condition}"
            )
    return "\nUNION ALL\n".join(parts)


def measure_columns(question: CellQuestion, parameters: dict[str, Any]) -> str:
    """Columns `bad` and `of` per row of a ratio or rate; adds their parameters."""
    if question.measure in WITH_THRESHOLD:
        parameters["cell"] = _threshold_cell(question)
    bad, total = _COUNTS[question.measure]
    return f"{bad} AS bad, {total} AS of"


def where_clause(question: CellQuestion, parameters: dict[str, Any]) -> str:
    """Conditions beside the span's, each after AND; adds their parameters."""
    parts: list[str] = []
    for dimension, values in question.where.items():
        parameters[f"in_{dimension}"] = list(values)
        parts.append(f"{dimension} IN {{in_{dimension}:Array(String)}}")
    for n, combination in enumerate(question.without):
        terms = []
        for dimension, value in combination.items():
            parameters[f"not{n}_{dimension}"] = value
            terms.append(f"{dimension} = {{not{n}_{dimension}:String}}")
        parts.append(f"NOT ({' AND '.join(terms)})")
    if question.measure in NOT_OF_COMPUTE and not question.of_compute:
        parameters["apart"] = COMPUTE_SERVICE
        parts.append("service != {apart:String}")
    return "".join(f"\n    AND {part}" for part in parts)


def _threshold_cell(question: CellQuestion) -> int:
    assert question.threshold is not None  # the question was checked
    if question.measure == "low_throughput":
        return threshold_cell(question.threshold, THROUGHPUT_BASE_KB_PER_S)
    return threshold_cell(question.threshold, latency_base_ms(COMPUTE_SERVICE if question.of_compute else ""))
