"""Quality incidents: signals and cells of a minute in, incidents in the book. One incident per cause. Pure.

Each minute: dips that belong to an incident keep it alive as long as its cause's own rows are raised; what remains is
explained by the localiser outside the causes that are known, and joins an incident with the same cause, brings one back
or opens one. Incidents are explained again while they grow, and merge when they turn out to have one cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anomaly.detect import Verdict
from contracts.entities import Change
from contracts.incidents import QUALITY, Cause, Incident, Severity
from contracts.times import MINUTE_MS
from streams.detect import Series, Signal
from streams.incident_book import IncidentBook
from streams.incident_candidates import DIFFUSE, LOCALISED, Candidate, excess_nats, first_cause, second_cause
from streams.incident_causes import Explanation, Scene, began, customer_cause, pooled
from streams.incident_cells import CellMemory, Where
from streams.incident_settings import IncidentSettings
from streams.incident_severity import headline, measured, members, series_evidence

Service = tuple[str, str]
_YOUNG_LOOKS = 3  # an incident may change its mind so often; later explanations may only sharpen it
_ALIKE = 3.0  # factor within which the excess ratios of one cause lie
_LOOKS = (1, 1, 2, 3, 5, 8, 10)  # minutes between explanations of an incident as it ages
_STILL_SHARE = 0.25  # part of a cause's excess ratio below which it is over: ratios drift by that much
_TOGETHER_MS = (
    6 * MINUTE_MS
)  # measures of one customer that slip within this have one cause, as far as anybody can tell
_LATEST_MINUTES = 2  # minutes that decide whether a cause goes on
_MAX_NEW_PER_MEASURE = 4


@dataclass(slots=True)
class _Care:
    """What need not be stored of an active incident: rebuilt after a restart."""

    alive: int
    looks: int = 0
    next_look: int = 0
    gain: float = 0.0  # of the best explanation so far: what is left of a fault explains it less well
    signals: list[Signal] = field(default_factory=list)


class QualityIncidents:
    """Works on the book's incidents of kind quality."""

    def __init__(self, book: IncidentBook, settings: IncidentSettings) -> None:
        self._book = book
        self._settings = settings
        self._care: dict[str, _Care] = {}
        self._scenes: dict[tuple[int, int], Scene] = {}
        self._cells: CellMemory | None = None

    def minute(self, minute: int, signals: Sequence[Signal], cells: CellMemory, changes: Iterable[Change]) -> None:
        """Work off one minute; call in order. `changes`: of the last day. A minute that was worked off before a crash
        and was not noted as such may be given again: incidents that show it have it in their account."""
        self._cells, self._scenes = cells, {}
        accounted = {i.id for i in self._active() if i.newest >= minute}
        known = list(changes)
        dips = {s.series: s for s in signals if s.dip}
        frozen = {s.series for s in signals if s.evidence.verdict is Verdict.FROZEN}
        if signals and len(frozen) == len(signals):
            cells.drop(minute)
        for incident in self._active():
            self._go_on(incident, minute, dips, frozen)
        self._discover(minute, dips)
        for incident in self._active():
            if self._of(incident).next_look <= minute:
                self._explain(incident, minute, known)
        self._merge(minute)
        for incident in self._active():
            if incident.id not in accounted:
                self._account(incident, minute)
            if minute - self._of(incident).alive >= self._settings.end_after_ms:
                self._end(incident, minute, known)

    def _active(self) -> list[Incident]:
        return list(self._book.active(QUALITY))

    def _of(self, incident: Incident) -> _Care:
        gain = sum(cause.gain for cause in incident.causes if cause.answer)
        return self._care.setdefault(incident.id, _Care(alive=incident.newest, gain=gain))

    def _scene(self, onset: int, newest: int) -> Scene:
        assert self._cells is not None
        if (onset, newest) not in self._scenes:
            self._scenes[onset, newest] = Scene(self._cells, onset, newest, self._settings)
        return self._scenes[onset, newest]

    def _known(self, besides: str = "") -> list[list[Where]]:
        """Causes of active incidents."""
        return [wheres(i) for i in self._active() if i.id != besides and located(i)]

    # -- what goes on

    def _go_on(self, incident: Incident, minute: int, dips: Mapping[Series, Signal], frozen: set[Series]) -> None:
        care = self._of(incident)
        mine = {(s.customer, s.service, s.measure) for s in incident.series}
        care.signals = [dips[series] for series in sorted(mine) if series in dips]
        if mine and mine <= frozen:
            care.alive = max(care.alive, minute)  # nobody knows: it neither goes on nor ends
        elif care.signals and self._raised(incident, minute):
            care.alive = minute
            self._book.change(incident.id, newest=minute, **self._with(incident, care.signals))

    def _raised(self, incident: Incident, minute: int) -> bool:
        """Whether the cause's own rows were bad in the last minutes; without a cause, the signals alone decide."""
        if not located(incident):
            return True
        scene = self._scene(minute - (_LATEST_MINUTES - 1) * MINUTE_MS, minute)
        alone = scene.without(self._known(besides=incident.id))  # what another cause does there says nothing
        for cause in (c for c in incident.causes if c.answer and c.total):
            bad, total, _ = scene.rate(cause.measure, [cause.where], alone)
            expected = total * cause.expected / cause.total
            still = bad - expected >= _STILL_SHARE * total * (cause.bad - cause.expected) / cause.total
            if still and excess_nats(bad, expected) >= self._settings.confirm_nats:
                return True
        return False

    def _with(self, incident: Incident, signals: Iterable[Signal]) -> dict[str, Any]:
        """The incident's series, customers, services and measures with more signals."""
        series = {(s.customer, s.service, s.measure): s for s in incident.series}
        for signal in signals:
            series[signal.series] = series_evidence(signal, series.get(signal.series))
        return members(series.values())

    # -- what is new

    def _discover(self, minute: int, dips: Mapping[Series, Signal]) -> None:
        for measure in sorted({series[2] for series in dips}):
            for _ in range(_MAX_NEW_PER_MEASURE):
                self._attach(minute, [s for s in dips.values() if s.series[2] == measure])
                candidate = self._candidate(minute, measure, dips)
                if candidate is None:
                    break
                self._place(candidate, minute)
            self._attach(minute, [s for s in dips.values() if s.series[2] == measure])

    def _candidate(self, minute: int, measure: str, dips: Mapping[Series, Signal]) -> Candidate | None:
        mine = [s for s in dips.values() if s.series[2] == measure]
        holders = {s.series: self._holders(s.series) for s in mine}
        fresh = [s for s in mine if not holders[s.series] and not self._is_tail(s)]
        if fresh:
            onset = min(self._onset(s, minute) for s in fresh)
            scene = self._scene(onset, minute)
            return first_cause(scene, scene.without(self._known()), fresh, measure)
        held = [s for s in mine if holders[s.series] and all(located(i) for i in holders[s.series])]
        held += [s for s in mine if not holders[s.series]]
        if not held:
            return None
        scene = self._scene(minute - _LATEST_MINUTES * MINUTE_MS, minute)
        return second_cause(scene, scene.without(self._known()), held, measure)

    def _attach(self, minute: int, signals: Sequence[Signal]) -> None:
        """Series whose dip an incident explains join it: outside the known causes nothing is left, and inside
        one of them they are worse than usual."""
        for signal in signals:
            if self._holders(signal.series) or self._is_tail(signal):
                continue
            incident = self._explained_by(signal, minute)
            if incident is not None:
                care = self._of(incident)
                self._book.change(incident.id, newest=minute, **self._with(incident, [signal]))
                care.alive = minute
                care.signals.append(signal)

    def _explained_by(self, signal: Signal, minute: int, besides: str = "") -> Incident | None:
        alive = [i for i in self._active() if located(i) and i.id != besides and self._of(i).alive == minute]
        if not alive:
            return None
        scene = self._scene(self._onset(signal, minute), minute)
        rows = scene.of_services([(signal.series[0], signal.series[1])])
        found = scene.explain(signal.series[2], rows & scene.without([wheres(i) for i in alive]))
        if found.verdict in (LOCALISED, DIFFUSE):
            return None
        inside = [(scene.excess(signal.series[2], wheres(i), rows), i) for i in alive]
        excess, best = max(inside, key=lambda pair: pair[0])
        return best if excess > 0 else None

    def _holders(self, series: Series) -> list[Incident]:
        return [i for i in self._active() if series in {(s.customer, s.service, s.measure) for s in i.series}]

    def _is_tail(self, signal: Signal) -> bool:
        """Whether the signal only has not ended yet: its evidence began before an incident of it was over."""
        onset = signal.evidence.onset or signal.evidence.minute
        recent = self._book.resolved_since(onset, QUALITY)
        return any(signal.series in {(s.customer, s.service, s.measure) for s in i.series} for i in recent)

    def _onset(self, signal: Signal, minute: int) -> int:
        return self._within(signal.evidence.onset or minute, minute)

    def _within(self, onset: int, minute: int) -> int:
        """An onset, but not longer ago than minutes are added up."""
        return max(minute - (self._settings.window_minutes - 1) * MINUTE_MS, min(minute, onset))

    def _place(self, candidate: Candidate, minute: int) -> None:
        """Join, return or open."""
        onset = min(self._onset(s, minute) for s in candidate.signals)
        scene = self._scene(onset, minute)
        mine = [c for c in candidate.causes if c.answer]
        for incident in self._active() if mine else ():
            if self._same(scene, incident.causes, mine):
                self._join(incident, candidate, minute)
                return
        if not mine:
            for incident in self._active():
                near = abs(incident.onset - onset) <= _TOGETHER_MS or not located(incident)
                if near and set(incident.customers) & {s.series[0] for s in candidate.signals}:
                    self._join(incident, candidate, minute)
                    return
        for incident in self._book.resolved_since(minute - self._settings.return_within_ms, QUALITY):
            if mine and not incident.closed_by_people and self._same(scene, incident.causes, mine):
                self._book.come_back(incident.id, minute + MINUTE_MS, "the same cause again")
                self._join(incident, candidate, minute)
                return
        held_by = {i.id: i for signal in candidate.signals for i in self._holders(signal.series)}
        opened = self._open(candidate, onset, minute)
        for incident in held_by.values():
            self._split(incident, opened, minute)

    def _same(self, scene: Scene, known: Sequence[Cause], other: Sequence[Cause]) -> bool:
        """Whether a cause found beside a known one is that one: it covers its traffic, and is about as bad. (What lies
        inside a known cause is never found beside it.)"""
        mine, others = [c for c in known if c.answer], [c for c in other if c.answer]
        if not mine or not others:
            return False
        covered = scene.covered([c.where for c in mine], [c.where for c in others])
        if mine[0].measure == others[0].measure:
            ratios = sorted((c.bad - c.expected) / max(c.total, 1.0) for c in (mine[0], others[0]))
            return covered >= self._settings.same_cause_share and ratios[1] <= _ALIKE * max(ratios[0], 1e-9)
        return covered >= self._settings.same_cause_share

    def _join(self, incident: Incident, candidate: Candidate, minute: int) -> None:
        care = self._of(incident)
        care.alive = care.next_look = minute
        care.signals += candidate.signals
        self._book.change(incident.id, newest=minute, **self._with(incident, candidate.signals))

    def _open(self, candidate: Candidate, onset: int, minute: int) -> Incident:
        blank = headline((), (), onset, (), (), candidate.verdict)
        incident = self._book.open(
            QUALITY, minute + MINUTE_MS, onset, blank, Severity("low"),
            verdict=candidate.verdict, reason=candidate.reason, causes=candidate.causes, newest=minute,
        )  # fmt: skip
        self._join(incident, candidate, minute)
        return self._book.get(incident.id) or incident

    def _split(self, incident: Incident, other: Incident, minute: int) -> None:
        """A cause found beside that of an incident was there when the incident was opened: it was one incident of two
        causes. Series that its own cause does not raise go with the other. What began later is trouble of its own."""
        lead = next(cause for cause in other.causes if cause.answer)
        span = began(self._cells, lead, incident.onset - MINUTE_MS, minute) if self._cells else None
        if span is None or span.onset_ms >= incident.detected_at:
            return
        scene = self._scene(self._within(incident.onset, minute), minute)
        gone = {(s.customer, s.service, s.measure) for s in other.series}
        kept = [
            s for s in incident.series
            if (s.customer, s.service, s.measure) not in gone
            or scene.excess(s.measure, wheres(incident), scene.of_services([(s.customer, s.service)])) > 0
        ]  # fmt: skip
        if kept:
            mine, care = {(s.customer, s.service, s.measure) for s in kept}, self._of(incident)
            care.signals = [signal for signal in care.signals if signal.series in mine]
            self._book.change(incident.id, **members(kept))
        where = " and ".join(f"{name}={value}" for name, value in lead.where.items())
        self._book.split(incident.id, other.id, minute + MINUTE_MS, f"another cause: {where}")

    # -- explained again

    def _explain(self, incident: Incident, minute: int, changes: Sequence[Change]) -> None:
        care = self._of(incident)
        care.next_look = minute + _LOOKS[min(care.looks, len(_LOOKS) - 1)] * MINUTE_MS
        care.looks += 1
        scene = self._scene(incident.onset, max(incident.newest, incident.onset))
        outside = scene.without(self._known(besides=incident.id))
        services = {(s.customer, s.service) for s in incident.series}
        rows = scene.of_services(services) & outside
        found = [scene.explain(measure, rows) for measure in incident.measures]
        if len(incident.customers) > 1 and not any(e.verdict == LOCALISED for e in found):
            found = [scene.explain(measure, outside) for measure in incident.measures]
        located_by = [e for e in found if e.verdict == LOCALISED]
        better = pooled(located_by)
        if better and self._sharpens(scene, incident, better, sum(e.gain for e in located_by)):
            causes, verdict = better, LOCALISED
            reason = max(located_by, key=lambda e: e.gain).reason
            care.gain = sum(e.gain for e in located_by)
        elif located(incident):
            causes, verdict, reason = incident.causes, incident.verdict, incident.reason
        else:
            causes, verdict, reason = self._unlocated(scene, incident, found)
        lead = next((c for c in causes if c.answer), None)
        since = min((self._within(s.onset, incident.detected_at) for s in incident.series), default=incident.onset)
        span = began(self._cells, lead, since - MINUTE_MS, incident.newest) if lead and self._cells else None
        onset = incident.onset if span is None else span.onset_ms
        related = scene.changes(lead.where, span, changes) if lead and span else incident.changes
        said = headline(incident.customers, incident.measures, onset, causes, incident.series, verdict)
        self._book.change(
            incident.id, causes=causes, verdict=verdict, reason=reason, changes=related, headline=said, onset=onset
        )

    def _sharpens(self, scene: Scene, incident: Incident, better: Sequence[Cause], gain: float) -> bool:
        """Whether a new explanation may replace the one an incident has: it explains more, and is not another cause."""
        care = self._of(incident)
        if gain < care.gain:
            return False
        old = wheres(incident)
        young = not old or care.looks <= _YOUNG_LOOKS
        return young or scene.overlap(old, [better[0].where]) >= self._settings.same_cause_share

    def _unlocated(
        self, scene: Scene, incident: Incident, found: Sequence[Explanation]
    ) -> tuple[tuple[Cause, ...], str, str]:
        first = next((e for e in found if e.verdict == DIFFUSE), found[0])
        if first.verdict == DIFFUSE and len(incident.customers) == 1:
            cause = customer_cause(scene, first.measure, {"customer": incident.customers[0]})
            return (cause, *first.causes), DIFFUSE, first.reason
        return first.causes, first.verdict, first.reason

    def _merge(self, minute: int) -> None:
        """Two incidents with one cause become one: the earlier one goes on."""
        for incident in [i for i in self._active() if not located(i)]:
            signals = self._of(incident).signals
            holders = [self._explained_by(s, minute, incident.id) for s in signals]
            into = next((h for h in holders if h is not None), None)
            if into is not None and all(h is not None for h in holders):
                self._absorb(into.id, incident, minute)
        active = [i for i in self._active() if located(i)]
        for later in reversed(active):
            for earlier in active:
                if earlier.id == later.id or not later.active or earlier.detected_at > later.detected_at:
                    continue
                scene = self._scene(min(earlier.onset, later.onset), minute)
                if self._same(scene, earlier.causes, later.causes) or self._same(scene, later.causes, earlier.causes):
                    self._absorb(earlier.id, later, minute)
                    break

    def _absorb(self, earlier_id: str, later: Incident, minute: int) -> None:
        earlier = self._book.get(earlier_id)
        assert earlier is not None
        if not earlier.active:
            return
        series = {(s.customer, s.service, s.measure): s for s in (*later.series, *earlier.series)}
        care, gone = self._of(earlier), self._care.pop(later.id, None)
        self._book.merge(later.id, earlier_id, minute + MINUTE_MS, "the same cause")
        self._book.change(
            earlier_id,
            onset=min(earlier.onset, later.onset),
            newest=max(earlier.newest, later.newest),
            **members(series.values()),
        )
        care.next_look = minute
        if gone is not None:
            care.alive = max(care.alive, gone.alive)

    # -- account and end

    def _account(self, incident: Incident, minute: int) -> None:
        care = self._of(incident)
        if care.alive != minute or not care.signals:
            return
        current = self._book.get(incident.id) or incident
        now = self._scene(minute, minute)
        severity = measured(current.severity, now, current.causes, care.signals, self._settings.levels)
        said = headline(
            current.customers, current.measures, current.onset, current.causes, current.series, current.verdict
        )
        self._book.change(incident.id, severity=severity, headline=said)

    def _end(self, incident: Incident, minute: int, changes: Sequence[Change]) -> None:
        self._explain(incident, minute, changes)
        quiet_since = incident.newest + MINUTE_MS
        self._book.end(
            incident.id, minute + MINUTE_MS, f"usual again for {(minute - quiet_since) // MINUTE_MS + 1} min"
        )
        self._care.pop(incident.id, None)


def located(incident: Incident) -> bool:
    """Whether it is known which traffic suffers."""
    return any(cause.answer for cause in incident.causes)


def wheres(incident: Incident) -> list[Where]:
    """Combinations that are the answer."""
    return [cause.where for cause in incident.causes if cause.answer]
