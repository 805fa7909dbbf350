"""Figures, times and objectives as the report says them. Ratios are cut, never rounded up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from contracts.histogram import COMPUTE_SERVICE
from contracts.times import MINUTE_MS, from_rfc3339
from dashboards import format as fmt
from dashboards.report.words import MONTHS, ReportWords

Document = Mapping[str, Any]


def attained(ratio: float) -> str:
    """A share of minutes in percent, cut: three decimals from 99% on, two below."""
    if ratio == 1:
        return "100%"
    decimals = 3 if ratio >= 0.99 else 2
    scale = 10 ** (2 + decimals)
    return f"{math.floor(ratio * scale + 1e-6) / 10**decimals:.{decimals}f}%"


def interval(lower: str, upper: str) -> str:
    """Two figures of one unit; one where they read the same."""
    if lower == upper:
        return lower
    unit = upper[-1]
    return f"{lower.removesuffix(unit)}–{upper}"


def promised(ratio: float) -> str:
    """A promised share in percent, in full."""
    return f"{round(ratio * 100, 6):g}%"


class Speech:
    """Times, minutes and objectives in the report's language and zone."""

    def __init__(self, words: ReportWords, zone: ZoneInfo, year: int) -> None:
        self.words, self.zone, self.year = words, zone, year

    def time(self, text: str) -> str:
        """A moment: 3 Nov 2026 08:00."""
        moment = fmt.local(from_rfc3339(text), self.zone)
        clock = f"{moment:%H:%M}"
        if self.words.language == "zh":
            return f"{moment.year}年{moment.month}月{moment.day}日 {clock}"
        return f"{moment.day} {MONTHS[moment.month - 1][:3]} {moment.year} {clock}"

    def span(self, start: str, end: str) -> str:
        """A span, the date once where it suffices: 8 Oct 20:03–21:10. The end is the last minute's."""
        a = fmt.local(from_rfc3339(start), self.zone)
        b = fmt.local(from_rfc3339(end) - MINUTE_MS, self.zone)
        if from_rfc3339(end) - from_rfc3339(start) == MINUTE_MS:
            return f"{self._date(a)} {a:%H:%M}"
        until = f"{b:%H:%M}" if a.date() == b.date() else f"{self._date(b)} {b:%H:%M}"
        return f"{self._date(a)} {a:%H:%M}–{until}"

    def _date(self, moment: Any) -> str:
        if self.words.language == "zh":
            return f"{moment.month}月{moment.day}日"
        return f"{moment.day} {MONTHS[moment.month - 1][:3]}"

    def minutes(self, n: float) -> str:
        """A number of minutes: 87 min, 3 h 24 min."""
        if n < 120:
            return self.words("minutes", n=f"{n:.1f}".rstrip("0").rstrip(".") if n < 10 else f"{n:.0f}")
        hours, rest = divmod(round(n), 60)
        if not rest:
            return self.words("whole_hours", h=fmt.grouped(hours))
        return self.words("hours", h=fmt.grouped(hours), m=rest)

    def measure(self, objective: Document) -> str:
        """What is counted as bad."""
        threshold, measure = objective["threshold"], objective["measure"]
        if measure == "slow_requests":
            key = "measure.slow_tasks" if objective["service"] == COMPUTE_SERVICE else "measure.slow_requests"
            return self.words(key, threshold=fmt.milliseconds(threshold))
        if measure == "low_throughput":
            return self.words("measure.low_throughput", threshold=fmt.significant(threshold))
        return self.words(f"measure.{measure}")

    def label(self, objective: Document) -> str:
        """An objective in words: vod – failed requests."""
        return f"{objective['service']} – {self.measure(objective)}"

    def interval(self, attainment: Document) -> str:
        """Attainment: one figure when both ends read the same."""
        if attainment["lower"] is None:
            return "–"
        lower, upper = attained(attainment["lower"]), attained(attainment["upper"])
        return interval(lower, upper)
