"""What explains a dip: calls the localiser on cells, and says which causes are the same trouble."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from anomaly.localise import Cause as Found
from anomaly.localise import (
    Combination,
    RatioSettings,
    ScopedChange,
    Span,
    Verdict,
    correlate,
    localise_ratio,
)
from anomaly.localise import Equivalent as SameRows
from anomaly.localise.onset import onset
from anomaly.localise.overlap import equivalents
from contracts.columns import CELL_DIMENSIONS
from contracts.entities import MEASURES, Change
from contracts.incidents import Cause, Equivalent, RelatedChange
from streams.detect_measures import Ints, Service
from streams.incident_cells import CellMemory, Mask, Table, Where
from streams.incident_settings import IncidentSettings

MAX_CAUSES = 8
_MAX_EQUIVALENTS = 5
_FULL_STRENGTH = 0.5  # part of a cause's excess ratio


@dataclass(frozen=True, slots=True)
class Explanation:
    """Of one measure: the localiser's verdict and reason, causes with those of the answer first; `where`: the leading
    cause, None when there is none."""

    measure: str
    verdict: str
    reason: str
    causes: tuple[Cause, ...]

    @property
    def where(self) -> Where | None:
        """Of the first cause of the answer."""
        return self.causes[0].where if self.causes and self.causes[0].answer else None

    @property
    def gain(self) -> float:
        """Evidence for the answer, in nats."""
        return sum(cause.gain for cause in self.causes if cause.answer)


class Scene:
    """Cells before and during some trouble: one group per calm minute, the last group is the trouble itself. Minutes
    from `onset` to `newest`, the most recent ones when there are many."""

    def __init__(self, cells: CellMemory, onset: int, newest: int, settings: IncidentSettings) -> None:
        self._settings = settings
        held = cells.minutes
        calm = [m for m in held if m < onset][-settings.history_minutes :]
        during = [m for m in held if onset <= m <= newest][-settings.window_minutes :]
        self.minutes = len(during)
        self.table: Table = cells.table([*([m] for m in calm), during])

    @property
    def traffic(self) -> Ints:
        """(n,) requests of each cell during the trouble."""
        return self.table.total[0, :, -1]

    def of_services(self, services: Collection[Service]) -> Mask:
        """(n,) cells of some customers' services."""
        mask = np.zeros(len(self.table.codes), np.bool_)
        for customer, service in services:
            mask |= self.table.mask({"customer": customer, "service": service})
        return mask

    def without(self, wheres: Iterable[Sequence[Where]]) -> Mask:
        """(n,) cells outside all these causes."""
        mask = np.ones(len(self.table.codes), np.bool_)
        for causes in wheres:
            for where in causes:
                mask &= ~self.table.mask(where)
        return mask

    def explain(self, measure: str, rows: Mask) -> Explanation:
        """What raised a measure in some of the cells."""
        part = self.table.take(rows)
        varied = [d for d in range(len(CELL_DIMENSIONS)) if len(part.codes) and np.ptp(part.codes[:, d])]
        m = MEASURES.index(measure)
        if not varied or not part.total[m, :, -1].any():
            return Explanation(measure, Verdict.INSUFFICIENT_DATA.value, "nothing to compare", ())
        settings = RatioSettings(max_order=self._settings.max_dimensions)
        found = localise_ratio(part.codes[:, varied], part.bad[m], part.total[m], part.bad.shape[2] - 1, settings)

        def words(combination: Combination) -> dict[str, str]:
            return part.where([(varied[d], code) for d, code in combination])

        causes = tuple(_cause(cause, measure, words) for cause in found.causes[:MAX_CAUSES])
        return Explanation(measure, found.verdict.value, found.reason, causes)

    def rate(self, measure: str, where: Sequence[Where], rows: Mask | None = None) -> tuple[int, int, float]:
        """(bad, total, bad per event in calm minutes) of the cells of a cause; NaN where there was nothing before."""
        inside = ~self.without([where])
        if rows is not None:
            inside &= rows
        m = MEASURES.index(measure)
        bad, total = self.table.bad[m][inside], self.table.total[m][inside]
        before = int(total[:, :-1].sum())
        rate = (int(bad[:, :-1].sum()) + 0.5) / (before + 1) if before else float("nan")
        return int(bad[:, -1].sum()), int(total[:, -1].sum()), rate

    def excess(self, measure: str, where: Sequence[Where], rows: Mask) -> float:
        """Additional bad events of some cells inside a cause, against their own calm minutes."""
        bad, total, rate = self.rate(measure, where, rows)
        return float(bad) if rate != rate else bad - rate * total

    def covered(self, known: Sequence[Where], other: Sequence[Where]) -> float:
        """Part of a known cause's traffic that another cause covers, 0..1. Customers are left aside where a cause says
        more than which customer: the same network is the same cause for each of them."""
        a, b = ~self.without([general(known)]), ~self.without([general(other)])
        mine = float(self.traffic[a].sum())
        return float(self.traffic[a & b].sum()) / mine if mine else 0.0

    def overlap(self, one: Sequence[Where], other: Sequence[Where]) -> float:
        """Part of the smaller cause's traffic that both share, 0..1; customers as in `covered`."""
        return max(self.covered(one, other), self.covered(other, one))

    def same_rows(self, measure: str, where: Where) -> tuple[Equivalent, ...]:
        """Other combinations that select a cause's rows, or nearly, among the dimensions that vary here."""
        table = self.table
        if not table.mask(where).any():
            return ()
        settings = RatioSettings(max_order=self._settings.max_dimensions)
        m, varied = MEASURES.index(measure), np.flatnonzero(np.ptp(table.codes, axis=0))
        wanted = tuple((varied.tolist().index(d), code) for d, code in self._codes(where) if d in varied)
        counts = np.stack((table.total[m, :, -1], table.bad[m, :, -1])).astype(np.float64)
        found = equivalents(
            table.codes[:, varied], counts, wanted, settings.max_order, settings.equivalent_tolerance,
            np.arange(len(table.codes)),
        )  # fmt: skip
        return _equivalents(found, lambda combination: table.where([(int(varied[d]), code) for d, code in combination]))

    def changes(self, where: Where, span: Span, changes: Iterable[Change]) -> tuple[RelatedChange, ...]:
        """Changes before the onset whose scope fits the cause, best first."""
        by_id = {change.id: change for change in changes}
        scoped = [
            ScopedChange(id=c.id, scope=self._codes(c.scope), start_ms=c.start, end_ms=c.end) for c in by_id.values()
        ]
        found = correlate(self.table.codes, self.traffic, self._codes(where), span, scoped)
        return tuple(
            RelatedChange(
                c.id,
                by_id[c.id].kind,
                c.relation.value,
                by_id[c.id].start,
                c.delay_ms,
                c.score,
                c.share_of_scope,
                c.share_of_cause,
                dict(by_id[c.id].scope),
            )
            for c in found[:MAX_CAUSES]
        )

    def _codes(self, where: Where) -> Combination:
        pairs = [(CELL_DIMENSIONS.index(d), value) for d, value in where.items()]
        return tuple(sorted((d, self.table.code(d, value)) for d, value in pairs))


def began(cells: CellMemory, cause: Cause, earliest: int, newest: int) -> Span | None:
    """When a cause began, by the change point of its own rows up to `newest`, and not before `earliest`: an earlier
    trouble of the same rows is another. None when that cannot be said."""
    minutes = [m for m in cells.minutes if earliest <= m <= newest]
    table = cells.table([[m] for m in minutes])
    rows, m = table.mask(cause.where), MEASURES.index(cause.measure)
    bad, total = table.bad[m][rows].sum(axis=0), table.total[m][rows].sum(axis=0)
    if not minutes or not cause.total:
        return None
    expected = total * (cause.expected / cause.total)
    # How it fades says nothing about how it began: the change point is read back from a minute of full strength.
    least = _FULL_STRENGTH * (cause.bad - cause.expected) / cause.total
    full = np.flatnonzero((total > 0) & (bad - expected >= least * total))
    last = int(full[-1]) + 1 if len(full) else 0
    found = onset(bad[:last].astype(np.float64), expected[:last])
    if found is None:
        return None
    return Span(earliest_ms=minutes[found.earliest], onset_ms=minutes[found.minute], latest_ms=minutes[found.latest])


def general(wheres: Sequence[Where]) -> list[dict[str, str]]:
    """Combinations without customer and service, where something else is left."""
    kept = []
    for where in wheres:
        rest = {d: v for d, v in where.items() if d not in ("customer", "service")}
        kept.append(rest or dict(where))
    return kept


def pooled(explanations: Sequence[Explanation]) -> tuple[Cause, ...]:
    """Causes that several measures name, ranked by all their evidence: a combination that more measures speak for comes
    first. Each is stated with the counts of the measure that speaks loudest for it."""
    groups: list[list[Cause]] = []
    for cause in (cause for explanation in explanations for cause in explanation.causes):
        for group in groups:
            if _same(group[0], cause):
                group.append(cause)
                break
        else:
            groups.append([cause])
    merged = []
    for group in groups:
        loudest = max(group, key=lambda c: c.gain)
        answer = any(c.answer for c in group)
        merged.append((answer, sum(c.gain for c in group), replace(loudest, answer=answer)))
    merged.sort(key=lambda entry: (not entry[0], -entry[1]))
    ranked = [cause for _, _, cause in merged[:MAX_CAUSES]]
    return tuple(replace(cause, answer=cause.answer and place == 0) for place, cause in enumerate(ranked))


def _same(one: Cause, other: Cause) -> bool:
    mine = [one.where, *(e.where for e in one.equivalents)]
    return other.where in mine or one.where in [e.where for e in other.equivalents]


def _cause(found: Found, measure: str, words: Callable[[Combination], dict[str, str]]) -> Cause:
    return Cause(
        where=words(found.where),
        share=found.share,
        bad=found.bad,
        expected=found.expected,
        total=found.total,
        answer=found.answer,
        measure=measure,
        gain=found.gain,
        purity=found.purity,
        equivalents=_equivalents(found.equivalents, words),
    )


def _equivalents(found: Iterable[SameRows], words: Callable[[Combination], dict[str, str]]) -> tuple[Equivalent, ...]:
    kept = list(found)[:_MAX_EQUIVALENTS]
    return tuple(Equivalent(words(e.where), e.leaves_only_in_cause, e.leaves_only_in_equivalent) for e in kept)


def customer_cause(scene: Scene, measure: str, where: Mapping[str, str]) -> Cause:
    """The cause "all traffic of this customer", with its counts."""
    bad, total, rate = scene.rate(measure, [where])
    expected = 0.0 if rate != rate else rate * total
    same = scene.same_rows(measure, where)
    return Cause(dict(where), 1.0, bad, expected, total, True, measure, equivalents=same)
