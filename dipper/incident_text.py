"""Headlines of incidents in English, for terminals and messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts.incidents import Incident, Sentence
from contracts.times import MINUTE_MS, rfc3339

MEASURE_WORDS = {
    "failures": "failures",
    "slow_requests": "slow requests",
    "stalled_sessions": "stalls",
    "low_throughput": "low throughput",
    "cache_misses": "cache misses",
}
BASELINE_WORDS = {
    "none": "expected: a typical ratio, because nothing of this series was known yet",
    "overall": "expected: from all of its minutes, because no day of it was known yet",
    "time_of_day": "expected: from the same half hour of earlier days, because no week of it was known yet",
    "time_of_week": "expected: from the same half hour of the same weekday",
}
"""What was usual, by the baseline that a verdict used (docs/detectors.md)."""
_SILENT = {
    "silence.box": "off",
    "silence.uplink": "without uplink",
    "silence.agent": "without agent",
}
_MOST_NAMES = 3


def words(sentence: Sentence) -> str:
    """A headline as one sentence."""
    p: Mapping[str, Any] = sentence.params
    since = f"since {rfc3339(p['since'])[11:16]}"
    kind = sentence.key
    if kind.startswith("quality."):
        what = f"{_names(p['customers'])}: {_join([MEASURE_WORDS[m] for m in p['measures']])} at "
        what += f"{p['factor']:.1f} times normal {since}"
        if kind == "quality.localised":
            return f"{what} for {where_words(p['where'])}; {p['share']:.0%} of the excess"
        return f"{what}, everywhere alike" if kind == "quality.diffuse" else f"{what}, cause not found"
    if kind in _SILENT:
        more = f" and {p['boxes'] - 1} more boxes" if p["boxes"] > 1 else ""
        return f"{p['device']}{more} silent ({_SILENT[kind]}) {since}"
    if kind == "silence.region":
        return f"{p['boxes']} boxes of {where_words(p['where'])} dark {since}, {p['share']:.0%} of those there"
    if kind == "self.lag":
        return f"Our own pipeline is {p['lag_s']:.0f} s behind {since}: verdicts are frozen"
    if kind == "self.test.absent":
        return f"The self-test does not run: no fault was made {since}"
    if kind == "self.test":
        return f"Our own test fault {p['fault']} was not found {since}"
    return f"{p['used']} of {p['allowed']} removable boxes of {where_words(p['where'])} in use {since}"


def where_words(where: Mapping[str, str]) -> str:
    """A combination of dimension values."""
    return " and ".join(f"{name}={value}" for name, value in where.items()) or "all traffic"


def age_words(incident: Incident, now: int) -> str:
    """How long it has lasted, or lasted."""
    minutes = max(0, ((incident.resolved_at or now) - incident.onset) // MINUTE_MS)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"


def _names(names: list[str] | tuple[str, ...]) -> str:
    if len(names) > _MOST_NAMES:
        return f"{len(names)} customers"
    return _join(list(names)) or "Nobody named"


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1] if parts else ""
