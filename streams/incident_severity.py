"""How bad an incident is, with its arithmetic, and its headline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from contracts.incidents import LEVELS, Cause, Sentence, SeriesEvidence, Severity
from streams.detect import Signal
from streams.incident_causes import Scene


def level_of(bad_share: float, levels: Mapping[str, float], *, page: bool = False) -> str:
    """`bad_share`: part of all traffic that is additionally bad. A burn that pages is never less than high."""
    level = next((name for name in reversed(LEVELS) if name in levels and bad_share >= levels[name]), LEVELS[0])
    return "high" if page and LEVELS.index(level) < LEVELS.index("high") else level


def measured(
    before: Severity, now: Scene, causes: Sequence[Cause], signals: Sequence[Signal], levels: Mapping[str, float]
) -> Severity:
    """One minute later. `now`: the scene of that minute alone; `signals`: its dips in that minute."""
    lost: dict[tuple[str, str], float] = {}
    for signal in signals:
        evidence = signal.evidence
        usual = evidence.expected if evidence.expected is not None else 0.0
        share = max(0.0, evidence.bad - usual) / max(evidence.total, 1)
        key = signal.series[0], signal.series[1]
        lost[key] = max(lost.get(key, 0.0), share)
    lead = next((cause for cause in causes if cause.answer), None)
    traffic = float(now.traffic.sum())
    if lead is None:
        mask = now.of_services(lost)
        ratio = max(lost.values(), default=before.excess_ratio)
    else:
        mask = now.table.mask(lead.where) if set(lead.where) else now.of_services(lost)
        bad, total, _ = now.rate(lead.measure, [lead.where])
        usual_ratio = lead.expected / lead.total if lead.total else 0.0
        ratio = max(0.0, bad / total - usual_ratio) if total else before.excess_ratio
    at_stake = float(now.traffic[mask].sum())
    share = at_stake / traffic if traffic else 0.0
    page = any(signal.page for signal in signals)
    level = level_of(ratio * share, levels, page=page)
    worst = max(level, before.level, key=LEVELS.index)
    return Severity(
        level=worst,
        customer_minutes=before.customer_minutes + len(lost),
        excess_bad=before.excess_bad + sum(_excess(signal) for signal in signals),
        lost_minutes=before.lost_minutes + sum(lost.values()),
        at_stake_per_minute=at_stake,
        traffic_share=share,
        excess_ratio=ratio,
    )


def _excess(signal: Signal) -> float:
    return max(0.0, signal.evidence.bad - (signal.evidence.expected or 0.0))


def headline(
    customers: Sequence[str],
    measures: Sequence[str],
    since: int,
    causes: Sequence[Cause],
    series: Sequence[SeriesEvidence],
    verdict: str,
) -> Sentence:
    """Of a quality incident."""
    answer = [cause for cause in causes if cause.answer]
    params: dict[str, Any] = {"customers": tuple(customers), "measures": tuple(measures), "since": since}
    if answer:
        lead = answer[0]
        share = min(1.0, lead.share)
        factor = _factor(lead.bad, lead.expected)
        more = {"where": dict(lead.where), "share": share, "causes": len(answer), "factor": factor}
        return Sentence("quality.localised", params | more)
    factor = _factor(sum(s.bad for s in series), sum(s.expected for s in series))
    return Sentence("quality.diffuse" if verdict == "diffuse" else "quality.unexplained", params | {"factor": factor})


def _factor(bad: float, expected: float) -> float:
    return bad / max(expected, 0.5)


def series_evidence(signal: Signal, before: SeriesEvidence | None) -> SeriesEvidence:
    """What a signal adds to an incident: counts since the onset, and the surest thing the detector said."""
    e = signal.evidence
    p = min((p for p in (e.p_shift, e.p_burn) if p is not None), default=None)
    surest = before is None or e.evidence_nats >= before.nats
    customer, service, measure = signal.series
    onset = e.onset if e.onset is not None else e.minute
    return SeriesEvidence(
        customer=customer,
        service=service,
        measure=measure,
        onset=onset if before is None else min(onset, before.onset),
        newest=e.minute,
        bad=e.since_bad if surest or before is None else before.bad,
        total=e.since_total if surest or before is None else before.total,
        expected=e.since_expected if surest or before is None else before.expected,
        nats=e.evidence_nats if surest or before is None else before.nats,
        p=p if surest or before is None else before.p,
        limit=e.limit,
        reasons=tuple(sorted(set(e.reasons) | set(before.reasons if before else ()))),
        baseline=e.baseline.name.lower(),
        dispersion=e.dispersion,
        allowed=None if signal.allowed != signal.allowed else signal.allowed,
    )


def members(series: Iterable[SeriesEvidence]) -> dict[str, Any]:
    """Fields of an incident that say whom and what it hit."""
    kept = sorted(series, key=lambda s: (s.customer, s.service, s.measure))
    return {
        "series": tuple(kept),
        "customers": tuple(sorted({s.customer for s in kept})),
        "services": tuple(sorted({s.service for s in kept})),
        "measures": tuple(sorted({s.measure for s in kept})),
    }
