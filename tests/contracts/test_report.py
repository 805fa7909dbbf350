"""The report: what was encoded is what is decoded, and every refusal names its reason and its field."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import report as limits
from contracts.columns import COUNT_NAMES, EXEMPLARS_MEASURES, SLICE_DIMENSIONS
from contracts.decode import decode
from contracts.errors import ContractError
from contracts.report import Report, Totals, encode, no_slices
from tests.contracts.builders import START, changed, make_document, to_bytes, without
from tests.contracts.strategies import reports

REASONS = {
    "malformed",
    "unsupported_version",
    "bad_id",
    "bad_field",
    "bad_interval",
    "bad_totals",
    "bad_slices",
    "bad_histogram",
    "too_large",
}


def refusal(body: bytes) -> ContractError:
    with pytest.raises(ContractError) as caught:
        decode(body)
    return caught.value


@given(report=reports())
def test_a_good_report_comes_back_as_it_was(report: Report) -> None:
    assert decode(encode(report)) == report


@given(report=reports(max_rows=2), extra=st.dictionaries(st.text(min_size=1), st.integers()))
def test_unknown_top_level_fields_are_ignored(report: Report, extra: dict[str, int]) -> None:
    document = json.loads(encode(report))
    document = {**extra, **document, "added_by_a_newer_agent": {"deep": [1]}}
    assert decode(to_bytes(document)) == report


def test_the_report_by_hand_is_read_field_by_field() -> None:
    report = decode(to_bytes(make_document()))
    assert (report.device, report.boot, report.seq) == ("box-1", "b0", 7)
    assert (report.start, report.end, report.oldest_spooled_seq) == (START, START + 10_000, 5)
    assert report.totals == Totals(100, 20, {"spool_full": 10}, {"spool_full": 2}, {"spool_full": 1})
    assert report.earlier_boots[0].boot == "a9"
    assert report.earlier_boots[0].oldest_spooled_seq is None
    assert report.vitals == {"cpu_ratio": 0.25, "uptime_s": 12.0}
    assert len(report.slices) == 2
    assert report.slices.dimensions["sched_rule"] == ["near@3", "batch@1"]
    assert report.slices.counts["requests"] == [5, 2]
    assert report.slices.histograms["latency"].cells == [3, 40, 9]
    assert report.exemplars["failure"] == ["f_server"]


def test_an_idle_report_has_no_rows() -> None:
    idle = Report("d", "b", 1, START, START + 1, 1, "m", "f", "a", Totals(), slices=no_slices())
    assert len(decode(encode(idle)).slices) == 0
    assert decode(encode(idle)) == idle


def test_parts_a_box_may_leave_out() -> None:
    document = make_document()
    for name in ("earlier_boots", "vitals", "exemplars"):
        del document[name]
    report = decode(to_bytes(document))
    assert (report.earlier_boots, report.vitals, report.exemplars) == ((), {}, {})


def test_encode_refuses_numbers_that_json_cannot_carry() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        encode(Report("d", "b", 1, 0, 1, 1, "m", "f", "a", Totals(), vitals={"load1": math.nan}))


NOT_A_REPORT: list[tuple[bytes, str]] = [
    (b"", "malformed"),
    (b"{", "malformed"),
    (b"[]", "malformed"),
    (b"7", "malformed"),
    (b"\xff\xfe", "malformed"),
    (b'{"v": 1, "device": "\xff"}', "malformed"),
    (b'{"v": NaN}', "malformed"),
    (b'{"v": 1, "vitals": {"load1": Infinity}}', "malformed"),
    (b"[" * 100_000, "malformed"),
    (b'{"v": ' + b"9" * 5_000 + b"}", "malformed"),
    (to_bytes(make_document()).decode().encode("utf-16"), "malformed"),
    (b"\xef\xbb\xbf" + to_bytes(make_document()), "malformed"),
]


@pytest.mark.parametrize(("body", "reason"), NOT_A_REPORT, ids=range(len(NOT_A_REPORT)))
def test_what_is_not_a_json_object_in_utf8_is_malformed(body: bytes, reason: str) -> None:
    error = refusal(body)
    assert (error.reason, error.field) == (reason, "body")


def test_a_body_beyond_the_limit_is_too_large() -> None:
    body = to_bytes(make_document())
    padded = body + b" " * (limits.MAX_DECODED_BYTES - len(body))
    assert decode(padded)
    error = refusal(padded + b" ")
    assert (error.reason, error.field) == ("too_large", "body")


BIG = limits.MAX_COUNT + 1
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    # version and identity
    (changed("v", 2), "unsupported_version", "v"),
    (changed("v", True), "unsupported_version", "v"),
    (changed("v", 1.0), "unsupported_version", "v"),
    (without("v"), "unsupported_version", "v"),
    (changed("device", ""), "bad_id", "device"),
    (changed("device", "a b"), "bad_id", "device"),
    (changed("device", "a\n"), "bad_id", "device"),
    (changed("device", "x" * 65), "bad_id", "device"),
    (changed("device", ["x"]), "bad_id", "device"),
    (changed("boot", "-starts-badly"), "bad_id", "boot"),
    (without("boot"), "bad_id", "boot"),
    # numbers
    (changed("seq", 0), "bad_field", "seq"),
    (changed("seq", 1.0), "bad_field", "seq"),
    (changed("seq", True), "bad_field", "seq"),
    (changed("seq", BIG), "bad_field", "seq"),
    (changed("seq", "7"), "bad_field", "seq"),
    (without("start"), "bad_field", "start"),
    (changed("start", -1), "bad_field", "start"),
    (changed("end", None), "bad_field", "end"),
    (changed("oldest_spooled_seq", 0), "bad_field", "oldest_spooled_seq"),
    # texts
    (changed("model", ""), "bad_field", "model"),
    (changed("firmware", "x" * 65), "bad_field", "firmware"),
    (changed("agent", "a\u0000b"), "bad_field", "agent"),
    (changed("agent", 1), "bad_field", "agent"),
    # interval
    (changed("end", START), "bad_interval", "end"),
    (changed("end", START - 1), "bad_interval", "end"),
    (changed("end", START + 10_001), "bad_interval", "end"),
    (changed("start", START - 1), "bad_interval", "end"),
    # totals
    (without("totals"), "bad_field", "totals"),
    (changed("totals", []), "bad_field", "totals"),
    (without("totals.requests"), "bad_field", "totals.requests"),
    (changed("totals.requests", -1), "bad_field", "totals.requests"),
    (changed("totals.slices", "20"), "bad_field", "totals.slices"),
    (changed("totals.requests", 6), "bad_totals", "totals.requests"),
    (changed("totals.requests", 16), "bad_totals", "totals.requests"),
    (changed("totals.slices", 1), "bad_totals", "totals.slices"),
    (changed("totals.slices", 3), "bad_totals", "totals.slices"),
    (changed("oldest_spooled_seq", 8), "bad_totals", "oldest_spooled_seq"),
    (changed("totals.dropped_requests", 5), "bad_field", "totals.dropped_requests"),
    (changed("totals.dropped_requests", {"x": -1}), "bad_field", "totals.dropped_requests.x"),
    (changed("totals.dropped_slices", {"x": 0.5}), "bad_field", "totals.dropped_slices.x"),
    (changed("totals.dropped_reports", {"a b": 1}), "bad_id", "totals.dropped_reports cause"),
    (changed("totals.dropped_reports", {f"c{i}": 0 for i in range(17)}), "bad_field", "totals.dropped_reports"),
    # earlier boots
    (changed("earlier_boots", {}), "bad_field", "earlier_boots"),
    (changed("earlier_boots", [{}] * 9), "bad_field", "earlier_boots"),
    (changed("earlier_boots", [3]), "bad_field", "earlier_boots[0]"),
    (changed("earlier_boots.0.boot", ""), "bad_id", "earlier_boots[0].boot"),
    (changed("earlier_boots.0.oldest_spooled_seq", 0), "bad_field", "earlier_boots[0].oldest_spooled_seq"),
    (changed("earlier_boots.0.dropped_reports", None), "bad_field", "earlier_boots[0].dropped_reports"),
    (changed("earlier_boots.0.dropped_requests", -1), "bad_field", "earlier_boots[0].dropped_requests"),
    (changed("earlier_boots.0.dropped_slices", 1.5), "bad_field", "earlier_boots[0].dropped_slices"),
    # vitals
    (changed("vitals", []), "bad_field", "vitals"),
    (changed("vitals", {"mood": 1}), "bad_field", "vitals"),
    (changed("vitals.cpu_ratio", "high"), "bad_field", "vitals.cpu_ratio"),
    (changed("vitals.cpu_ratio", True), "bad_field", "vitals.cpu_ratio"),
    (changed("vitals.cpu_ratio", 10**400), "bad_field", "vitals.cpu_ratio"),
    # shape of the slices
    (without("slices"), "bad_field", "slices"),
    (changed("slices", []), "bad_field", "slices"),
    (without("slices.app"), "bad_slices", "slices"),
    (changed("slices.more", [1, 2]), "bad_slices", "slices"),
    (changed("slices.customer", "acme"), "bad_field", "slices.customer"),
    (changed("slices.service", ["video"]), "bad_slices", "slices.service"),
    (changed("slices.bytes", [1, 2, 3]), "bad_slices", "slices.bytes"),
    (changed("slices.latency.lengths", [2]), "bad_slices", "slices.latency.lengths"),
    (changed("slices.customer", ["x"] * 2001), "too_large", "slices"),
    # values of the slices
    (changed("slices.client_isp.1", ""), "bad_field", "slices.client_isp[1]"),
    (changed("slices.client_isp.1", None), "bad_field", "slices.client_isp[1]"),
    (changed("slices.client_isp.1", "\u2028"), "bad_field", "slices.client_isp[1]"),
    (changed("slices.bytes.0", -1), "bad_field", "slices.bytes[0]"),
    (changed("slices.bytes.0", 1.5), "bad_field", "slices.bytes[0]"),
    (changed("slices.bytes.0", BIG), "bad_field", "slices.bytes[0]"),
    # rules inside a row
    (changed("slices.s2xx.0", 4), "bad_slices", "slices.s2xx+s3xx+s4xx+s5xx[0]"),
    (changed("slices.f_reset.1", 2), "bad_slices", "slices.f_server+f_timeout+f_reset+f_incomplete[1]"),
    (changed("slices.cache_hits.0", 6), "bad_slices", "slices.cache_hits[0]"),
    (changed("slices.stalled_sessions.1", 1), "bad_slices", "slices.stalled_sessions[1]"),
    # histograms
    (changed("slices.latency", []), "bad_field", "slices.latency"),
    (changed("slices.latency.lengths", [2, 131]), "bad_field", "slices.latency.lengths[1]"),
    (changed("slices.latency.cells", 5), "bad_field", "slices.latency.cells"),
    (changed("slices.latency.cells", [3, 40]), "bad_histogram", "slices.latency"),
    (changed("slices.latency.counts", [4, 1, 2, 1]), "bad_histogram", "slices.latency"),
    (changed("slices.latency.cells.1", 130), "bad_field", "slices.latency.cells[1]"),
    (changed("slices.latency.cells.1", 3), "bad_histogram", "slices.latency.cells[1]"),
    (changed("slices.latency.cells.1", 2), "bad_histogram", "slices.latency.cells[1]"),
    (changed("slices.latency.counts.0", 0), "bad_field", "slices.latency.counts[0]"),
    (changed("slices.latency.counts.0", 2**32), "bad_field", "slices.latency.counts[0]"),
    (changed("slices.latency.counts.2", 3), "bad_histogram", "slices.latency[1]"),
    (changed("slices.throughput.counts.0", 6), "bad_histogram", "slices.throughput[0]"),
    # exemplars
    (changed("exemplars", []), "bad_field", "exemplars"),
    (without("exemplars.status"), "bad_field", "exemplars"),
    (changed("exemplars.more", [1]), "bad_field", "exemplars"),
    (changed("exemplars.at", [START] * 65), "too_large", "exemplars"),
    (changed("exemplars.status", [1, 2]), "bad_field", "exemplars.status"),
    (changed("exemplars.status.0", "502"), "bad_field", "exemplars.status[0]"),
    (changed("exemplars.path_hash.0", ""), "bad_field", "exemplars.path_hash[0]"),
    (changed("exemplars.failure.0", None), "bad_field", "exemplars.failure[0]"),
]


@pytest.mark.parametrize(
    ("document", "reason", "field"), REFUSED, ids=[f"{field}-{i}" for i, (_, _, field) in enumerate(REFUSED)]
)
def test_every_refusal_names_its_reason_and_field(document: dict[str, Any], reason: str, field: str) -> None:
    error = refusal(to_bytes(document))
    assert (error.reason, error.field) == (reason, field)
    assert str(error) == f"{field}: expected {error.expected}, got {error.got}"
    assert len(error.got) <= 120


def test_a_row_without_traffic_is_refused() -> None:
    document = make_document()
    for name in (*COUNT_NAMES,):
        document["slices"][name][1] = 0
    document["slices"]["latency"] = {"lengths": [2, 0], "cells": [3, 40], "counts": [4, 1]}
    error = refusal(to_bytes(document))
    assert (error.reason, error.field) == ("bad_slices", "slices.requests[1]")
    document["slices"]["sessions"][1] = 1
    assert len(decode(to_bytes(document)).slices) == 2


def test_every_documented_reason_is_covered_and_no_other_occurs() -> None:
    assert {reason for _, reason, _ in REFUSED} | {reason for _, reason in NOT_A_REPORT} == REASONS
    documented = (decode.__doc__ or "").split("one of", 1)[1]
    assert {name.strip(" .\n") for name in documented.split(",")} == REASONS


def test_limits_of_version_1_stay_what_boxes_in_the_field_were_built_for() -> None:
    assert (limits.VERSION, limits.SUPPORTED_VERSIONS[0]) == (1, 1)
    assert (limits.MAX_BODY_BYTES, limits.MAX_DECODED_BYTES, limits.MAX_COUNT) == (262_144, 2_097_152, 2**53 - 1)
    assert (limits.MAX_SLICES, limits.MAX_EXEMPLARS, limits.MAX_TEXT) == (2_000, 64, 64)
    assert (limits.MAX_EARLIER_BOOTS, limits.MAX_DROP_CAUSES) == (8, 16)


def test_limits_themselves_are_accepted() -> None:
    document = make_document(seq=limits.MAX_COUNT, model="x" * 64)
    document["slices"]["bytes"][0] = limits.MAX_COUNT
    document["slices"]["latency"]["cells"] = [0, 129, 129]
    assert decode(to_bytes(document)).seq == limits.MAX_COUNT
    exemplars = {c.name: document["exemplars"][c.name] * limits.MAX_EXEMPLARS for c in EXEMPLARS_MEASURES}
    assert len(decode(to_bytes(make_document(exemplars=exemplars))).exemplars["at"]) == limits.MAX_EXEMPLARS


def test_values_nested_to_any_depth_are_refused_and_never_crash() -> None:
    body = to_bytes(make_document(device="DEEP"))
    for depth in (10, 500, 800, 900, 940, 960, 970, 980, 985, 990, 995, 1_000, 5_000):
        error = refusal(body.replace(b'"DEEP"', b"[" * depth + b"]" * depth))
        assert error.reason in {"bad_id", "malformed"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PATHS = [
    *make_document(),
    *(f"totals.{name}" for name in make_document()["totals"]),
    *(f"earlier_boots.0.{name}" for name in make_document()["earlier_boots"][0]),
    *(f"slices.{name}" for name in (*SLICE_DIMENSIONS, *COUNT_NAMES)),
    *(f"slices.{name}.0" for name in (*SLICE_DIMENSIONS, *COUNT_NAMES)),
    *(f"slices.{h}.{part}" for h in ("latency", "throughput") for part in ("lengths", "cells", "counts")),
    *(f"exemplars.{c.name}" for c in EXEMPLARS_MEASURES),
]


@settings(max_examples=400)
@given(path=st.sampled_from(PATHS), value=json_values)
def test_any_value_anywhere_is_read_or_refused(path: str, value: Any) -> None:
    try:
        decode(to_bytes(changed(path, value)))
    except ContractError as error:
        assert error.reason in REASONS  # noqa: PT017 (either outcome is right)


@settings(max_examples=300)
@given(data=st.data())
def test_flipped_and_cut_bytes_are_read_or_refused(data: st.DataObject) -> None:
    body = bytearray(to_bytes(make_document()))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    del body[data.draw(st.integers(0, len(body))) :]
    try:
        decode(bytes(body))
    except ContractError as error:
        assert error.reason in REASONS  # noqa: PT017 (either outcome is right)
