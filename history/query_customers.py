"""Queries about customers: overview, series, totals. Long spans read whole hours from their rollup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contracts.columns import COUNT_NAMES, FAILURE_NAMES
from contracts.histogram import COMPUTE_SERVICE, latency_base_ms
from contracts.protocols import Store
from contracts.times import HOUR_MS, MINUTE_MS
from history.coverage_table import CLOSED
from history.quantiles import dense, quantiles
from history.query_model import Counts, CustomerOverview, Latency, Series
from history.rollups import FAILURES

QUANTILES = (0.5, 0.95, 0.99)
_NAMED_SUMS = ", ".join(f"sum({n}) AS total_{n}" for n in COUNT_NAMES)

# ruff: noqa: S608 - every name in these statements is a declared column; values are parameters.
# Minutes at the edges of a span, whole hours of its inside. {inside} and {outside} border the hours.
_SOURCE = """(
SELECT minute AS at, {columns} FROM minutes FINAL WHERE {where} AND minute >= {{start:Int64}} AND minute < {{end:Int64}}
    AND NOT (minute >= {{inside:Int64}} AND minute < {{outside:Int64}})
UNION ALL
SELECT hour AS at, {columns} FROM hours FINAL
WHERE {where} AND hour >= {{inside:Int64}} AND hour < {{outside:Int64}})"""

# Expected but not measured, per minute. Without any cover the weights say what was to be expected.
_UNMEASURED = """if(coverage > 0, requests * (1 / coverage - 1), greatest(0, weight_placed - requests))"""

_TOTALS = f"""SELECT customer, {_NAMED_SUMS} FROM
{_SOURCE.format(columns=f"customer, {', '.join(COUNT_NAMES)}", where="1")}
GROUP BY customer ORDER BY customer"""

_HISTOGRAMS = f"""SELECT customer, service = {{compute:String}} AS task, cell, toInt64(sum(n)) AS total FROM
{_SOURCE.format(columns="customer, service, latency_cell, latency_count", where="1")}
ARRAY JOIN latency_cell AS cell, latency_count AS n GROUP BY customer, task, cell"""

_SPARK = f"""SELECT customer, intDiv(minute - {{start:Int64}}, {{step:Int64}}) AS i, sum(requests) AS requests,
    sum({FAILURES}) AS failures
FROM minutes FINAL WHERE minute >= {{start:Int64}} AND minute < {{end:Int64}} GROUP BY customer, i"""
_SPARK_UNMEASURED = f"""SELECT customer, intDiv(minute - {{start:Int64}}, {{step:Int64}}) AS i,
    sum({_UNMEASURED}) AS unmeasured
FROM coverage_minutes FINAL WHERE minute >= {{start:Int64}} AND minute < {{end:Int64}} GROUP BY customer, i"""

_OF_CUSTOMER = "customer = {customer:String} AND ({service:String} = '' OR service = {service:String})"
_STEP = "intDiv(at - {start:Int64}, {step:Int64}) AS i"
_SERIES = f"""SELECT {_STEP}, {_NAMED_SUMS} FROM
{_SOURCE.format(columns=", ".join(COUNT_NAMES), where=_OF_CUSTOMER)} GROUP BY i"""
_SERIES_LATENCY = f"""SELECT {_STEP}, cell, toInt64(sum(n)) AS total FROM
{_SOURCE.format(columns="latency_cell, latency_count", where=f"{_OF_CUSTOMER} AND service != {{not:String}}")}
ARRAY JOIN latency_cell AS cell, latency_count AS n GROUP BY i, cell"""
_SERIES_COVERAGE = f"""SELECT intDiv(minute - {{start:Int64}}, {{step:Int64}}) AS i, sum({_UNMEASURED}) AS unmeasured,
    sum(requests) AS served
FROM coverage_minutes FINAL
WHERE customer = {{customer:String}} AND minute >= {{start:Int64}} AND minute < {{end:Int64}} GROUP BY i"""
# The stream's minutes where history shows none yet.
_STREAM = f"""SELECT intDiv(minute - {{start:Int64}}, {{step:Int64}}) AS i, {_NAMED_SUMS} FROM stream_minutes FINAL
WHERE {_OF_CUSTOMER} AND minute > {{closed:Int64}} AND minute >= {{start:Int64}} AND minute < {{end:Int64}}
    AND (minute, service) NOT IN (SELECT minute, service FROM minutes WHERE customer = {{customer:String}}
        AND minute > {{closed:Int64}})
GROUP BY i"""
_DIRTY = """SELECT minute FROM dirty_minutes FINAL
WHERE dirty = 1 AND minute >= {start:Int64} AND minute < {end:Int64}"""

_SERVICES = """SELECT DISTINCT service FROM (SELECT customer, service FROM hours UNION ALL
SELECT customer, service FROM minutes WHERE minute >= {since:Int64})
WHERE customer = {customer:String} ORDER BY service"""
_REACH = f"""SELECT (SELECT max(minute) FROM minutes) AS newest,
    {CLOSED} AS closed"""
_SERVED = f"""SELECT DISTINCT customer, service FROM {_SOURCE.format(columns="customer, service", where="1")}
ORDER BY customer, service"""
_CELLS = f"""SELECT customer, service, cell, toInt64(sum(n)) AS total FROM
{_SOURCE.format(columns="customer, service, latency_cell, latency_count", where="1")}
ARRAY JOIN latency_cell AS cell, latency_count AS n GROUP BY customer, service, cell ORDER BY customer, service, cell"""


def fleet_overview(store: Store, start: int, end: int, spark_step_ms: int = 30 * MINUTE_MS) -> list[CustomerOverview]:
    """All customers with traffic or expected traffic in [start, end), by name. `start` on a whole minute."""
    span = _span(_reach(store)[0], start, end)
    totals = store.query(_TOTALS, span)
    steps = max(1, -(-(end - start) // spark_step_ms))
    window = {"start": start, "end": end, "step": spark_step_ms}
    spark = store.query(_SPARK, window)
    missing = store.query(_SPARK_UNMEASURED, window)
    customers = sorted({*totals["customer"], *missing["customer"]})
    place = {name: i for i, name in enumerate(customers)}
    requests = _grid(spark, "requests", place, steps)
    failures = _grid(spark, "failures", place, steps)
    unmeasured = _grid(missing, "unmeasured", place, steps)
    latency = _latencies(store.query_arrow(_HISTOGRAMS, {**span, "compute": COMPUTE_SERVICE}), customers)
    row_of = {name: i for i, name in enumerate(totals["customer"])}
    result = []
    for name, i in place.items():
        counts = _counts(totals, row_of[name]) if name in row_of else dict.fromkeys(COUNT_NAMES, 0)
        result.append(
            CustomerOverview(
                customer=name,
                total=_total(counts, float(unmeasured[i].sum())),
                delivery=latency[i],
                compute=latency[i + len(customers)],
                spark_start=start,
                spark_step_ms=spark_step_ms,
                spark_requests=tuple(int(x) for x in requests[i]),
                spark_failures=tuple(int(x) for x in failures[i]),
                spark_unmeasured=tuple(float(x) for x in unmeasured[i]),
            )
        )
    return result


def customer_series(
    store: Store, customer: str, service: str | None, start: int, end: int, step_ms: int = MINUTE_MS
) -> Series:
    """One customer (service None: all its services) in [start, end), a whole number of minutes per step. Latency is
    of delivery, unless `service` is compute. Coverage is the customer's, whatever the service."""
    steps = max(0, -(-(end - start) // step_ms))
    newest, closed = _reach(store)
    span = _span(newest, start, end, step_ms)
    window = {**span, "step": step_ms, "customer": customer, "service": service or "", "closed": closed}
    measured, stream = store.query(_SERIES, window), store.query(_STREAM, window)
    counts = {n: _column(measured, f"total_{n}", steps) + _column(stream, f"total_{n}", steps) for n in COUNT_NAMES}
    cover = store.query(_SERIES_COVERAGE, window)
    unmeasured = _scaled(_column(cover, "unmeasured", steps), cover, counts["requests"], steps, whole=service is None)
    apart = "" if service == COMPUTE_SERVICE else COMPUTE_SERVICE
    cells = pa.table(store.query_arrow(_SERIES_LATENCY, {**window, "not": apart}))
    histograms = dense(steps, *(cells[n].to_numpy().astype(np.int64) for n in ("i", "cell", "total")))
    values = quantiles(histograms, QUANTILES, latency_base_ms(service or ""))
    starts = range(start, start + steps * step_ms, step_ms)
    open_steps = {(m - start) // step_ms for m in store.query(_DIRTY, {"start": start, "end": end})["minute"]}
    open_steps |= set(stream["i"])
    after = (closed - start) // step_ms if closed >= start else -1
    return Series(
        step_ms=step_ms,
        start=tuple(starts),
        counts={n: tuple(int(x) for x in column) for n, column in counts.items()},
        failures=tuple(int(x) for x in np.sum([counts[n] for n in FAILURE_NAMES], axis=0)),
        unmeasured=tuple(float(x) for x in unmeasured),
        latency_ms={
            f"p{round(q * 100)}": tuple(None if np.isnan(v) else float(v) for v in values[:, i])
            for i, q in enumerate(QUANTILES)
        },
        provisional=tuple(i > after or i in open_steps for i in range(steps)),
    )


def customer_totals(store: Store, start: int, end: int) -> dict[str, dict[str, int]]:
    """Every count (COUNT_NAMES) per customer in [start, end): response and failure classes among them."""
    rows = store.query(_TOTALS, _span(_reach(store)[0], start, end))
    return {name: _counts(rows, i) for i, name in enumerate(rows["customer"])}


def services(store: Store, customer: str) -> tuple[str, ...]:
    """Services a customer has had traffic for, by name."""
    newest, _ = _reach(store)
    return tuple(store.query(_SERVICES, {"customer": customer, "since": newest - HOUR_MS})["service"])


def services_by_customer(store: Store, start: int, end: int) -> dict[str, tuple[str, ...]]:
    """Services with traffic in [start, end), by name, of every customer with any."""
    rows = store.query(_SERVED, _span(_reach(store)[0], start, end))
    found: dict[str, tuple[str, ...]] = {}
    for customer, service in zip(rows["customer"], rows["service"], strict=True):
        found[customer] = (*found.get(customer, ()), service)
    return found


def latency_cells(store: Store, start: int, end: int) -> dict[tuple[str, str], dict[int, int]]:
    """The merged latency histogram of every (customer, service) with traffic in [start, end), sparse, as
    contracts.histogram reads it."""
    rows = store.query(_CELLS, _span(_reach(store)[0], start, end))
    found: dict[tuple[str, str], dict[int, int]] = {}
    for customer, service, cell, total in zip(*rows.values(), strict=True):
        found.setdefault((customer, service), {})[cell] = total
    return found


def _reach(store: Store) -> tuple[int, int]:
    """Newest minute shown, newest minute that has ended; 0 before the first."""
    row = store.query(_REACH)
    return int(row["newest"][0] or 0), int(row["closed"][0] or 0)


def _span(newest: int, start: int, end: int, step_ms: int = 0) -> dict[str, int]:
    """Borders of the whole hours inside [start, end), up to the newest hour that is over; none when steps cut hours."""
    inside = -(-start // HOUR_MS) * HOUR_MS
    outside = max(inside, min(end, newest) // HOUR_MS * HOUR_MS)
    if step_ms and (step_ms % HOUR_MS or start % HOUR_MS):
        outside = inside
    return {"start": start, "end": end, "inside": inside, "outside": outside}


def _counts(rows: dict[str, list[Any]], i: int) -> dict[str, int]:
    return {n: rows[f"total_{n}"][i] for n in COUNT_NAMES}


def _total(counts: dict[str, int], unmeasured: float) -> Counts:
    failures = sum(counts[n] for n in FAILURE_NAMES)
    return Counts(counts["requests"], failures, unmeasured, counts)


def _grid(rows: dict[str, list[Any]], name: str, place: dict[str, int], steps: int) -> NDArray[np.float64]:
    grid = np.zeros((len(place), steps))
    for customer, i, value in zip(rows["customer"], rows["i"], rows[name], strict=True):
        if customer in place:
            grid[place[customer], i] += value or 0
    return grid


def _column(rows: dict[str, list[Any]], name: str, steps: int) -> NDArray[np.float64]:
    column = np.zeros(steps)
    column[np.array(rows["i"], np.int64)] = [value or 0 for value in rows[name]]
    return column


def _scaled(
    unmeasured: NDArray[np.float64],
    cover: dict[str, list[Any]],
    served: NDArray[np.float64],
    steps: int,
    *,
    whole: bool,
) -> NDArray[np.float64]:
    """One service's share of what was not measured, by its share of what was."""
    if whole:
        return unmeasured
    all_of_it = _column(cover, "served", steps)
    share: NDArray[np.float64] = np.divide(served, all_of_it, out=np.ones(steps), where=all_of_it > 0).clip(0, 1)
    return unmeasured * share


def _latencies(rows: Any, customers: Sequence[str]) -> list[Latency | None]:
    """Delivery latency per customer, then compute latency per customer."""
    table = pa.table(rows)
    names = pa.array(customers, pa.utf8())
    place = pa.compute.index_in(table["customer"].cast(pa.utf8()), value_set=names).to_numpy().astype(np.int64)
    task = table["task"].to_numpy().astype(np.int64)
    n = len(customers)
    cell, total = (table[c].to_numpy().astype(np.int64) for c in ("cell", "total"))
    histograms = dense(2 * n, task * n + place, cell, total)
    base = np.repeat([latency_base_ms(""), latency_base_ms(COMPUTE_SERVICE)], n)
    values = quantiles(histograms, QUANTILES, base)
    counted = histograms.sum(axis=1)
    return [Latency(int(counted[i]), *map(float, values[i])) if counted[i] else None for i in range(2 * n)]
