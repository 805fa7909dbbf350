"""How one viewer sees: language, zone, clock, colours. Every pure function that makes text takes a lens."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from zoneinfo import ZoneInfo

from dashboards import format as fmt
from dashboards.messages import Words
from dashboards.model import Sums
from dashboards.style import Palette
from dashboards.verdicts import FULL_COVERAGE

STALE_AFTER_MS = 180_000  # newest minute older than this: the pages say so and judge nothing
LATE_AFTER_S = 60.0  # history older than this is late: boxes report every 10 s, 5 to 15 s are normal
STREAM_LATE_AFTER_S = 180.0  # likewise of the streams' newest minute, which ends up to a minute before it is emitted


@dataclass(frozen=True, slots=True)
class Lens:
    """`now`: ms UTC, the fleet's clock. Numbers that are None come out as the word for "no data"."""

    words: Words
    zone: ZoneInfo
    now: int
    colours: Palette

    def clock(self, time_ms: int, *, seconds: bool = False) -> str:
        """A time of the viewer's zone; the date only when it is not today's."""
        return fmt.clock(time_ms, self.zone, self.now, self.words.language, seconds=seconds)

    def zone_name(self) -> str:
        """The viewer's zone with its offset now."""
        return fmt.zone_name(self.zone, self.now)

    def span(self, length_ms: float) -> str:
        """A length of time in words."""
        return fmt.span(length_ms, self.words.language)

    def ago(self, time_ms: int) -> str:
        """How long ago a time was."""
        return self.words("ago", span=self.span(self.now - time_ms))

    def percent(self, ratio: float | None) -> str:
        """A ratio in percent."""
        return self.words("no_data") if ratio is None else fmt.percent(ratio)

    def milliseconds(self, value: float | None) -> str:
        """A latency."""
        return self.words("no_data") if value is None else fmt.milliseconds(value)

    def compact(self, value: float) -> str:
        """A quantity at three significant digits."""
        return fmt.compact(value, self.words.language)

    def rate(self, requests: float, span_ms: int) -> str:
        """Requests per minute."""
        return self.compact(requests * 60_000 / span_ms)

    def counts(self, sums: Sums) -> str:
        """Both counts of a failure ratio, with the coverage when that is below FULL_COVERAGE."""
        text = self.words("hover.counts", failures=fmt.count(sums.failures), requests=fmt.count(sums.requests))
        coverage = sums.coverage
        if coverage is not None and coverage < FULL_COVERAGE:
            text += ", " + self.words("covered", coverage=self.percent(coverage))
        return text

    def is_stale(self, newest: int | None) -> bool:
        """Whether the newest measured minute is too old to be called now."""
        return newest is not None and self.now - newest > STALE_AFTER_MS


def span_tag(text: str, css: str, title: str = "") -> str:
    """A span of escaped text with an optional title."""
    hover = f' title="{escape(title)}"' if title else ""
    return f'<span class="{css}"{hover}>{escape(text)}</span>'
