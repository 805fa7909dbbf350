"""From a log line to an event: nginx access lines in the format `dipper`, and JSON lines of tasks and apps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from agent_exporter.errors import LineError
from agent_exporter.failures import OUTCOMES, failure_of
from contracts.columns import UNKNOWN
from contracts.errors import shorten
from contracts.histogram import COMPUTE_SERVICE
from contracts.report import MAX_TEXT
from contracts.times import from_rfc3339

# A tick reads at most 20,000 lines, so sums of values below this stay below 2**53.
MAX_VALUE = 2**38
MAX_TIME_S = 1e11
# Throughput is measured on transfers of at least this size: below, most of the answer is in socket buffers before the
# first byte has left the box, and the time says nothing about the link.
MIN_TRANSFER_BYTES = 256 * 1024
SERVED_FROM_CACHE = frozenset({"HIT", "STALE", "UPDATING", "REVALIDATED"})

Key = tuple[str, str, str, str, str, str]  # the values of SLICE_DIMENSIONS


@dataclass(slots=True)
class Event:
    """One request, task or session beacon. `at` in ms UTC by the box's clock; `requests` is 0 for a pure session
    beacon; `status` is 0 when there is none; `throughput_kb_per_s` is None when it was not measurable."""

    at: int
    key: Key
    requests: int = 1
    status: int = 0
    failure: str = ""
    latency_ms: float = 0.0
    bytes: int = 0
    cache_hit: bool = False
    throughput_kb_per_s: float | None = None
    path: str = ""
    sessions: int = 0
    stalled_sessions: int = 0
    play_ms: int = 0
    stall_ms: int = 0


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a log's settings say about lines that do not say it themselves. Empty: nothing."""

    customer: str = ""
    service: str = ""
    app: str = ""


Parser = Callable[[bytes, Defaults], Event]


def _load(line: bytes) -> dict[str, Any]:
    try:
        # A client may put any byte into a path; the rest of the line still counts.
        document = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise LineError(f"line: expected a JSON object, got {shorten(line)}: {error}") from None
    if not isinstance(document, dict):
        raise LineError(f"line: expected a JSON object, got {shorten(line)}")
    return document


def _number(document: dict[str, Any], name: str, most: float = MAX_VALUE) -> float:
    value = document.get(name)
    # The comparison also refuses NaN.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise LineError(f"{name}: expected a number 0..{most:.0f}, got {shorten(value)}")
    return value


def _count(document: dict[str, Any], name: str, default: int = 0) -> int:
    value = document.get(name, default)
    if type(value) is not int or not 0 <= value <= MAX_VALUE:
        raise LineError(f"{name}: expected an integer 0..{MAX_VALUE}, got {shorten(value)}")
    return value


def is_dimension(value: object) -> bool:
    """Whether a value may stand in a slice's dimension: 1 to 64 printable characters."""
    return isinstance(value, str) and 1 <= len(value) <= MAX_TEXT and value.isprintable()


def _text(document: dict[str, Any], name: str) -> str:
    """A dimension's value as nginx wrote it (percent-encoded in the URL), or an empty string when absent or unfit."""
    value = document.get(name)
    if not isinstance(value, str) or not value:
        return ""
    if "%" in value:
        value = unquote(value)
    return value if is_dimension(value) else ""


def _integer_text(document: dict[str, Any], name: str) -> int:
    value = document.get(name)
    if not isinstance(value, str) or not value.isascii() or not value.isdigit():
        raise LineError(f"{name}: expected digits in quotes, got {shorten(value)}")
    return int(value)


def nginx_line(line: bytes, defaults: Defaults) -> Event:
    """One line of the log format `dipper`. Raises LineError.

    Parameters count only when nginx verified the scheduler's signature over them. A customer or service set in
    nginx's own configuration (`$dipper_customer`, `$dipper_service`) is trusted and wins.
    """
    d = _load(line)
    at = round(_number(d, "msec", MAX_TIME_S) * 1000)
    status = _integer_text(d, "status")
    seconds = _number(d, "request_time")
    body_bytes = _count(d, "body_bytes_sent", -1)
    completed = d.get("request_completion") == "OK"
    length = d.get("sent_http_content_length")
    promised = int(length) if isinstance(length, str) and length.isascii() and length.isdigit() else None
    if status > 999:
        raise LineError(f"status: expected three digits, got {status}")
    signed = d if d.get("verified") == "1" else {}
    key = (
        _text(d, "server_customer") or _text(signed, "customer") or defaults.customer or UNKNOWN,
        _text(d, "server_service") or _text(signed, "service") or defaults.service or "web",
        _text(signed, "app") or defaults.app or "nginx",
        _text(signed, "isp") or UNKNOWN,
        _text(signed, "region") or UNKNOWN,
        _text(signed, "rule") or UNKNOWN,
    )
    throughput = None
    if completed and body_bytes >= MIN_TRANSFER_BYTES and seconds > 0 and 200 <= status < 300:
        throughput = body_bytes / (seconds * 1000)
    path = d.get("path")
    return Event(
        at=at,
        key=key,
        status=status,
        failure=failure_of(status, str(d.get("method", "")), completed, promised, body_bytes),
        latency_ms=seconds * 1000,
        bytes=_count(d, "bytes_sent", -1),
        cache_hit=str(d.get("upstream_cache_status")) in SERVED_FROM_CACHE,
        throughput_kb_per_s=throughput,
        path=path if isinstance(path, str) else "",
    )


def _dimension(document: dict[str, Any], name: str, default: str) -> str:
    value = document.get(name, default)
    if not is_dimension(value):
        raise LineError(f"{name}: expected 1 to {MAX_TEXT} printable characters, got {shorten(value)}")
    return value  # type: ignore[no-any-return]


def _task_time(document: dict[str, Any]) -> int:
    value = document.get("at")
    if isinstance(value, str):
        try:
            return from_rfc3339(value)
        except ValueError as error:
            raise LineError(f"at: {error}") from None
    if type(value) is not int or not 0 <= value <= MAX_TIME_S * 1000:
        raise LineError(f"at: expected ms UTC or RFC 3339 with a zone, got {shorten(value)}")
    return value


_TASK_DIMENSIONS = ("customer", "app", "service", "client_isp", "client_region", "sched_rule")
_TASK_REQUEST = ("duration_ms", "outcome", "status", "bytes", "cache_hit", "name")
_TASK_SESSIONS = ("sessions", "stalled_sessions", "play_ms", "stall_ms")
TASK_FIELDS = frozenset({"at", *_TASK_DIMENSIONS, *_TASK_REQUEST, *_TASK_SESSIONS})


def task_line(line: bytes, defaults: Defaults) -> Event:
    """One line of a task log: a task or request (`duration_ms` and `outcome`), a session beacon (`sessions`), or
    both. Unknown fields are refused, so that a misspelt count is not lost in silence. Raises LineError."""
    d = _load(line)
    unknown = d.keys() - TASK_FIELDS
    if unknown:
        raise LineError(f"line: expected fields among {sorted(TASK_FIELDS)}, got {shorten(sorted(unknown))}")
    is_request = "duration_ms" in d or "outcome" in d
    sessions, stalled = _count(d, "sessions"), _count(d, "stalled_sessions")
    if not is_request and sessions == 0:
        raise LineError("line: expected duration_ms with outcome, or sessions above 0, got neither")
    if stalled > sessions:
        raise LineError(f"stalled_sessions: expected at most sessions ({sessions}), got {stalled}")
    event = Event(
        at=_task_time(d),
        key=(
            _dimension(d, "customer", defaults.customer),
            _dimension(d, "service", defaults.service or COMPUTE_SERVICE),
            _dimension(d, "app", defaults.app),
            _dimension(d, "client_isp", UNKNOWN),
            _dimension(d, "client_region", UNKNOWN),
            _dimension(d, "sched_rule", UNKNOWN),
        ),
        requests=int(is_request),
        bytes=_count(d, "bytes"),
        sessions=sessions,
        stalled_sessions=stalled,
        play_ms=_count(d, "play_ms"),
        stall_ms=_count(d, "stall_ms"),
    )
    if is_request:
        _add_request(event, d)
    return event


def _add_request(event: Event, document: dict[str, Any]) -> None:
    outcome = document.get("outcome")
    if not isinstance(outcome, str) or outcome not in OUTCOMES:
        raise LineError(f"outcome: expected one of {', '.join(OUTCOMES)}, got {shorten(outcome)}")
    event.failure = OUTCOMES[outcome]
    event.latency_ms = float(_number(document, "duration_ms"))
    event.status = _count(document, "status")
    if event.status > 999:
        raise LineError(f"status: expected 0..999, got {event.status}")
    hit = document.get("cache_hit", False)
    if type(hit) is not bool:
        raise LineError(f"cache_hit: expected true or false, got {shorten(hit)}")
    event.cache_hit = hit
    name = document.get("name", "")
    event.path = name if isinstance(name, str) else ""


PARSERS: dict[str, Parser] = {"nginx": nginx_line, "tasks": task_line}
