"""Time as the contracts use it: integer milliseconds UTC; grids, lateness and limits in one place."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from contracts.errors import shorten

# The profile of RFC 3339, section 5.6; fromisoformat alone takes more of ISO 8601 (weeks, basic format, no zone).
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_MS = timedelta(milliseconds=1)

SECOND_MS = 1_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000

MAX_TIME_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z, the last that RFC 3339 can write

GRID_MS = 10_000  # intervals lie inside one cell of this grid, so every interval lies inside one minute
DEFAULT_INTERVAL_MS = 10_000
AUTH_WINDOW_MS = 5 * MINUTE_MS  # how far sent_at may be from the gateway's clock
FUTURE_LIMIT_MS = 5 * MINUTE_MS  # how far a corrected interval may end after receipt
SEAL_AFTER_MS = 48 * HOUR_MS  # older data is refused, `after_seal`
WATERMARK_DELAY_MS = 20_000  # watermark = newest received_at - this
ALLOWED_LATENESS_MS = 2 * MINUTE_MS  # a minute stays open in the stream this long after the watermark passed it

# Coverage: how long a silent box still counts as placed for a customer, and how many measured minutes its weight
# averages over.
PLACEMENT_TTL_MINUTES = 60
WEIGHT_MINUTES = 15


def minute_of(time_ms: int) -> int:
    """Start of the minute that holds a time."""
    return time_ms - time_ms % MINUTE_MS


def shift_for_offset(clock_offset_ms: int) -> int:
    """What to add to a box's times for a measured clock offset: the nearest whole number of grid steps, so that
    network delay never moves an interval and a corrected interval stays on the grid. Halves round away from zero."""
    steps, rest = divmod(abs(clock_offset_ms), GRID_MS)
    shift = (steps + (rest * 2 >= GRID_MS)) * GRID_MS
    return shift if clock_offset_ms >= 0 else -shift


def rfc3339(time_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds, for files that people read."""
    return (_EPOCH + time_ms * _ONE_MS).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_rfc3339(text: str) -> int:
    """Milliseconds UTC of an RFC 3339 time, finer fractions cut off; a missing zone is an error, not a guess."""
    try:
        if not _RFC3339.fullmatch(text):
            raise ValueError
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError(f"time: expected RFC 3339 with a zone ({rfc3339(0)}), got {shorten(text)}") from None
    return (moment - _EPOCH) // _ONE_MS
