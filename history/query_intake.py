"""How well what boxes report comes in: coverage, delays from stage to stage, silent boxes, examples of refusals, and
how many boxes a combination of dimensions concerns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contracts.columns import CELL_DIMENSIONS
from contracts.errors import ContractError
from contracts.protocols import Store
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from history.coverage_table import CLOSED
from history.query_model import Rejected
from history.rollups import FAILURES

ARRIVALS_OVER_MS = 15 * MINUTE_MS  # delays are measured over so much of the newest past
GONE_AFTER_MS = DAY_MS  # a box not heard for so long is gone, not silent
SIGNALS_LOOKBACK_MS = 6 * HOUR_MS
AFFECTED_OVER_MS = 10 * MINUTE_MS  # boxes of a combination are counted over so much at most
MAX_SILENT = 500

# Expected but not measured, per minute and customer. Without any cover the weights say what was to be expected.
UNMEASURED = "if(coverage > 0, requests * (1 / coverage - 1), greatest(0, weight_placed - requests))"

# ruff: noqa: S608 - names are declared columns; values are parameters.
_COVERAGE = f"""SELECT intDiv(minute - {{start:Int64}}, {{step:Int64}}) AS i, toInt64(sum(requests)) AS measured,
    sum({UNMEASURED}) AS unmeasured
FROM coverage_minutes FINAL WHERE minute >= {{start:Int64}} AND minute < {{end:Int64}} GROUP BY i ORDER BY i"""
_OF_CUSTOMERS = f"""SELECT customer, toInt64(sum(requests)) AS measured, sum({UNMEASURED}) AS unmeasured,
    argMin(minute, ifNull(coverage, 1)) AS worst_at, min(ifNull(coverage, 1)) AS worst
FROM coverage_minutes FINAL WHERE minute >= {{start:Int64}} AND minute < {{end:Int64}}
    AND (empty({{customers:Array(String)}}) OR customer IN {{customers:Array(String)}})
GROUP BY customer ORDER BY unmeasured DESC, customer"""
_ARRIVALS = """SELECT count() AS n, quantiles(0.5, 0.95, 0.99)(received_at - `end`) AS q
FROM reports WHERE minute >= {start:Int64} AND received_at >= {start:Int64} AND received_at < {end:Int64}"""
_STAGES = f"""SELECT (SELECT max(last_seen) FROM devices) AS newest_end,
    (SELECT max(received_at) FROM devices) AS received,
    (SELECT max(minute) FROM stream_minutes WHERE minute >= {{since:Int64}}) AS stream,
    (SELECT max(minute) FROM signals WHERE minute >= {{since:Int64}}) AS signal,
    {CLOSED} AS closed,
    (SELECT max(hour) FROM cell_hours) AS hour,
    (SELECT count() FROM dirty_minutes FINAL WHERE dirty = 1) AS dirty"""
_LATE = """SELECT toInt64(sum(late_requests)) AS late, toInt64(sum(requests)) AS requests FROM stream_minutes FINAL
WHERE minute >= {start:Int64} AND minute < {end:Int64}"""
_EXAMPLES = """SELECT id, device, boot, seq, sent_at, received_at, reason, detail, rows, requests, slices, source, state
FROM rejected FINAL WHERE received_at >= {start:Int64} AND received_at < {end:Int64} AND state = 'kept'
ORDER BY reason, received_at DESC, id LIMIT {each:Int64} BY reason LIMIT 100"""
_SILENT = """SELECT device, device_isp, device_region, model, last_seen FROM devices FINAL
WHERE last_seen < {silent:Int64} AND last_seen >= {gone:Int64} ORDER BY last_seen DESC, device LIMIT {limit:Int64}"""
_BOXES = """SELECT count() AS total, countIf(last_seen >= {silent:Int64}) AS heard,
    countIf(last_seen < {gone:Int64}) AS gone FROM devices FINAL"""
_AFFECTED = f"""SELECT count() AS boxes, countIf(failed > 0) AS failing FROM (
SELECT device, sum({FAILURES}) AS failed FROM slices FINAL
WHERE minute >= {{start:Int64}} AND minute < {{end:Int64}}{{condition}} GROUP BY device)"""


@dataclass(frozen=True, slots=True)
class CustomerCoverage:
    """A customer's requests, `measured` and expected but `unmeasured`; the worst minute and its coverage."""

    customer: str
    measured: int
    unmeasured: float
    worst_at: int
    worst: float


@dataclass(frozen=True, slots=True)
class Arrivals:
    """From the end of a report's interval to its receipt, ms, over ARRIVALS_OVER_MS; None without reports."""

    reports: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Stages:
    """How far each stage has come, ms UTC, None: nothing yet. `newest_end`: interval that queries see; `received`: the
    newest report; `stream`, `signal`: end of the newest minute counted by the streams, judged by the detector;
    `closed`: end of the newest minute that has ended for history; `hour`: end of the newest hour rolled up. `dirty`:
    minutes to be recomputed."""

    newest_end: int | None
    received: int | None
    stream: int | None
    signal: int | None
    closed: int | None
    hour: int | None
    dirty: int


@dataclass(frozen=True, slots=True)
class SilentBox:
    """A box that is not heard; `last_seen`: end of its newest interval."""

    device: str
    device_isp: str
    device_region: str
    model: str
    last_seen: int


@dataclass(frozen=True, slots=True)
class Hearing:
    """Boxes ever heard: `heard` lately, `silent` (the newest MAX_SILENT of `silent_count`), `gone` for a day."""

    total: int
    heard: int
    silent_count: int
    gone: int
    silent: tuple[SilentBox, ...]


def coverage_steps(store: Store, start: int, end: int, step_ms: int) -> dict[str, list[Any]]:
    """Columns per step with data: i, measured, unmeasured, over all customers."""
    return store.query(_COVERAGE, {"start": start, "end": end, "step": step_ms})


def coverage_of(store: Store, start: int, end: int, customers: tuple[str, ...] = ()) -> list[CustomerCoverage]:
    """Per customer (of those named, or all), the least measured first."""
    rows = store.query(_OF_CUSTOMERS, {"start": start, "end": end, "customers": list(customers)})
    return [CustomerCoverage(*row) for row in zip(*rows.values(), strict=True)]


def arrivals(store: Store, now: int) -> Arrivals:
    """Delays of the newest reports."""
    row = store.query(_ARRIVALS, {"start": now - ARRIVALS_OVER_MS, "end": now + MINUTE_MS})
    n = row["n"][0]
    return Arrivals(n, *(row["q"][0] if n else (None, None, None)))


def stages(store: Store, now: int) -> Stages:
    """How far everything has come."""
    row = {name: values[0] for name, values in store.query(_STAGES, {"since": now - SIGNALS_LOOKBACK_MS}).items()}
    ended = {name: row[name] + MINUTE_MS if row[name] else None for name in ("stream", "signal", "closed")}
    hour = row["hour"] + HOUR_MS if row["hour"] else None
    return Stages(row["newest_end"] or None, row["received"] or None, **ended, hour=hour, dirty=row["dirty"])


def late_requests(store: Store, start: int, end: int) -> tuple[int, int]:
    """Requests that came after the streams had closed their minute, and those that came in time."""
    row = store.query(_LATE, {"start": start, "end": end})
    return row["late"][0], row["requests"][0]


def refusal_examples(store: Store, start: int, end: int, each: int = 2) -> list[Rejected]:
    """The newest refusals of each reason, without bodies."""
    rows = store.query(_EXAMPLES, {"start": start, "end": end, "each": each})
    return [Rejected(*row) for row in zip(*rows.values(), strict=True)]


def hearing(store: Store, now: int, silent_after_ms: int) -> Hearing:
    """Which boxes are heard."""
    window = {"silent": now - silent_after_ms, "gone": now - GONE_AFTER_MS}
    count = {name: values[0] for name, values in store.query(_BOXES, window).items()}
    rows = store.query(_SILENT, {**window, "limit": MAX_SILENT})
    silent = tuple(SilentBox(*row) for row in zip(*rows.values(), strict=True))
    return Hearing(
        count["total"], count["heard"], count["total"] - count["heard"] - count["gone"], count["gone"], silent
    )


def boxes_concerned(
    store: Store, where: Mapping[str, tuple[str, ...]], start: int, end: int
) -> tuple[int, int, int, int]:
    """(boxes that served rows of a combination, those of them with failures, start, end) over the last
    AFFECTED_OVER_MS of [start, end). Raises ContractError for a name that is no dimension."""
    start = max(start, end - AFFECTED_OVER_MS)
    parameters: dict[str, Any] = {"start": start, "end": end}
    condition = ""
    for dimension, values in where.items():
        if dimension not in (*CELL_DIMENSIONS, "device"):
            raise ContractError("bad_query", "where", f"one of {', '.join(CELL_DIMENSIONS)}", dimension)
        parameters[f"in_{dimension}"] = list(values)
        condition += f"\n    AND {dimension} IN {{in_{dimension}:Array(String)}}"
    row = store.query(_AFFECTED.replace("{condition}", condition), parameters)
    return row["boxes"][0], row["failing"][0], start, end
