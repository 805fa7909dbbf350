"""The minutes that a service level is judged by, as history holds them: one customer's, nothing of another's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from contracts.histogram import COMPUTE_SERVICE, THROUGHPUT_BASE_KB_PER_S, latency_base_ms, threshold_cell
from contracts.protocols import Store
from contracts.sla import ServiceLevel
from contracts.times import HOUR_MS, MINUTE_MS, PLACEMENT_TTL_MINUTES
from history import sla
from history.coverage_table import CLOSED_THROUGH
from history.rollups import FAILURES
from history.sla import Classes, Floats, Ints

_SUM = "toInt64(arraySum({h}_count))"
_FROM_CELL = "toInt64(arraySum(arrayMap((n, c) -> if(c {beyond} {{cell:Int64}}, n, 0), {h}_count, {h}_cell)))"
TRIALS: dict[str, tuple[str, str]] = {
    "failures": ("requests", FAILURES),
    "slow_requests": (_SUM.format(h="latency"), _FROM_CELL.format(h="latency", beyond=">=")),
    "stalled_sessions": ("sessions", "stalled_sessions"),
    "low_throughput": (_SUM.format(h="throughput"), _FROM_CELL.format(h="throughput", beyond="<")),
    "cache_misses": (
        f"if(service = '{COMPUTE_SERVICE}', 0, requests)",
        f"if(service = '{COMPUTE_SERVICE}', 0, requests - cache_hits)",
    ),
}
"""(total, bad) of a minute's row by measure; `cell`: the histogram cell at which the threshold acts."""

_MINUTES = """SELECT minute, {total} AS total, least({bad}, {total}) AS bad FROM minutes FINAL
WHERE customer = {{customer:String}} AND service = {{service:String}}
    AND minute >= {{first:Int64}} AND minute < {{end:Int64}} ORDER BY minute"""
_COVERAGE = """SELECT minute, requests, coverage, weight_placed, boxes_placed, boxes_measured
FROM coverage_minutes FINAL
WHERE customer = {customer:String} AND minute >= {first:Int64} AND minute < {end:Int64} ORDER BY minute"""
# Of the whole network, but no more than whether anything was heard. Minutes from before heard_minutes was kept have
# only the coverage of customers to tell it.
_HEARD = """SELECT minute FROM heard_minutes FINAL
WHERE boxes > 0 AND minute >= {first:Int64} AND minute < {end:Int64}
UNION DISTINCT SELECT minute FROM coverage_minutes FINAL
WHERE boxes_measured > 0 AND minute >= {first:Int64} AND minute < {end:Int64}"""
_FIRST_HOUR = """SELECT count() AS n, min(hour) AS first FROM hours
WHERE customer = {customer:String} AND service = {service:String}"""
_FIRST_MINUTE = """SELECT count() AS n, min(minute) AS first FROM minutes
WHERE customer = {customer:String} AND service = {service:String} AND minute >= {hour:Int64} AND minute < {end:Int64}"""
_RESTATED = """SELECT count() AS n, max(restated_at) AS last, uniqExact(minute) AS minutes FROM restatements
WHERE customer = {customer:String} AND service = {service:String}
    AND minute >= {first:Int64} AND minute < {end:Int64}"""


class Minutes:
    """Columns of the minutes [start, end) of one service level; minutes from `through` on are not known yet.

    `total`, `bad`: measured trials; `unmeasured`: expected beyond them (NaN: unknown); `boxes_placed`,
    `boxes_measured`: boxes that serve the customer, and those of them that reported; `classes`: history.sla."""

    def __init__(self, store: Store, level: ServiceLevel, start: int, end: int, through: int) -> None:
        self.start, self.end = start, end
        self._lead = PLACEMENT_TTL_MINUTES  # minutes read before the start, for what a silent minute would have held
        n = (end - start) // MINUTE_MS + self._lead
        window = {"customer": level.customer, "service": level.service, "first": self._first(), "end": end}
        counted, cover = self._counted(store, level, window), store.query(_COVERAGE, window)
        total, bad = (self._column(counted, name, n) for name in ("total", "bad"))
        coverage = self._column(cover, "coverage", n, np.nan)
        placed = self._column(cover, "weight_placed", n)
        requests = self._column(cover, "requests", n)
        unmeasured = sla.expected_unmeasured(total.astype(np.int64), coverage, placed, _per_request(total, requests))
        dark = self._dark(store, window, n)
        unmeasured[dark] = total[total > 0].mean() if (total > 0).any() else np.nan
        self.total: Ints = total[self._lead :].astype(np.int64)
        self.bad: Ints = bad[self._lead :].astype(np.int64)
        self.unmeasured: Floats = unmeasured[self._lead :]
        self.boxes_placed, self.boxes_measured = (
            self._column(cover, name, n)[self._lead :].astype(np.int64) for name in ("boxes_placed", "boxes_measured")
        )
        self.classes = self._classes(level, through)

    def _first(self) -> int:
        return self.start - self._lead * MINUTE_MS

    def _counted(self, store: Store, level: ServiceLevel, window: dict[str, Any]) -> dict[str, list[Any]]:
        total, bad = TRIALS[level.measure]
        cell = 0
        if level.threshold is not None:
            slow = level.measure == "slow_requests"
            cell = threshold_cell(level.threshold, latency_base_ms(level.service) if slow else THROUGHPUT_BASE_KB_PER_S)
        rows = pa.table(store.query_arrow(_MINUTES.format(total=total, bad=bad), {**window, "cell": cell}))
        return {name: rows[name].to_pylist() for name in ("minute", "total", "bad")}

    def _column(self, rows: dict[str, list[Any]], name: str, n: int, missing: float = 0.0) -> Floats:
        column = np.full(n, missing)
        at = (np.array(rows["minute"], np.int64) - self._first()) // MINUTE_MS
        column[at] = [missing if value is None else value for value in rows[name]]
        return column

    def _dark(self, store: Store, window: dict[str, Any], n: int) -> Any:
        """Minutes since the service's first traffic in which no box of the whole network was heard: that nothing came
        then does not say that nothing was served."""
        span = {name: window[name] for name in ("first", "end")}
        heard = np.array(store.query(_HEARD, span)["minute"], np.int64)
        began = _first_traffic(store, window["customer"], window["service"])
        dark = np.ones(n, np.bool_)
        dark[(heard - self._first()) // MINUTE_MS] = False
        first = n if began is None else (began - self._first()) // MINUTE_MS
        dark[: min(n, max(0, first))] = False
        return dark

    def _classes(self, level: ServiceLevel, through: int) -> Classes:
        classes = sla.classify(self.total, self.bad, self.unmeasured, level.minute_target)
        classes[max(0, (through - self.start) // MINUTE_MS) :] = sla.PENDING
        return sla.exclude(classes, level.excluded(self.start, self.end), self.start)


def _first_traffic(store: Store, customer: str, service: str) -> int | None:
    """The minute of a service's first traffic, ms UTC; its hour, which history never lets go, once the minutes of that
    are older than their retention."""
    names = {"customer": customer, "service": service}
    hours = store.query(_FIRST_HOUR, names)
    if not hours["n"][0]:
        return None
    hour = int(hours["first"][0])
    kept = store.query(_FIRST_MINUTE, {**names, "hour": hour, "end": hour + HOUR_MS})
    return int(kept["first"][0]) if kept["n"][0] else hour


def _per_request(total: Floats, requests: Floats) -> Floats:
    """Trials of the service per request of the customer over the hour up to each minute; 0 without requests."""

    def of_hour(column: Floats) -> Floats:
        sums = np.concatenate([np.zeros(PLACEMENT_TTL_MINUTES), np.cumsum(column)])
        last: Floats = sums[PLACEMENT_TTL_MINUTES:] - sums[:-PLACEMENT_TTL_MINUTES]
        return last

    served = of_hour(requests)
    return np.divide(of_hour(total), served, out=np.zeros(len(total)), where=served > 0)


def restated(store: Store, level: ServiceLevel, start: int, end: int) -> tuple[int, int, int | None]:
    """What late data changed in ended minutes of [start, end): (times, minutes, when last in ms UTC)."""
    window = {"customer": level.customer, "service": level.service, "first": start, "end": end}
    row = {name: values[0] for name, values in store.query(_RESTATED, window).items()}
    return row["n"], row["minutes"], row["last"] if row["n"] else None


def known_through(store: Store) -> int:
    """End of the newest minute that has ended for history; 0 before the first."""
    newest = store.query(CLOSED_THROUGH)["minute"][0]
    return int(newest) + MINUTE_MS if newest else 0
