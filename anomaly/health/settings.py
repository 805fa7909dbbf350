"""Every number of the health scores with the reason for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from anomaly.health.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioSettings:
    """How observed and expected failures of a box become a standardised ratio."""

    fast_half_life_minutes: float = 1.0
    """Of the window that sees an outbreak. Half-lives run over minutes with evidence: silence forgets nothing."""
    slow_half_life_minutes: float = 10.0
    """Of the window that sees a slight, lasting illness, and whose counts are shown as evidence."""
    dispersion: float = 1.5
    """Failures of one box come in bursts: counts weigh as if there were this many times fewer."""
    prior_shape: float = 0.5
    """Shape of the gamma prior of a box's ratio around its group's. Low, because an ill box is ten times worse, not
    twice: with the 60% that healthy boxes differ by (shape 2.8) an outbreak takes twice as long to be believed."""
    group_weight: float = 20.0
    """Expected failures of the wider group that each narrower group (model, its ISP, its region) is mixed with."""
    least_group: float = 0.5
    """No group is taken to be better than this: a neighbourhood without a failure must not hide a box's first ones."""
    most_per_box: float = 3.0
    """A box counts for its groups with at most this many times its expected failures (and one): an ill box must not
    make its neighbours look ill."""
    confidence: float = 0.9
    """Two-sided, of the interval that is shown; states are decided on its lower end."""
    neutral_requests: float = 30.0
    """With so many requests a value stands half way between neutral and what was observed."""
    fresh_minutes: float = 5.0
    """Evidence older than this loses weight.."""
    stale_half_life_minutes: float = 10.0
    """..by half in so many minutes, towards neutral."""
    usual_half_life_minutes: float = 60.0
    """Of what is usual for the clients a box serves: longer than most incidents of a place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadnessSettings:
    """How ratio and excess become badness 0..1: the lower of two logarithmic scales, because twelve times almost
    nothing hurts nobody, and one more failure in a hundred where one was usual is the neighbourhood's weather."""

    ratio_from: float = 2.0
    ratio_to: float = 8.0
    excess_from: float = 0.015
    """Additional failures of all requests."""
    excess_to: float = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A vital sign: no matter up to `fine`, and from `worst` on it takes `weight` of the value away."""

    fine: float
    worst: float
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VitalsSettings:
    """Limits of vital signs. A sign nobody measured takes nothing away. Vitals say what may happen: they reduce a box,
    but only failures drain it."""

    temperature_c: Limit = Limit(fine=75.0, worst=95.0, weight=0.6)  # industrial SoCs throttle at 85 and trip at 105
    memory_used_ratio: Limit = Limit(fine=0.92, worst=0.99, weight=0.6)  # of 512 MB, 5 MB are left at the end
    flash_used_ratio: Limit = Limit(fine=0.95, worst=1.0, weight=0.5)
    flash_written_gb_per_day: Limit = Limit(fine=40.0, worst=200.0, weight=0.4)  # 8 GB, 3,000 cycles: 20 and 4 months
    cpu_ratio: Limit = Limit(fine=0.92, worst=1.0, weight=0.4)
    reboots_per_hour: Limit = Limit(fine=2.0, worst=6.0, weight=0.7)
    clock_offset_s: Limit = Limit(fine=300.0, worst=3600.0, weight=0.1)  # served well, dated badly
    max_age_minutes: float = 10.0
    """Older vitals say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSettings:
    """When a box is removed, and what brings it back."""

    reduce_at: float = 0.3
    drain_at: float = 0.6
    """Badness that is certain (lower end of the interval)."""
    vitals_below: float = 0.5
    """Vitals alone reduce a box below this..."""
    vitals_above: float = 0.7
    """...and let it go above this."""
    reduced_share: float = 0.3
    probe_share: float = 0.015
    """Of its usual traffic a drained box still gets: without requests nobody could ever say that it is well."""
    ramp: tuple[float, ...] = (0.1, 0.3, 0.6)
    """Slow start: shares on the way back, each held until it has its own evidence."""
    return_evidence: float = 6.0
    """Log likelihood ratio of "well" against "as ill as it was" that a step back takes: odds of 400 to 1, because an
    ill box gets a new chance after every failure."""
    most_expected: float = 2.0
    """Times what is usual that expected failures count for a return: when the place as a whole fails, an ill box looks
    like everybody, which is no evidence that it is well. A day's rhythm stays below."""
    least_ratio: float = 3.0
    """The illness that return is tested against is at least this ratio: telling 1.5 from 1 takes days."""
    most_ill_ratio: float = 0.5
    """...and fails at most this part of all requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """How much may be removed."""

    share: float = 0.2
    """Of the live capacity of every cell."""
    least_boxes: int = 15
    """A cell with fewer live boxes has no budget of its own, its wider cell has: boxes differ, and a fifth of a few
    boxes is less than the larger ones of them, which could then never be removed."""
    rounds: int = 4
    """Passes that fill what larger boxes left."""
    part: float = 0.1
    """A box too large for a budget is removed in part, in steps of this, so that its share does not move with every
    request its neighbours serve."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise BadInput("share", f"expected 0 to 1, got {self.share}")
        if not 0.0 < self.part <= 1.0:
            raise BadInput("part", f"expected above 0 up to 1, got {self.part}")
        if self.least_boxes < 1 or self.rounds < 1:
            raise BadInput("least_boxes, rounds", f"expected at least 1, got {self.least_boxes}, {self.rounds}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """All of it."""

    ratio: RatioSettings = field(default_factory=RatioSettings)
    badness: BadnessSettings = field(default_factory=BadnessSettings)
    vitals: VitalsSettings = field(default_factory=VitalsSettings)
    state: StateSettings = field(default_factory=StateSettings)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
