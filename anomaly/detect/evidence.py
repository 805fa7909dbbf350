"""The arithmetic behind one series' verdict, as plain numbers for a page."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from anomaly.detect.detector import BURN, SHIFT, Scores
from anomaly.detect.model import Baseline, Verdict
from anomaly.detect.settings import DetectSettings, Severity
from anomaly.detect.shift import BAD, EXPECTED, TOTAL
from anomaly.detect.windows import BAD as WINDOW_BAD
from anomaly.detect.windows import TOTAL as WINDOW_TOTAL

DEFAULT = DetectSettings()


@dataclass(frozen=True, slots=True)
class BurnEvidence:
    """One rule: the ratio in both windows against factor x allowed."""

    severity: Severity
    factor: float
    long_minutes: int
    long_bad: int
    long_total: int
    short_minutes: int
    short_bad: int
    short_total: int
    limit_ratio: float
    """factor x allowed: the bad of total above which the rule speaks."""
    burn_rate: float | None
    """Of the long window: bad of total over allowed; None without traffic."""
    lower_burn_rate: float | None
    """Its lower bound; only of the rule that is most certain."""
    decisive: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of one series in one minute. Bad events are counts, ratios 0..1, times ms UTC; None: not known."""

    verdict: Verdict
    reasons: tuple[str, ...]
    """Why it is a dip: `shift`, `burn`; `lasting` when it only has not ended."""
    minute: int
    bad: int
    total: int
    recent_total: int
    """Trials of the last half hour."""
    expected: float | None
    """Bad events that are usual for the traffic of this minute."""
    band: tuple[float, float] | None
    """Where the bad events of nearly all usual minutes lie."""
    baseline: Baseline
    level: float
    """Recent hours against the rhythm of the baseline; included in `expected`."""
    common: float
    """What the other series of its family move by at the same time; included in `expected`."""
    dispersion: float
    """Variance of the bad events over that of independent trials, over half an hour."""
    onset: int | None
    """Where the best sum began; None when there is no evidence."""
    since_bad: float
    since_total: float
    since_expected: float
    evidence_nats: float
    added_ratio: float
    """Size of the shift for which the evidence is strongest."""
    p_shift: float | None
    p_burn: float | None
    limit: float
    """A p up to this is a discovery in this minute."""
    false_share: float
    """Part of the minute's discoveries that may be false."""
    burn: tuple[BurnEvidence, ...]

    @property
    def excess(self) -> float:
        """Additional bad events since the onset."""
        return self.since_bad - self.since_expected

    def as_dict(self) -> dict[str, Any]:
        """For JSON: enumerations by name, the excess included."""
        return asdict(self) | {
            "verdict": self.verdict.name.lower(),
            "baseline": self.baseline.name.lower(),
            "excess": self.excess,
        }


def explain(scores: Scores, series: int, settings: DetectSettings = DEFAULT) -> Evidence:
    """The arithmetic of one series' verdict."""
    shift, i = scores.shift, series
    verdict = Verdict(int(scores.verdict[i]))
    best = int(shift.best[i])
    nats = float(shift.evidence[best, i])
    ratio = float(shift.expected.ratio[i])
    total = int(scores.counts.total[i])
    expected = None if math.isnan(ratio) else total * ratio
    band = None
    if expected is not None:
        half = settings.shift.band_sigmas * math.sqrt(expected * (1 - ratio) * float(shift.dispersion[0, i]))
        band = max(0.0, expected - half), min(float(total), expected + half)
    since = shift.since[best, :, i]
    return Evidence(
        verdict=verdict,
        reasons=_reasons(scores, i) if verdict is Verdict.DIP else (),
        minute=scores.minute,
        bad=int(scores.counts.bad[i]),
        total=total,
        recent_total=int(scores.recent[i]),
        expected=expected,
        band=band,
        baseline=Baseline(int(shift.expected.baseline[i])),
        level=float(shift.expected.level[i]),
        common=float(shift.expected.common[i]),
        dispersion=float(shift.dispersion[-1, i]),
        onset=int(shift.onset[i]) if nats > 0 else None,
        since_bad=float(since[BAD]),
        since_total=float(since[TOTAL]),
        since_expected=float(since[EXPECTED]),
        evidence_nats=nats,
        added_ratio=settings.shift.scales[best].added_ratio,
        p_shift=_number(scores.p[SHIFT, i]),
        p_burn=_number(scores.p[BURN, i]),
        limit=scores.limit,
        false_share=scores.false_share,
        burn=_burn(scores, i, settings),
    )


def _reasons(scores: Scores, i: int) -> tuple[str, ...]:
    found = tuple(name for name, k in (("shift", SHIFT), ("burn", BURN)) if scores.discovered[k, i])
    return found or ("lasting",)


def _burn(scores: Scores, i: int, settings: DetectSettings) -> tuple[BurnEvidence, ...]:
    allowed = float(scores.counts.allowed[i])
    if math.isnan(allowed):
        return ()
    rows = []
    for k, rule in enumerate(settings.burn.rules):
        long, short = scores.burn.long[k, :, i], scores.burn.short[k, :, i]
        decisive = int(scores.burn.rule[i]) == k
        lower = scores.burn.lower(i, settings.burn.confidence) if decisive else None
        rows.append(
            BurnEvidence(
                severity=rule.severity,
                factor=rule.factor,
                long_minutes=rule.long_minutes,
                long_bad=int(long[WINDOW_BAD]),
                long_total=int(long[WINDOW_TOTAL]),
                short_minutes=rule.short_minutes,
                short_bad=int(short[WINDOW_BAD]),
                short_total=int(short[WINDOW_TOTAL]),
                limit_ratio=rule.factor * allowed,
                burn_rate=float(long[WINDOW_BAD] / long[WINDOW_TOTAL] / allowed) if long[WINDOW_TOTAL] else None,
                lower_burn_rate=None if lower is None else lower / allowed,
                decisive=decisive,
            )
        )
    return tuple(rows)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
