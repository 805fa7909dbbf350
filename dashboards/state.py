"""What the URL carries: range, customer, service, language. The URL is read when it changed, and written when a
control did, so that a copied address shows the same page to somebody else."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, minute_of


@dataclass(frozen=True, slots=True)
class Range:
    """A choice of the time control: length, and the step its series are shown in (at most 168 steps)."""

    name: str
    length_ms: int
    step_ms: int

    def bounds(self, now: int) -> tuple[int, int]:
        """(start, end): the end is the minute that is running, the start lies on the grid of steps."""
        end = minute_of(now)
        return (end - self.length_ms) // self.step_ms * self.step_ms, end


RANGES = {
    r.name: r
    for r in (
        Range("15m", 15 * MINUTE_MS, MINUTE_MS),
        Range("1h", HOUR_MS, MINUTE_MS),
        Range("6h", 6 * HOUR_MS, 5 * MINUTE_MS),
        Range("24h", DAY_MS, 10 * MINUTE_MS),
        Range("7d", 7 * DAY_MS, HOUR_MS),
        Range("30d", 30 * DAY_MS, 6 * HOUR_MS),
    )
}
DEFAULT_RANGE = "24h"
DEMO_RANGE = "1h"  # a demo is young
PARAMETERS = ("range", "customer", "service", "lang")
_SEEN = "url_seen"


def read_url(
    query: Mapping[str, str],
    session: MutableMapping[str, object],
    choices: Mapping[str, Sequence[str]],
    defaults: Mapping[str, str],
) -> None:
    """Where the URL is not what we last wrote (a link, the back button), take all parameters from it: a missing one
    means its default, and so does one that is not among its choices."""
    present = _present(query)
    if present == session.get(_SEEN):
        return
    for name in PARAMETERS:
        value = present.get(name)
        session[name] = value if value is not None and value in choices[name] else defaults[name]
    session[_SEEN] = present


def parameters(session: Mapping[str, object], defaults: Mapping[str, str]) -> dict[str, str]:
    """What a link has to carry for the same view: everything that is not at its default."""
    values = {name: str(session[name]) for name in PARAMETERS if session.get(name)}
    return {name: value for name, value in values.items() if value != defaults[name]}


def write_url(
    query: MutableMapping[str, str], session: MutableMapping[str, object], defaults: Mapping[str, str]
) -> None:
    """Write the session's parameters into the URL where it says otherwise, and remember what it says then. An explicit
    default is left alone: each write is a step of the browser's history, and going back must not be undone."""
    for name in PARAMETERS:
        value, written = str(session.get(name) or ""), query.get(name)
        if value == (defaults[name] if written is None else written):
            continue
        if value:
            query[name] = value
        elif written is not None:
            del query[name]
    session[_SEEN] = _present(query)


def _present(query: Mapping[str, str]) -> dict[str, str]:
    return {name: query[name] for name in PARAMETERS if name in query}
