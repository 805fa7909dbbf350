"""Columns of every table that crosses a boundary: name, dtype, unit, meaning. One declaration, many readers.

A dtype is a portable name that each engine maps to its own: `int64`, `float64`, `string` (low-cardinality text),
`text` (free text), `bytes`, `bool`, `list<uint8>`, `list<uint32>`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `dtype` is a portable name (module docstring), `unit` is empty for text and flags."""

    name: str
    dtype: str
    unit: str
    meaning: str


def names(columns: tuple[Column, ...]) -> tuple[str, ...]:
    """Column names in declaration order."""
    return tuple(c.name for c in columns)


# Dimensions a slice carries from the box. The last three come from parameters the scheduler signed into the URL.
SLICE_DIMENSIONS = ("customer", "service", "app", "client_isp", "client_region", "sched_rule")
# Dimensions the gateway joins from the registry, as of the slice's start.
REGISTRY_DIMENSIONS = ("device_isp", "device_region", "nat_type", "cohort")
# Dimensions the report itself states about the box.
REPORT_DIMENSIONS = ("model", "firmware")
# A cell of the cube: everything but the device.
CELL_DIMENSIONS = SLICE_DIMENSIONS + REGISTRY_DIMENSIONS + REPORT_DIMENSIONS

OTHER = "other"  # where values beyond MAX_VALUES_PER_DIMENSION of one customer in one report are folded
UNKNOWN = "unknown"  # a dimension nobody could state
MAX_VALUES_PER_DIMENSION = 64

COUNTS = (
    Column("requests", "int64", "requests", "requests ended in the interval; for compute work, tasks"),
    Column("s2xx", "int64", "requests", "answered with status 200..299"),
    Column("s3xx", "int64", "requests", "answered with status 300..399"),
    Column("s4xx", "int64", "requests", "answered with status 400..499, 499 (client went away) included"),
    Column("s5xx", "int64", "requests", "answered with status 500..599"),
    Column("f_server", "int64", "requests", "failed: 5xx of ours, 504 excepted"),
    Column("f_timeout", "int64", "requests", "failed: timed out on our side, 504 included"),
    Column("f_reset", "int64", "requests", "failed: connection lost on our side"),
    Column("f_incomplete", "int64", "requests", "failed: fewer bytes delivered than promised, on our side"),
    Column("bytes", "int64", "bytes", "bytes sent to clients"),
    Column("cache_hits", "int64", "requests", "served from the box's cache"),
    Column("sessions", "int64", "sessions", "playback sessions active in the interval"),
    Column("stalled_sessions", "int64", "sessions", "of those, sessions that stalled at least once"),
    Column("play_ms", "int64", "ms", "time played, summed over sessions"),
    Column("stall_ms", "int64", "ms", "time stalled, summed over sessions"),
)
COUNT_NAMES = names(COUNTS)
STATUS_NAMES = ("s2xx", "s3xx", "s4xx", "s5xx")
FAILURE_NAMES = ("f_server", "f_timeout", "f_reset", "f_incomplete")
HISTOGRAM_NAMES = ("latency", "throughput")

_IDENTITY = (
    Column("device", "string", "", "device id"),
    Column("boot", "string", "", "random id of the agent's start"),
    Column("seq", "int64", "", "1, 2, 3.. per boot"),
)
_TIMES = (
    Column("start", "int64", "ms UTC", "start of the interval, corrected to the gateway's clock"),
    Column("end", "int64", "ms UTC", "end of the interval, corrected"),
    Column("received_at", "int64", "ms UTC", "gateway's clock on receipt"),
)
_BOX = tuple(Column(n, "string", "", "of the box, as of start") for n in REGISTRY_DIMENSIONS + REPORT_DIMENSIONS)


def _sparse(name: str, what: str) -> tuple[Column, Column]:
    return (
        Column(f"{name}_cell", "list<uint8>", "cell", f"{what}: histogram cells that are not empty, ascending"),
        Column(f"{name}_count", "list<uint32>", "requests", f"{what}: their counts"),
    )


HISTOGRAM_COLUMNS = _sparse("latency", "latency of delivery or duration of a task") + _sparse(
    "throughput", "throughput of transfers"
)

# telemetry.slices: one row per slice.
SLICES = (
    *_IDENTITY,
    Column(
        "row",
        "int64",
        "",
        "row of the slice in its report, from 0; (device, boot, seq, row) names it for ever",
    ),
    *_TIMES,
    *(Column(n, "string", "", "dimension stated by the box") for n in SLICE_DIMENSIONS),
    *_BOX,
    *COUNTS,
    *HISTOGRAM_COLUMNS,
)

# telemetry.reports: one row per accepted report.
REPORTS = (
    *_IDENTITY,
    *_TIMES,
    Column("v", "int64", "", "report version"),
    Column("sent_at", "int64", "ms UTC", "box's clock when this attempt was sent"),
    Column("clock_offset_ms", "int64", "ms", "received_at - sent_at"),
    Column("shift_ms", "int64", "ms", "what was added to the box's times: the offset in whole grid steps"),
    Column("oldest_spooled_seq", "int64", "", "oldest seq of this boot that the box still holds"),
    Column("agent", "string", "", "agent version"),
    *_BOX,
    Column("requests", "int64", "requests", "sum over all rows of the report, refused rows included"),
    Column("slices", "int64", "slices", "rows of the report, refused rows included"),
    Column("rejected_requests", "int64", "requests", "of those, in rows that were refused"),
    Column("rejected_slices", "int64", "slices", "of those, refused"),
    Column("total_requests", "int64", "requests", "cumulative since boot, this interval included"),
    Column("total_slices", "int64", "slices", "cumulative since boot, this interval included"),
    Column("dropped_requests", "int64", "requests", "cumulative since boot, all causes: declared dropped"),
    Column("dropped_slices", "int64", "slices", "cumulative since boot, all causes"),
    Column("dropped_reports", "int64", "reports", "cumulative since boot, all causes"),
    Column("spool_dropped_requests", "int64", "requests", "of dropped_requests, those lost with whole reports"),
    Column("spool_dropped_slices", "int64", "slices", "of dropped_slices, those lost with whole reports"),
    Column("dropped_by_cause", "text", "", "JSON: {requests|slices|reports: {cause: count}}"),
    Column("earlier_boots", "text", "", "JSON: what the box still holds and dropped of earlier boots"),
    Column("digest", "string", "", "hex SHA-256 of the body, for duplicate detection"),
)

# telemetry.rejected: refused bytes or rows with the reason.
REJECTED = (
    Column("id", "string", "", "id of the refusal"),
    Column("device", "string", "", "device id, authenticated"),
    Column("boot", "string", "", "boot id the box signed; empty when it stated none"),
    Column("seq", "int64", "", "seq the box signed; 0 when it stated none"),
    Column("received_at", "int64", "ms UTC", "gateway's clock on receipt"),
    Column("sent_at", "int64", "ms UTC", "box's clock when it was sent: a replay corrects times as receipt would have"),
    Column("reason", "string", "", "stable identifier of the reason"),
    Column("detail", "text", "", "the sentence: field, expected, got"),
    Column("rows", "text", "", "JSON list of refused rows; empty list: the whole report"),
    Column("requests", "int64", "requests", "in refused rows; 0 when the whole report is refused: see the ledger"),
    Column("slices", "int64", "slices", "refused rows; 0 when the whole report is refused"),
    Column("body", "bytes", "", "the bytes as they came, cut at the size limit"),
    Column("source", "string", "", "door it came through: gateway, kafka, operator"),
    Column("state", "string", "", "kept | replayed"),
)

VITALS_MEASURES = (
    Column("cpu_ratio", "float64", "ratio", "busy share of all cores over the interval"),
    Column("load1", "float64", "", "1-minute load average"),
    Column("memory_used_ratio", "float64", "ratio", "1 - MemAvailable / MemTotal"),
    Column("flash_used_ratio", "float64", "ratio", "used share of the cache file system"),
    Column("flash_written_bytes", "float64", "bytes", "written to block devices over the interval"),
    Column("temperature_c", "float64", "°C", "hottest thermal zone"),
    Column("rx_bytes_per_s", "float64", "bytes/s", "received on non-loopback links"),
    Column("tx_bytes_per_s", "float64", "bytes/s", "sent on non-loopback links"),
    Column("uptime_s", "float64", "s", "since the machine started"),
    Column("reboots", "float64", "", "machine starts the agent has seen since its installation"),
    Column("clock_offset_ms", "float64", "ms", "server's clock minus the box's, as the agent last learned it"),
)
# telemetry.vitals carries two kinds of messages, told apart by the record header `kind`: vitals | exemplars.
VITALS = (*_IDENTITY, *_TIMES, *VITALS_MEASURES)
EXEMPLARS_MEASURES = (
    Column("at", "int64", "ms UTC", "when the request ended"),
    Column("customer", "string", "", "customer"),
    Column("service", "string", "", "service"),
    Column("client_isp", "string", "", "client's ISP"),
    Column("client_region", "string", "", "client's region"),
    Column("sched_rule", "string", "", "scheduling rule"),
    Column("path_hash", "string", "", "first 16 hex digits of SHA-256 of the path without its parameters"),
    Column("status", "int64", "", "HTTP status, 0 for a task"),
    Column("latency_ms", "int64", "ms", "latency or task duration"),
    Column("failure", "string", "", "failure class (f_server..) or empty"),
)
EXEMPLARS = (*_IDENTITY, *_TIMES, *EXEMPLARS_MEASURES)

# quality.minutes: the stream's provisional minute per customer and service.
QUALITY_MINUTES = (
    Column("minute", "int64", "ms UTC", "start of the minute"),
    Column("customer", "string", "", "customer"),
    Column("service", "string", "", "service"),
    Column("revision", "int64", "", "1 at first emission, then counting up; the highest counts"),
    *COUNTS,
    *HISTOGRAM_COLUMNS,
    Column("late_requests", "int64", "requests", "came after the minute closed; in history, not in these counts"),
    Column("boxes", "int64", "boxes", "boxes with a slice in the minute"),
    Column("coverage", "float64", "ratio", "share of expected traffic that was measured; NaN: nothing expected"),
    Column("emitted_at", "int64", "ms UTC", "watermark at emission"),
)

# quality.cube: the same counts per cell of dimensions.
QUALITY_CUBE = (
    Column("minute", "int64", "ms UTC", "start of the minute"),
    *(Column(n, "string", "", "dimension") for n in CELL_DIMENSIONS),
    Column("revision", "int64", "", "as in quality.minutes"),
    *COUNTS,
    *HISTOGRAM_COLUMNS,
)

# device.evidence: what a box did and what its strata would have made expect. (minute, device, part) names a row; a
# box's minute is the sum over its parts.
DEVICE_EVIDENCE = (
    Column("minute", "int64", "ms UTC", "start of the minute"),
    Column("device", "string", "", "device id"),
    Column("part", "int64", "", "partition of telemetry.slices the share comes from; 0 where one job reads them all"),
    Column("revision", "int64", "", "1 at first emission, then counting up; the highest counts"),
    *_BOX,
    Column("requests", "int64", "requests", "served in the minute"),
    Column("failures", "int64", "requests", "of those, failed"),
    Column(
        "expected_failures",
        "float64",
        "requests",
        "by the other boxes of its strata; NaN: no others",
    ),
)

# quality.memory: what coverage of later minutes needs of a closed one, one message per minute and partition. `kind`
# tells which columns a row states; the others are empty or 0. The last message of a minute counts.
QUALITY_MEMORY = (
    Column("minute", "int64", "ms UTC", "start of the minute"),
    Column("kind", "string", "", "box: covered_ms; traffic: customer, requests; boot: boot, dropped_requests"),
    Column("device", "string", "", "device id"),
    Column("customer", "string", "", "customer"),
    Column("boot", "string", "", "random id of the agent's start"),
    Column("covered_ms", "int64", "ms", "of the minute, covered by the box's reports"),
    Column("requests", "int64", "requests", "of the box for the customer"),
    Column("dropped_requests", "int64", "requests", "largest of the boot's reports: cumulative, without whole reports"),
)

# signals: what the detector says of a series (one measure of one customer's service) in a minute.
SIGNALS = (
    Column("minute", "int64", "ms UTC", "start of the minute"),
    Column("customer", "string", "", "customer"),
    Column("service", "string", "", "service"),
    Column("measure", "string", "", "measure of an objective"),
    Column("verdict", "string", "", "ok, dip, warming_up, frozen, too_little_data"),
    Column("reasons", "string", "", "of a dip: shift, burn, lasting; separated by commas"),
    Column("bad", "int64", "events", "bad events of the minute"),
    Column("total", "int64", "events", "all events of the minute"),
    Column("coverage", "float64", "ratio", "of the customer's minute; NaN: nothing expected"),
    Column("expected", "float64", "events", "bad events that are usual for this traffic; NaN: not known"),
    Column("low", "float64", "events", "lower end of the band of usual minutes; NaN: not known"),
    Column("high", "float64", "events", "its upper end; NaN: not known"),
    Column("baseline", "string", "", "what usual was taken from: none, overall, time_of_day, time_of_week"),
    Column("dispersion", "float64", "", "variance of bad events over that of independent ones"),
    Column("allowed", "float64", "ratio", "bad of total that the objective allows; NaN: no objective"),
    Column("onset", "int64", "ms UTC", "where the evidence began; 0: there is none"),
    Column("since_bad", "float64", "events", "bad events since the onset"),
    Column("since_total", "float64", "events", "all events since the onset"),
    Column("since_expected", "float64", "events", "usual bad events since the onset"),
    Column("evidence", "float64", "nats", "of the largest sum"),
    Column("p_shift", "float64", "", "chance of that without a shift; NaN: not tested"),
    Column("p_burn", "float64", "", "chance of the burn at its limit; NaN: not tested"),
    Column("limit", "float64", "", "a chance up to this is a discovery in this minute"),
    Column("page", "int64", "", "1: a burn rule of severity page is broken for sure"),
)

TABLES: dict[str, tuple[Column, ...]] = {
    "slices": SLICES,
    "reports": REPORTS,
    "rejected": REJECTED,
    "vitals": VITALS,
    "exemplars": EXEMPLARS,
    "quality_minutes": QUALITY_MINUTES,
    "quality_cube": QUALITY_CUBE,
    "device_evidence": DEVICE_EVIDENCE,
    "quality_memory": QUALITY_MEMORY,
    "signals": SIGNALS,
}
