"""Service levels: what is promised for a calendar month of the customer's time zone, and the calendar itself.

A minute is good when at least `minute_target` of its trials are good. The month keeps its promise when at least
`target` of its counted minutes are good. Maintenance is not counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from contracts.auth import check_id
from contracts.entities import Objective
from contracts.errors import ContractError
from contracts.histogram import BUCKETS, THROUGHPUT_BASE_KB_PER_S, latency_base_ms, upper_bounds
from contracts.times import DAY_MS, HOUR_MS, MAX_TIME_MS, MINUTE_MS

REASON = "bad_service_level"
SHORTEST_MONTH_MINUTES = 28 * 24 * 60
# A target above this allows less than one bad minute in the shortest month: nobody could keep it but by luck.
HIGHEST_TARGET = 1 - 1 / SHORTEST_MONTH_MINUTES
MAX_CREDIT_TIERS = 10
MAX_MAINTENANCE = 100
MAX_NOTE_CHARS = 200
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MINUTES_PER_DAY = 1440

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def zone_of(field: str, name: object) -> ZoneInfo:
    """The zone of an IANA name. Raises ContractError."""
    try:
        if not isinstance(name, str) or not name:
            raise ValueError
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise ContractError(REASON, field, "an IANA time zone (Asia/Shanghai)", name) from None


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month, in whatever zone it is looked at."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: object, field: str = "month") -> Month:
        """The month of `2026-10`. Raises ContractError `bad_month`."""
        found = _MONTH.fullmatch(text) if isinstance(text, str) else None
        if found is None or not 1970 <= int(found[1]) < 9999:
            raise ContractError("bad_month", field, "a month such as 2026-10", text)
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def at(cls, time_ms: int, zone: ZoneInfo) -> Month:
        """The month that a moment lies in."""
        month = Month.parse(f"{local(time_ms, zone):%Y-%m}")
        # A clock set back over midnight of the first shows the month before once more; the new month has begun.
        return month.next() if month.next().span(zone)[0] <= time_ms else month

    def next(self) -> Month:
        """The month after."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"

    def days(self) -> tuple[date, ...]:
        """Its dates."""
        first = date(self.year, self.month, 1)
        after = self.next()
        return tuple(first + timedelta(n) for n in range((date(after.year, after.month, 1) - first).days))

    def span(self, zone: ZoneInfo) -> tuple[int, int]:
        """[start, end) in ms UTC."""
        after = self.next()
        return day_start(date(self.year, self.month, 1), zone), day_start(date(after.year, after.month, 1), zone)


def local(time_ms: int, zone: ZoneInfo) -> datetime:
    """What a zone's clock shows at a moment."""
    return (_EPOCH + timedelta(milliseconds=time_ms)).astimezone(zone)


def day_start(day: date, zone: ZoneInfo) -> int:
    """When a date begins in a zone, ms UTC, on a whole minute: its midnight, the first of two, or the moment at which
    the clock jumped over midnight."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    start = (midnight - _EPOCH) // timedelta(milliseconds=1)
    start -= start % MINUTE_MS
    # Where the clock jumps from before midnight to after it, the date begins with the jump.
    while local(start - MINUTE_MS, zone).date() >= day:
        start -= MINUTE_MS
    return start


def _offset_ms(time_ms: int, zone: ZoneInfo) -> int:
    return (local(time_ms, zone).utcoffset() or timedelta()) // timedelta(milliseconds=1)


def offset_spans(start: int, end: int, zone: ZoneInfo) -> Iterator[tuple[int, int, int]]:
    """[start, end), whole minutes, in pieces of one offset from UTC: (from, to, offset in ms)."""
    begin, offset, at = start, _offset_ms(start, zone), start
    while at < end:
        step = min(at + HOUR_MS, end)
        if _offset_ms(step, zone) != offset:
            step = next(t for t in range(at, step + 1, MINUTE_MS) if _offset_ms(t, zone) != offset)
            if step >= end:
                break
            yield begin, step, offset
            begin, offset = step, _offset_ms(step, zone)
        at = step
    if begin < end:
        yield begin, end, offset


@dataclass(frozen=True, slots=True)
class CreditTier:
    """With attainment below `below` (0..1), `credit` (0..1) of the month's fee is given back."""

    below: float
    credit: float


@dataclass(frozen=True, slots=True)
class Weekly:
    """Maintenance every week by the zone's clock: minutes of the day [start, end) on a weekday (0: Monday)."""

    weekday: int
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.weekday <= 6:
            raise ContractError(REASON, "maintenance.weekday", "0 (Monday) to 6", self.weekday)
        if not 0 <= self.start < self.end <= MINUTES_PER_DAY:
            got = f"{_clock(self.start)}-{_clock(self.end)}"
            raise ContractError(REASON, "maintenance", "an end after the start, at most 24:00", got)


@dataclass(frozen=True, slots=True)
class Once:
    """Maintenance once: [start, end) in ms UTC, whole minutes."""

    start: int
    end: int
    note: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end <= MAX_TIME_MS or self.start % MINUTE_MS or self.end % MINUTE_MS:
            raise ContractError(REASON, "maintenance", "whole minutes with an end after the start", asdict(self))
        if len(self.note) > MAX_NOTE_CHARS or not (self.note.isprintable() or not self.note):
            raise ContractError(REASON, "maintenance", f"a note of at most {MAX_NOTE_CHARS} characters", self.note)


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """One promise to one customer, from `valid_from` on until a later version of the same name.

    `threshold`: as in Objective. `credits`: tiers from the highest to the lowest attainment, each with a larger
    credit than the one before. Raises ContractError `bad_service_level`, `bad_objective` or `bad_id`.
    """

    customer: str
    name: str
    service: str
    measure: str
    minute_target: float
    target: float
    timezone: str
    valid_from: Month
    threshold: float | None = None
    credits: tuple[CreditTier, ...] = ()
    maintenance: tuple[Weekly | Once, ...] = ()

    def __post_init__(self) -> None:
        for field in ("customer", "name", "service"):
            check_id(field, getattr(self, field))
        Objective(self.customer, self.service, self.measure, self.minute_target, self.threshold)
        if not 0 < self.target <= HIGHEST_TARGET:
            expected = (
                f"above 0 and at most {HIGHEST_TARGET:.6f}, which allows one bad minute in {SHORTEST_MONTH_MINUTES}"
            )
            raise ContractError(REASON, "target", expected, self.target)
        zone_of("timezone", self.timezone)
        self._check_threshold()
        self._check_credits()
        self._check_maintenance()

    def _check_threshold(self) -> None:
        base = THROUGHPUT_BASE_KB_PER_S if self.measure == "low_throughput" else latency_base_ms(self.service)
        top = upper_bounds(base)[BUCKETS]
        if self.threshold is not None and not base <= self.threshold <= top:
            expected = f"{base:g} to {top:g}, what boxes can tell apart"
            raise ContractError(REASON, "threshold", expected, self.threshold)

    def _check_credits(self) -> None:
        if len(self.credits) > MAX_CREDIT_TIERS:
            raise ContractError(REASON, "credits", f"at most {MAX_CREDIT_TIERS} tiers", len(self.credits))
        above, least = self.target, 0.0
        for i, tier in enumerate(self.credits):
            if not 0 < tier.below <= above or (i and tier.below == above):
                bound = f"below the tier before, {_percent(above)}" if i else f"at most the target, {_percent(above)}"
                expected = f"above 0 and {bound}"
                raise ContractError(REASON, f"credits[{i}].below", expected, _percent(tier.below))
            if not least < tier.credit <= 1:
                expected = f"above {_percent(least)} and at most 100%"
                raise ContractError(REASON, f"credits[{i}].credit", expected, _percent(tier.credit))
            above, least = tier.below, tier.credit

    def _check_maintenance(self) -> None:
        if len(self.maintenance) > MAX_MAINTENANCE:
            raise ContractError(REASON, "maintenance", f"at most {MAX_MAINTENANCE} windows", len(self.maintenance))
        week = [False] * (7 * MINUTES_PER_DAY)
        for window in self.maintenance:
            if isinstance(window, Weekly):
                first = window.weekday * MINUTES_PER_DAY
                week[first + window.start : first + window.end] = [True] * (window.end - window.start)
        if all(week):
            raise ContractError(REASON, "maintenance", "some minute of the week to be left", "the whole week")

    @property
    def zone(self) -> ZoneInfo:
        """The zone whose months are judged."""
        return ZoneInfo(self.timezone)

    def excluded(self, start: int, end: int) -> list[tuple[int, int]]:
        """Maintenance in [start, end): disjoint spans, ms UTC, ascending."""
        found = [(max(w.start, start), min(w.end, end)) for w in self.maintenance if isinstance(w, Once)]
        weekly = [w for w in self.maintenance if isinstance(w, Weekly)]
        for begin, until, offset in offset_spans(start, end, self.zone) if weekly else ():
            first_day = (begin + offset) // DAY_MS
            for day in range(first_day, (until + offset - 1) // DAY_MS + 1):
                for w in weekly:
                    if (day + 3) % 7 == w.weekday:  # day 0 of the epoch was a Thursday
                        opens = day * DAY_MS + w.start * MINUTE_MS - offset
                        closes = day * DAY_MS + w.end * MINUTE_MS - offset
                        found.append((max(opens, begin), min(closes, until)))
        return _merged(found)

    def to_json(self) -> dict[str, Any]:
        """JSON values from which `level_from_json` makes the same level."""
        windows: list[dict[str, Any]] = [
            {"weekday": w.weekday, "from": w.start, "to": w.end}
            if isinstance(w, Weekly)
            else {"start": w.start, "end": w.end, "note": w.note}
            for w in self.maintenance
        ]
        return {
            "customer": self.customer,
            "name": self.name,
            "service": self.service,
            "measure": self.measure,
            "threshold": self.threshold,
            "minute_target": self.minute_target,
            "target": self.target,
            "timezone": self.timezone,
            "valid_from": str(self.valid_from),
            "credits": [asdict(tier) for tier in self.credits],
            "maintenance": windows,
        }


def level_from_json(document: Mapping[str, Any]) -> ServiceLevel:
    """What `ServiceLevel.to_json` wrote."""
    windows: list[Weekly | Once] = [
        Weekly(w["weekday"], w["from"], w["to"]) if "weekday" in w else Once(w["start"], w["end"], w["note"])
        for w in document["maintenance"]
    ]
    plain = {name: document[name] for name in ("customer", "name", "service", "measure", "threshold", "timezone")}
    return ServiceLevel(
        **plain,
        minute_target=document["minute_target"],
        target=document["target"],
        valid_from=Month.parse(document["valid_from"]),
        credits=tuple(CreditTier(t["below"], t["credit"]) for t in document["credits"]),
        maintenance=tuple(windows),
    )


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(s for s in spans if s[0] < s[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def _percent(ratio: float) -> str:
    return f"{round(ratio * 100, 6):g}%" if math.isfinite(ratio) else f"{ratio}"
