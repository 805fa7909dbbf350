"""Service levels and the calendar: months and maintenance against a clock that is asked minute by minute."""

import itertools
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.errors import ContractError
from contracts.sla import (
    CreditTier,
    Month,
    Once,
    ServiceLevel,
    Weekly,
    day_start,
    level_from_json,
    local,
    offset_spans,
)
from contracts.times import from_rfc3339

MINUTE = 60_000
# Half-hour changes, changes at midnight, a day that was left out, a change at one past midnight, none at all.
ZONES = (
    "UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe",
    "America/Sao_Paulo", "Asia/Beirut", "America/Havana", "Pacific/Apia", "America/St_Johns", "Africa/Cairo",
)  # fmt: skip
zones = st.sampled_from(ZONES).map(ZoneInfo)
months = st.builds(Month, st.integers(1990, 2037), st.integers(1, 12))


def level(**changes):
    values = {
        "customer": "acme", "name": "acme-vod", "service": "vod", "measure": "failures", "minute_target": 0.99,
        "target": 0.999, "timezone": "Asia/Shanghai", "valid_from": Month(2026, 10),
    }  # fmt: skip
    return ServiceLevel(**{**values, **changes})


def shown(time_ms, zone):
    """The zone's clock, asked of the standard library."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).astimezone(zone)


@given(months, st.integers(0, 30), zones)
@example(Month(2011, 12), 29, ZoneInfo("Pacific/Apia"))
@example(Month(2018, 11), 3, ZoneInfo("America/Sao_Paulo"))
@example(Month(2006, 10), 28, ZoneInfo("America/St_Johns"))
@example(Month(2023, 4), 27, ZoneInfo("Africa/Cairo"))
def test_a_date_begins_when_the_clock_first_shows_it(month, n, zone):
    day = month.days()[n % len(month.days())]
    start = day_start(day, zone)
    around = range(start - 180 * MINUTE, start + 180 * MINUTE, MINUTE)
    assert start == next(t for t in around if shown(t, zone).date() >= day)


@given(months, zones)
def test_months_leave_no_gap_and_hold_their_days(month, zone):
    start, end = month.span(zone)
    assert end == month.next().span(zone)[0]
    assert [day_start(d, zone) for d in month.days()] == sorted(day_start(d, zone) for d in month.days())
    assert day_start(month.days()[0], zone) == start
    for moment in (start, (start + end) // 2, end - MINUTE):
        assert Month.at(moment, zone) == month
    assert Month.at(end, zone) == month.next()


def test_months_of_daylight_saving_are_an_hour_short_or_long():
    berlin = ZoneInfo("Europe/Berlin")
    lengths = {str(m): (m.span(berlin)[1] - m.span(berlin)[0]) // MINUTE for m in (Month(2026, 3), Month(2026, 10))}
    assert lengths == {"2026-03": 31 * 1440 - 60, "2026-10": 31 * 1440 + 60}
    assert Month(2026, 10).span(ZoneInfo("Asia/Shanghai")) == (
        from_rfc3339("2026-10-01T00:00:00+08:00"),
        from_rfc3339("2026-11-01T00:00:00+08:00"),
    )


@pytest.mark.parametrize("text", ["2026-13", "2026-1", "26-10", "2026-10-01", "", None, "２０２６-10", "0000-01"])
def test_what_is_no_month_is_refused(text):
    with pytest.raises(ContractError, match="month: expected a month such as 2026-10"):
        Month.parse(text)


@given(st.integers(0, 2_000_000_000), st.integers(1, 6_000), zones)
def test_pieces_of_one_offset_tile_the_span(start_s, minutes, zone):
    start = start_s // 60 * MINUTE
    end = start + minutes * MINUTE
    pieces = list(offset_spans(start, end, zone))
    assert pieces[0][0] == start
    assert pieces[-1][1] == end
    assert [p[1] for p in pieces[:-1]] == [p[0] for p in pieces[1:]]
    for begin, until, offset in pieces:
        for t in (begin, until - MINUTE):
            assert shown(t, zone).utcoffset().total_seconds() * 1000 == offset


windows = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 1439), st.integers(1, 240)).map(
        lambda w: Weekly(w[0], w[1], min(w[1] + w[2], 1440))
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(windows, st.integers(1_000_000_000, 2_000_000_000), zones)
@example([Weekly(6, 120, 180)], 1_761_436_800, ZoneInfo("Europe/Berlin"))  # the hour that comes twice
@example([Weekly(6, 120, 180)], 1_774_738_800, ZoneInfo("Europe/Berlin"))  # the hour that does not come
def test_weekly_maintenance_is_what_the_clock_shows(weekly, start_s, zone):
    start = start_s // 60 * MINUTE
    end = start + 2 * 1440 * MINUTE
    found = level(timezone=zone.key, maintenance=tuple(weekly)).excluded(start, end)
    inside = {t for a, b in found for t in range(a, b, MINUTE)}
    wanted = set()
    for t in range(start, end, MINUTE):
        at = shown(t, zone)
        minute = at.hour * 60 + at.minute
        if any(w.weekday == at.weekday() and w.start <= minute < w.end for w in weekly):
            wanted.add(t)
    assert inside == wanted
    assert all(a[1] < b[0] for a, b in itertools.pairwise(found))


def test_single_windows_are_cut_to_the_span_and_merged():
    first = from_rfc3339("2026-10-08T01:00:00+08:00")
    windows = (Once(first, first + 60 * MINUTE, "move"), Once(first + 30 * MINUTE, first + 90 * MINUTE))
    promised = level(maintenance=windows)
    assert promised.excluded(first + 10 * MINUTE, first + 80 * MINUTE) == [(first + 10 * MINUTE, first + 80 * MINUTE)]
    assert promised.excluded(first + 90 * MINUTE, first + 100 * MINUTE) == []


def test_a_level_survives_json():
    promised = level(
        measure="slow_requests",
        threshold=400.0,
        credits=(CreditTier(0.999, 0.1), CreditTier(0.99, 0.25)),
        maintenance=(Weekly(6, 120, 240), Once(1_790_000_040_000, 1_790_000_100_000, "移机")),
    )
    assert level_from_json(promised.to_json()) == promised


def test_local_is_the_zones_clock():
    assert local(from_rfc3339("2026-10-01T00:00:00+08:00"), ZoneInfo("Asia/Shanghai")).date() == date(2026, 10, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"target": 1.0},
            "target: expected above 0 and at most 0.999975, which allows one bad minute in 40320, got 1.0",
        ),
        ({"target": 0.99999}, "target: expected above 0 and at most 0.999975"),
        ({"target": float("nan")}, "target: expected above 0"),
        ({"minute_target": 1.0}, "objective.target: expected a number between 0 and 1, got 1.0"),
        ({"measure": "uptime"}, "objective.measure: expected one of"),
        ({"timezone": "Asia/Peking"}, "timezone: expected an IANA time zone (Asia/Shanghai), got 'Asia/Peking'"),
        ({"customer": "a b"}, "customer: expected 1 to 64"),
        ({"measure": "slow_requests", "threshold": 90_000.0}, "threshold: expected 1 to 65536, what boxes can tell"),
        ({"measure": "slow_requests"}, "objective.threshold: expected above 0 for slow_requests"),
        ({"credits": (CreditTier(0.9995, 0.1),)}, "credits[0].below: expected above 0 and at most the target, 99.9%"),
        ({"credits": (CreditTier(0.99, 0.1), CreditTier(0.99, 0.2))}, "credits[1].below: expected above 0 and below"),
        ({"credits": (CreditTier(0.99, 0.2), CreditTier(0.9, 0.1))}, "credits[1].credit: expected above 20%"),
        ({"credits": (CreditTier(0.99, 1.5),)}, "credits[0].credit: expected above 0% and at most 100%, got '150%'"),
        ({"maintenance": tuple(Weekly(d, 0, 1440) for d in range(7))}, "maintenance: expected some minute of the week"),
    ],
)
def test_what_cannot_be_promised_is_refused_by_name(changes, message):
    with pytest.raises(ContractError) as refused:
        level(**changes)
    assert str(refused.value).startswith(message)


def test_windows_that_end_before_they_start_are_refused():
    with pytest.raises(ContractError, match="an end after the start, at most 24:00, got '04:00-02:00'"):
        Weekly(6, 240, 120)
    with pytest.raises(ContractError, match="whole minutes with an end after the start"):
        Once(60_000, 60_000)
    with pytest.raises(ContractError, match="whole minutes"):
        Once(0, 90_001)
