"""The detection operator: customer minutes in, one signal per series and minute out. Pure: no log, no clock.

A series is one measure of one customer's service; series of the same measure are a family, so that what all customers
drift by together is no dip of one. Each minute is judged once, as soon as it has been emitted, and then learned. What
the detector remembers is a function of the minutes it was given, so a restart replays history (`learn`)
and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from anomaly.detect import Counts, Detector, DetectSettings, Evidence, Scores, Severity, Verdict, explain
from contracts.arrow import batch
from contracts.columns import SIGNALS
from contracts.entities import MEASURES
from contracts.times import MINUTE_MS
from streams.detect_measures import Floats, Ints, Promises, Service, measures_of, service_codes
from streams.incident_settings import DetectorSettings, statistics

Series = tuple[str, str, str]  # customer, service, measure
VERDICTS = tuple(v.name.lower() for v in Verdict)


@dataclass(slots=True)
class ServiceMinute:
    """One customer's service in one minute: (len(MEASURES),) bad and total, coverage (NaN: nothing expected)."""

    bad: Ints
    total: Ints
    coverage: float
    requests: int


def read_minutes(rows: Any, promises: Promises) -> Iterator[tuple[int, Service, ServiceMinute]]:
    """(minute, customer and service, content) of a RecordBatch of quality_minutes."""
    of, services = service_codes(rows)
    counted = measures_of(rows, promises)
    minutes = rows.column("minute").to_pylist()
    coverage = rows.column("coverage").to_pylist()
    requests = rows.column("requests").to_pylist()
    for i, (minute, service) in enumerate(zip(minutes, of.tolist(), strict=True)):
        known = float("nan") if coverage[i] is None else coverage[i]
        yield (
            minute,
            services[service],
            ServiceMinute(counted.bad[:, i].copy(), counted.total[:, i].copy(), known, requests[i]),
        )


@dataclass(frozen=True, slots=True)
class Signal:
    """What is said of one series in one minute."""

    series: Series
    coverage: float
    allowed: float
    evidence: Evidence

    @property
    def dip(self) -> bool:
        """Whether the series is worse than it should be."""
        return self.evidence.verdict is Verdict.DIP

    @property
    def page(self) -> bool:
        """Whether the objective burns so fast that a person should look now."""
        return "burn" in self.evidence.reasons and any(
            rule.decisive and rule.severity is Severity.PAGE for rule in self.evidence.burn
        )


@dataclass(slots=True)
class _Memory:
    series: list[Series] = field(default_factory=list)
    newest: list[int] = field(default_factory=list)  # newest minute with traffic


class DetectOperator:
    """Judges and learns minutes in their order. `detect`: the detectors' own settings, else what `settings` say."""

    def __init__(self, settings: DetectorSettings, detect: DetectSettings | None = None) -> None:
        self._settings = settings
        self._detect = detect or statistics(settings)
        self._detector = Detector(0, self._detect)
        self._memory = _Memory()
        self._index: dict[Series, int] = {}
        self.newest_minute = -1

    @property
    def series(self) -> tuple[Series, ...]:
        """All series it knows."""
        return tuple(self._memory.series)

    def learn(self, minute: int, services: Mapping[Service, ServiceMinute], promises: Promises) -> None:
        """A minute of the past: remembered, not reported. Minutes that are not newer are passed over."""
        if minute > self.newest_minute:
            self._move_on(minute, services, promises, frozen=False)

    def judge(
        self, minute: int, services: Mapping[Service, ServiceMinute], promises: Promises, *, frozen: bool = False
    ) -> list[Signal]:
        """Signals of a minute, one per series that has traffic or had some lately; `frozen`: our own pipeline cannot be
        trusted now, nothing is said or learned. Empty for a minute that is not newer."""
        if minute <= self.newest_minute:
            return []
        scores, coverage = self._move_on(minute, services, promises, frozen)
        return [
            Signal(series, float(coverage[i]), float(scores.counts.allowed[i]), explain(scores, i, self._detect))
            for i, series in enumerate(self._memory.series)
        ]

    def _move_on(
        self, minute: int, services: Mapping[Service, ServiceMinute], promises: Promises, frozen: bool
    ) -> tuple[Scores, Floats]:
        self._forget(minute)
        self._register(services)
        counts, coverage = self._counts(minute, services, promises, frozen)
        scores = self._detector.score(minute, counts)
        self._detector.learn(minute, counts, scores)
        self.newest_minute = minute
        return scores, coverage

    def _register(self, services: Mapping[Service, ServiceMinute]) -> None:
        """Series that have their first traffic now, in an order that does not depend on how rows came."""
        memory = self._memory
        before = len(memory.series)
        for service in sorted(services):
            for m in np.flatnonzero(services[service].total > 0).tolist():
                series = (*service, MEASURES[m])
                if series not in self._index:
                    self._index[series] = len(memory.series)
                    memory.series.append(series)
                    memory.newest.append(0)
        if len(memory.series) > before:
            families = [MEASURES.index(measure) for _, _, measure in memory.series[before:]]
            self._detector.extend(len(families), np.array(families, np.int64))

    def _counts(
        self, minute: int, services: Mapping[Service, ServiceMinute], promises: Promises, frozen: bool
    ) -> tuple[Counts, Floats]:
        memory = self._memory
        n = len(memory.series)
        bad, total = np.zeros(n, np.int64), np.zeros(n, np.int64)
        coverage = np.full(n, np.nan)
        allowed = np.array([promises.allowed(*series) for series in memory.series], np.float64)
        for i, (customer, service, measure) in enumerate(memory.series):
            found = services.get((customer, service))
            if found is not None:
                m = MEASURES.index(measure)
                bad[i], total[i], coverage[i] = found.bad[m], found.total[m], found.coverage
                if total[i]:
                    memory.newest[i] = minute
        unsure = frozen | (coverage < self._settings.min_coverage)  # NaN: nothing was expected, nothing is missing
        return Counts.of(bad, total, allowed, unsure), coverage

    def _forget(self, minute: int) -> None:
        """Let go of series that have had no traffic for long."""
        memory = self._memory
        oldest = minute - self._settings.forget_minutes * MINUTE_MS
        if any(newest < oldest for newest in memory.newest):
            keep = [i for i, newest in enumerate(memory.newest) if newest >= oldest]
            self._detector.select(np.array(keep, np.int64))
            self._memory = _Memory([memory.series[i] for i in keep], [memory.newest[i] for i in keep])
            self._index = {series: i for i, series in enumerate(self._memory.series)}


def signals_batch(signals: Sequence[Signal]) -> Any:
    """A RecordBatch of SIGNALS; at least one signal."""
    nan = float("nan")

    def number(value: float | None) -> float:
        return nan if value is None else value

    said = [s.evidence for s in signals]
    values: dict[str, Any] = {
        "minute": [e.minute for e in said],
        "customer": [s.series[0] for s in signals],
        "service": [s.series[1] for s in signals],
        "measure": [s.series[2] for s in signals],
        "verdict": [VERDICTS[e.verdict] for e in said],
        "reasons": [",".join(e.reasons) for e in said],
        "bad": [e.bad for e in said],
        "total": [e.total for e in said],
        "coverage": np.array([s.coverage for s in signals]),
        "expected": np.array([number(e.expected) for e in said]),
        "low": np.array([nan if e.band is None else e.band[0] for e in said]),
        "high": np.array([nan if e.band is None else e.band[1] for e in said]),
        "baseline": [e.baseline.name.lower() for e in said],
        "dispersion": np.array([e.dispersion for e in said]),
        "allowed": np.array([s.allowed for s in signals]),
        "onset": [e.onset or 0 for e in said],
        "since_bad": np.array([e.since_bad for e in said]),
        "since_total": np.array([e.since_total for e in said]),
        "since_expected": np.array([e.since_expected for e in said]),
        "evidence": np.array([e.evidence_nats for e in said]),
        "p_shift": np.array([number(e.p_shift) for e in said]),
        "p_burn": np.array([number(e.p_burn) for e in said]),
        "limit": np.array([e.limit for e in said]),
        "page": [int(s.page) for s in signals],
    }
    return batch(SIGNALS, values, pa)
