"""The account of a month: one service level's minutes as figures, days and lost minutes, as plain JSON values.

Counts come with every ratio; ratios and trials that are estimates carry nine decimals, so that the same minutes always
make the same text. Times are RFC 3339 in UTC, dates those of the customer's zone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from contracts.protocols import Store
from contracts.sla import Month, day_start
from contracts.times import MINUTE_MS, SEAL_AFTER_MS, rfc3339
from history import sla
from history.objectives import Version
from history.sla import Tally
from history.sla_minutes import Minutes

FORMAT = 1
OPEN, PROVISIONAL, SEALED = "open", "provisional", "sealed"
DECIMALS = 9

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cause:
    """An incident that explains lost minutes: [start, end) in ms UTC, `end` None while it lasts. `key` and `params`
    are its sentence, to be said in any language (contracts.incidents.SENTENCES)."""

    id: str
    start: int
    end: int | None
    key: str
    params: Mapping[str, Any] = field(default_factory=dict)


Causes = Callable[[str, str, str, int, int, int], Sequence[Cause]]
"""(customer, service, measure, start, end, unmeasured minutes) -> incidents that explain lost minutes of the span."""


def no_causes(*_: str | int) -> Sequence[Cause]:
    """Where no incidents are kept."""
    return ()


def account(store: Store, version: Version, month: Month, through: int, causes: Causes = no_causes) -> Document:
    """What a month is worth as of what history holds; minutes from `through` (ms UTC) on are pending."""
    level = version.level
    start, end = month.span(level.zone)
    minutes = Minutes(store, level, start, end, max(start, min(end, through)))
    tally = Tally.of(minutes.classes)
    spent = sla.budget(tally, level.target)
    due, at_most = sla.credits_of(level.credits, tally)
    counted = np.isin(minutes.classes, (sla.GOOD, sla.BAD, sla.UNMEASURED))
    return {
        "format": FORMAT,
        "customer": level.customer,
        "month": str(month),
        "start": rfc3339(start),
        "end": rfc3339(end),
        "objective": {**level.to_json(), "version": version.number, "sha256": version.sha256},
        "minutes": asdict(tally),
        "attainment": {"lower": _rounded(tally.lower), "upper": _rounded(tally.upper)},
        "verdict": tally.verdict(level.target),
        "coverage": _coverage(minutes, counted),
        "trials": _trials(minutes, counted),
        "budget": {**asdict(spent), "allowed": _rounded(spent.allowed)},
        "credits": {"due": due, "at_most": at_most},
        "days": _days(minutes, month, version),
        "lost": _lost(minutes, version, causes),
        "classes": sla.written(minutes.classes),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS)


def _trials(minutes: Minutes, chosen: Any) -> Document:
    expected = float(np.nansum(minutes.unmeasured[chosen]))
    return {
        "total": int(minutes.total[chosen].sum()),
        "bad": int(minutes.bad[chosen].sum()),
        "unmeasured": round(expected, 3),
    }


def _coverage(minutes: Minutes, counted: Any) -> float | None:
    """Measured share of the trials to be expected in counted minutes; None when nothing was."""
    trials = _trials(minutes, counted)
    expected = trials["total"] + trials["unmeasured"]
    return _rounded(trials["total"] / expected) if expected > 0 else None


def _days(minutes: Minutes, month: Month, version: Version) -> list[Document]:
    zone = version.level.zone
    dates = month.days()
    borders = [*(day_start(day, zone) for day in dates), minutes.end]
    found = []
    for day, begin, until in zip(dates, borders, borders[1:], strict=False):
        part = slice((begin - minutes.start) // MINUTE_MS, (until - minutes.start) // MINUTE_MS)
        found.append({"date": day.isoformat(), **asdict(Tally.of(minutes.classes[part]))})
    return found


def _lost(minutes: Minutes, version: Version, causes: Causes) -> list[Document]:
    """Every lost minute in its episode, with what it rests on and the incidents that explain it."""
    level = version.level
    found = []
    for episode in sla.episodes(minutes.classes):
        begin = minutes.start + episode.first * MINUTE_MS
        until = minutes.start + (episode.last + 1) * MINUTE_MS
        part = np.arange(episode.first, episode.last + 1)
        lost = part[np.isin(minutes.classes[part], (sla.BAD, sla.UNMEASURED))]
        least = lost[np.argmin(_heard(minutes)[lost])]
        found.append(
            {
                "start": rfc3339(begin),
                "end": rfc3339(until),
                "bad": episode.bad,
                "unmeasured": episode.unmeasured,
                "trials": _trials(minutes, lost),
                "boxes": {
                    "placed": int(minutes.boxes_placed[least]),
                    "measured": int(minutes.boxes_measured[least]),
                },
                "causes": [
                    _plain(cause)
                    for cause in causes(level.customer, level.service, level.measure, begin, until, episode.unmeasured)
                ],
            }
        )
    return found


def _heard(minutes: Minutes) -> Any:
    placed = minutes.boxes_placed
    return np.divide(minutes.boxes_measured, placed, out=np.zeros(len(placed)), where=placed > 0)


def _plain(cause: Cause) -> Document:
    end = None if cause.end is None else rfc3339(cause.end)
    return {"id": cause.id, "start": rfc3339(cause.start), "end": end, "key": cause.key, "params": dict(cause.params)}


def canonical(document: Mapping[str, Any]) -> str:
    """The text that is hashed: JSON with sorted keys, without blanks, UTF-8."""
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str) -> str:
    """SHA-256 of a text, hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def status_of(document: Mapping[str, Any], month_end: int, now: int) -> str:
    """OPEN while the month lasts, then PROVISIONAL until it is sealed."""
    if "seal" in document:
        return SEALED
    return OPEN if now < month_end else PROVISIONAL


def sealable_from(month_end: int) -> int:
    """From when on a month can be sealed, ms UTC: no gateway takes what is older."""
    return month_end + SEAL_AFTER_MS
