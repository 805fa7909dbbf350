"""Log lines become events, or a LineError that names the field."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_exporter.errors import LineError
from agent_exporter.lines import Defaults, nginx_line, task_line
from tests.agent_exporter.builders import T0, access, encoded, task

NOTHING = Defaults()
SIGNED = {
    "server_customer": "",
    "verified": "1",
    "customer": "acme",
    "service": "vod",
    "app": "edge",
    "isp": "telecom",
    "region": "east",
    "rule": "r17-v3",
}


def nginx(**overrides: Any) -> Any:
    return nginx_line(encoded(access(T0, **overrides)), NOTHING)


def test_whole_line_becomes_an_event() -> None:
    event = nginx(request_time=0.25, upstream_cache_status="HIT")
    assert (event.at, event.status, event.failure, event.latency_ms) == (T0, 200, "", 250.0)
    assert (event.bytes, event.cache_hit, event.requests) == (1200, True, 1)
    assert event.key == ("acme", "web", "nginx", "unknown", "unknown", "unknown")


def test_verified_parameters_become_dimensions() -> None:
    assert nginx(**SIGNED).key == ("acme", "vod", "edge", "telecom", "east", "r17-v3")


@pytest.mark.parametrize("verified", ["", "0", "yes", 1])
def test_unverified_parameters_are_not_believed(verified: Any) -> None:
    assert nginx(**SIGNED | {"verified": verified}).key == ("unknown", "web", "nginx", *["unknown"] * 3)


def test_customer_of_the_server_block_wins_over_the_url() -> None:
    assert nginx(**SIGNED | {"server_customer": "blue", "server_service": "live"}).key[:2] == ("blue", "live")


def test_settings_of_the_log_fill_what_the_line_leaves_open() -> None:
    line = encoded(access(T0, server_customer=""))
    assert nginx_line(line, Defaults("acme", "vod", "edge")).key[:3] == ("acme", "vod", "edge")


def test_percent_encoded_parameter_is_decoded_and_an_unfit_one_is_unknown() -> None:
    event = nginx(**SIGNED | {"isp": "China%20Telecom", "region": "x" * 65, "rule": "a%0Ab"})
    assert event.key[3:] == ("China Telecom", "unknown", "unknown")


def test_bytes_that_are_not_utf8_in_a_path_do_not_cost_the_line() -> None:
    line = encoded(access(T0, path="/PATH")).replace(b"/PATH", b"/\xff")
    assert nginx_line(line, NOTHING).status == 200


def test_throughput_is_measured_on_large_completed_transfers_only() -> None:
    big = {"body_bytes_sent": 1_000_000, "sent_http_content_length": "1000000", "request_time": 0.5}
    assert nginx(**big).throughput_kb_per_s == 2000.0  # 1,000,000 bytes in 500 ms
    assert nginx(**big | {"request_time": 0.0}).throughput_kb_per_s is None
    assert nginx(**big | {"request_completion": ""}).throughput_kb_per_s is None
    assert nginx(**big | {"status": "404"}).throughput_kb_per_s is None
    assert nginx(body_bytes_sent=256 * 1024 - 1, request_time=0.5).throughput_kb_per_s is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("msec", "1"),
        ("msec", -1),
        ("msec", True),
        ("msec", 1e12),
        ("status", 200),
        ("status", "abc"),
        ("status", "1000"),
        ("status", "²"),
        ("request_time", None),
        ("request_time", -0.1),
        ("bytes_sent", 1.5),
        ("bytes_sent", 2**60),
        ("body_bytes_sent", "10"),
    ],
)
def test_wrong_field_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(LineError, match=field):
        nginx(**{field: value})


@pytest.mark.parametrize("field", ["msec", "status", "request_time", "bytes_sent", "body_bytes_sent"])
def test_missing_field_is_refused_by_name(field: str) -> None:
    line = access(T0)
    del line[field]
    with pytest.raises(LineError, match=field):
        nginx_line(encoded(line), NOTHING)


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b"{", b'{"msec":NaN}', b"\x00\x00", b"[" * 100_000])
def test_what_is_no_object_is_refused(line: bytes) -> None:
    with pytest.raises(LineError):
        nginx_line(line, NOTHING)
    with pytest.raises(LineError):
        task_line(line, NOTHING)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_line_error(line: bytes) -> None:
    for parse in (nginx_line, task_line):
        with contextlib.suppress(LineError):
            parse(line, NOTHING)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)


@given(st.dictionaries(st.sampled_from(sorted(access(T0) | task(T0) | {"sessions": 1, "name": 1})), json_values))
def test_no_field_values_raise_anything_but_a_line_error(overrides: dict[str, Any]) -> None:
    for parse, line in ((nginx_line, access(T0)), (task_line, task(T0))):
        text = json.dumps({k: v for k, v in (line | overrides).items() if parse is nginx_line or k in task(T0)})
        try:
            event = parse(text.encode(), NOTHING)
        except LineError:
            continue
        assert event.latency_ms >= 0
        assert all(1 <= len(value) <= 64 for value in event.key)


def tasks(**overrides: Any) -> Any:
    return task_line(encoded(task(T0, **overrides)), NOTHING)


def test_task_becomes_a_request_of_service_compute() -> None:
    event = tasks(client_isp="telecom")
    assert event.key == ("acme", "compute", "encoder", "telecom", "unknown", "unknown")
    assert (event.requests, event.latency_ms, event.failure, event.status) == (1, 2500.0, "", 0)


def test_task_time_may_be_rfc3339_with_a_zone() -> None:
    assert tasks(at="2027-01-15T08:00:00Z").at == T0
    with pytest.raises(LineError, match="at"):
        tasks(at="2027-01-15T08:00:00")


@pytest.mark.parametrize(
    ("outcome", "failure"),
    [
        ("ok", ""),
        ("cancelled", ""),
        ("error", "f_server"),
        ("timeout", "f_timeout"),
        ("lost", "f_reset"),
        ("incomplete", "f_incomplete"),
    ],
)
def test_outcome_decides_the_failure_class(outcome: str, failure: str) -> None:
    assert tasks(outcome=outcome).failure == failure


def test_session_beacon_is_no_request() -> None:
    beacon = {"at": T0, "app": "player", "customer": "acme", "service": "vod", "sessions": 2, "stalled_sessions": 1}
    event = task_line(encoded(beacon | {"play_ms": 9000, "stall_ms": 700}), NOTHING)
    assert (event.requests, event.sessions, event.stalled_sessions) == (0, 2, 1)
    assert (event.play_ms, event.stall_ms) == (9000, 700)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("outcome", "fine"),
        ("outcome", None),
        ("duration_ms", None),
        ("duration_ms", -1),
        ("customer", ""),
        ("customer", 7),
        ("status", 1000),
        ("cache_hit", 1),
        ("stalled_sessions", 1),
        ("durations_ms", 3),
    ],
)
def test_wrong_task_field_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(LineError, match=field):
        tasks(**{field: value})
