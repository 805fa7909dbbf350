"""Figures, spans and times, by hand."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from contracts.times import from_rfc3339
from dashboards import format as fmt

T, M = fmt.THIN, fmt.MINUS


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0004217, "0.000422"),
        (1, "1.00"),
        (9.996, "10.0"),
        (84.27, "84.3"),
        (999.6, f"1{T}000"),
        (12_345, f"12{T}300"),
        (-5.678, f"{M}5.68"),
    ],
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert fmt.significant(value) == text


@pytest.mark.parametrize(
    ("value", "english", "chinese"),
    [
        (42, "42.0", "42.0"),
        (9_874, f"9{T}870", f"9{T}870"),
        (12_345, f"12.3{T}k", f"1.23{T}万"),
        (4_561_000, f"4.56{T}M", f"456{T}万"),
        (250_000_000, f"250{T}M", f"2.50{T}亿"),
    ],
)
def test_quantities_scale_by_the_languages_own_steps(value: float, english: str, chinese: str) -> None:
    assert fmt.compact(value, "en") == english
    assert fmt.compact(value, "zh") == chinese


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.0, "0%"),
        (0.0042, "0.420%"),
        (0.5, "50.0%"),
        (0.98765, "98.7%"),
        (0.9896, "98.9%"),
        (0.987, "98.7%"),
        (0.99, "99.00%"),
        (0.99996, "99.99%"),
        (1.0, "100%"),
        (1e-9, "<0.00001%"),
    ],
)
def test_percent_never_claims_all_of_what_is_not_all(ratio: float, text: str) -> None:
    assert fmt.percent(ratio) == text


@pytest.mark.parametrize(("target", "text"), [(0.999, "0.1%"), (0.995, "0.5%"), (0.99, "1%"), (0.8, "20%")])
def test_a_promise_has_no_needless_zeros(target: float, text: str) -> None:
    assert fmt.promise(1.0 - target) == text


def test_differences_carry_their_sign() -> None:
    assert fmt.points(0.0031) == "+0.31"
    assert fmt.points(-0.0031) == f"{M}0.31"
    assert fmt.points(0.0) == "0"


def test_latencies_change_unit_at_a_second() -> None:
    assert fmt.milliseconds(84.27) == f"84.3{T}ms"
    assert fmt.milliseconds(1_240) == f"1.24{T}s"


@pytest.mark.parametrize(
    ("length_ms", "english", "chinese"),
    [
        (900, f"0{T}s", f"0{T}秒"),
        (59_999, f"59{T}s", f"59{T}秒"),
        (240_000, f"4{T}min", f"4{T}分钟"),
        (7_300_000, f"2{T}h", f"2{T}小时"),
        (86_400_000 * 3, f"3{T}d", f"3{T}天"),
    ],
)
def test_spans_use_their_largest_unit(length_ms: int, english: str, chinese: str) -> None:
    assert fmt.span(length_ms, "en") == english
    assert fmt.span(length_ms, "zh") == chinese


def test_the_clock_shows_a_date_only_when_it_is_not_today() -> None:
    zone, now = ZoneInfo("Asia/Shanghai"), from_rfc3339("2026-03-12T17:00:00Z")  # 01:00 on the 13th there
    assert fmt.clock(from_rfc3339("2026-03-12T16:03:00Z"), zone, now) == "00:03"
    assert fmt.clock(from_rfc3339("2026-03-12T12:03:00Z"), zone, now) == "12 Mar 20:03"
    assert fmt.clock(from_rfc3339("2026-03-12T12:03:00Z"), zone, now, "zh") == "3月12日 20:03"
    assert fmt.clock(from_rfc3339("2025-03-12T12:03:00Z"), zone, now) == "2025-03-12 20:03"


@pytest.mark.parametrize(
    ("zone", "at", "text"),
    [
        ("UTC", "2026-03-12T12:00:00Z", "UTC"),
        ("Europe/Berlin", "2026-03-12T12:00:00Z", "Europe/Berlin (UTC+1)"),
        ("Europe/Berlin", "2026-07-12T12:00:00Z", "Europe/Berlin (UTC+2)"),
        ("Asia/Kolkata", "2026-03-12T12:00:00Z", "Asia/Kolkata (UTC+5:30)"),
        ("America/New_York", "2026-01-12T12:00:00Z", f"America/New_York (UTC{M}5)"),
    ],
)
def test_a_zone_is_named_with_its_offset_at_that_time(zone: str, at: str, text: str) -> None:
    assert fmt.zone_name(ZoneInfo(zone), from_rfc3339(at)) == text
