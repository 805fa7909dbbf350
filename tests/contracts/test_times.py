from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.times import GRID_MS, MAX_TIME_MS, MINUTE_MS, from_rfc3339, minute_of, rfc3339, shift_for_offset


@pytest.mark.parametrize(
    ("offset", "shift"),
    [
        (0, 0),
        (4_999, 0),
        (5_000, 10_000),
        (14_999, 10_000),
        (15_000, 20_000),
        (-4_999, 0),
        (-5_000, -10_000),
        (-14_999, -10_000),
        (-15_000, -20_000),
        (3_600_000, 3_600_000),
        (-3_600_001, -3_600_000),
    ],
)
def test_the_shift_is_the_nearest_grid_step_and_halves_go_away_from_zero(offset: int, shift: int) -> None:
    assert shift_for_offset(offset) == shift


@given(offset=st.integers(-(2**60), 2**60))
def test_a_shift_lies_on_the_grid_within_half_a_step_and_is_symmetric(offset: int) -> None:
    shift = shift_for_offset(offset)
    assert shift % GRID_MS == 0
    assert abs(shift - offset) <= GRID_MS // 2
    assert shift_for_offset(-offset) == -shift


def test_every_grid_cell_lies_inside_one_minute() -> None:
    assert MINUTE_MS % GRID_MS == 0


@given(time=st.integers(0, MAX_TIME_MS))
def test_a_minute_holds_its_time(time: int) -> None:
    minute = minute_of(time)
    assert minute % MINUTE_MS == 0
    assert minute <= time < minute + MINUTE_MS


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
        (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (MAX_TIME_MS, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_rfc3339_by_hand(time: int, text: str) -> None:
    assert rfc3339(time) == text
    assert from_rfc3339(text) == time


@given(time=st.integers(0, MAX_TIME_MS))
def test_a_time_comes_back_as_it_was(time: int) -> None:
    assert from_rfc3339(rfc3339(time)) == time
    if time < 2**43:
        assert datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") == rfc3339(time)[:19]


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T08:00:00+08:00",
        "2025-12-31T19:00:00-05:00",
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.000999Z",
        "2026-01-01 00:00:00z",
        "2026-01-01t00:00:00z",
    ],
)
def test_zones_and_fractions_name_the_same_millisecond(text: str) -> None:
    assert from_rfc3339(text) == 1_767_225_600_000


@pytest.mark.parametrize(
    "text",
    ["2026-01-01T00:00:00", "2026-01-01", "", "now", "2026-13-01T00:00:00Z", "2026-01-01T24:30:00Z", "20260101T000000Z",
     "2026-W01-4T00:00:00Z", "2026-01-01T00Z", "2026-01-01T00:00:00+08", "2026-01-01T00:00:00Z\n", "1767225600000"],
)  # fmt: skip
def test_what_is_not_rfc3339_with_a_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        from_rfc3339(text)
