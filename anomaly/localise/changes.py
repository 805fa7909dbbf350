"""Which changes that people made fit a cause, by scope and by time."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.localise import check
from anomaly.localise.cells import select
from anomaly.localise.model import Combination
from anomaly.localise.settings import ChangeSettings

DEFAULT = ChangeSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopedChange:
    """Something people did. `scope`: () is everything; a value that no leaf has is written as code -1."""

    id: str
    scope: Combination
    start_ms: int
    end_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Onset of a cause with its uncertainty, in milliseconds UTC: starts of minutes."""

    earliest_ms: int
    onset_ms: int
    latest_ms: int


class Relation(StrEnum):
    MATCHES = "matches"
    """Scope and cause are (nearly) the same traffic."""
    CONTAINS = "contains"
    """The scope holds the cause: only a part of what was changed suffers."""
    WITHIN = "within"
    """The scope lies inside the cause: more suffers than was changed."""


@dataclass(frozen=True, slots=True)
class CorrelatedChange:
    id: str
    relation: Relation
    delay_ms: int
    """Onset minus start of the change; below 0 only within the onset's uncertainty."""
    share_of_scope: float
    """Part of the scope's traffic now that the cause affects."""
    share_of_cause: float
    """Part of the cause's traffic now that the change touched."""
    score: float
    """0..1, for ranking: geometric mean of the two shares, halved per `half_life_ms` between change and onset."""


def correlate(
    codes: npt.NDArray[Any],
    total: npt.NDArray[Any],
    cause: Combination,
    span: Span,
    changes: Iterable[ScopedChange],
    settings: ChangeSettings = DEFAULT,
) -> tuple[CorrelatedChange, ...]:
    """The changes whose scope holds, matches or lies inside the cause and which began before it, best first.

    codes: (n_leaves, n_dims) and total: (n_leaves,) of the minute that was explained. Scopes are compared by the
    traffic they select, so a change written in other dimensions than the cause still matches it.
    """
    codes = check.codes_array(codes)
    weight = check.count_vector("total", total, len(codes))
    inside = select(codes, cause)
    of_cause = float(weight[inside].sum())
    found = []
    for change in changes:
        latest_start = span.latest_ms + settings.slack_ms
        if change.start_ms > latest_start or span.onset_ms - change.start_ms > settings.max_delay_ms:
            continue
        scope = select(codes, change.scope)
        of_scope, shared = float(weight[scope].sum()), float(weight[scope & inside].sum())
        if shared == 0:
            continue
        share_of_scope, share_of_cause = shared / of_scope, shared / of_cause
        relation = _relation(share_of_scope, share_of_cause, settings)
        if relation is None:
            continue
        # A roll-out acts while it lasts, so the wait counts from its end.
        acted_until = change.start_ms if change.end_ms is None else change.end_ms
        waited = max(0, span.onset_ms - acted_until)
        score = float(np.sqrt(share_of_scope * share_of_cause) * 0.5 ** (waited / settings.half_life_ms))
        delay = span.onset_ms - change.start_ms
        found.append(CorrelatedChange(change.id, relation, delay, share_of_scope, share_of_cause, score))
    return tuple(sorted(found, key=lambda c: (-c.score, c.delay_ms, c.id)))


def _relation(share_of_scope: float, share_of_cause: float, settings: ChangeSettings) -> Relation | None:
    if min(share_of_scope, share_of_cause) >= settings.nearly_all:
        return Relation.MATCHES
    if share_of_cause >= settings.nearly_all:
        return Relation.CONTAINS
    if share_of_scope >= settings.nearly_all:
        return Relation.WITHIN
    return None
