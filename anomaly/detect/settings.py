"""Every number of the detectors with the reason for it.

"Tuning streams" are those of `benchmarks/detect` with seeds from 1000 on; its figures are made with other seeds.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """What a burn rule asks of people: look now, or during working hours."""

    PAGE = "page"
    TICKET = "ticket"


@dataclass(frozen=True, slots=True)
class BurnRule:
    """Bad of total above `factor` times what the objective allows, over a long and a short window alike."""

    severity: Severity
    long_minutes: int
    """Says that enough of the budget is gone to be worth a person's time."""
    short_minutes: int
    """Says that it is still going on; a twelfth of the long one."""
    factor: float
    """Burn rate: 1 uses the budget of 30 days up in 30 days."""


WORKBOOK_RULES = (
    BurnRule(Severity.PAGE, 60, 5, 14.4),  # 2% of a 30-day budget in an hour
    BurnRule(Severity.PAGE, 360, 30, 6.0),  # 5% in six hours
    BurnRule(Severity.TICKET, 4_320, 360, 1.0),  # 10% in three days
)
"""Beyer et al., The Site Reliability Workbook (Google, 2018), chapter 5, "Multiwindow, Multi-Burn-Rate Alerts"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnSettings:
    """For the burn rate against a customer's objective."""

    rules: tuple[BurnRule, ...] = WORKBOOK_RULES

    min_bad: float = 10.0
    """Bad events in the short window below which no rule speaks, however few requests there were: two or three clients
    that try again make as many."""

    measured_share: float = 0.5
    """Part of a window's minutes that must have been measured: less is not what the rule was written for."""

    confidence: float = 0.999
    """Of the lower bound that is shown (one-sided). Whether a rule fires is decided over all series together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeasonSettings:
    """For what is usual."""

    slot_minutes: int = 30
    """Cells of the day and of the week: the evening's rise takes an hour. Between their centres it is interpolated."""

    warm_up_minutes: int = 60
    """Measured minutes before anything is said: the level below needs about as many."""

    seen_share: float = 0.65
    """Part of a slot that one visit must have measured so that it counts as seen."""

    week_visits: float = 2.0
    """Visits before a slot of the week is believed: one week cannot be told from one unusual day."""

    all_half_life_minutes: float = 1_440.0
    """Of the ratio over everything: a day, so that every hour has the same say."""

    day_half_life_visits: float = 7.0
    """Days: every weekday has the same say."""

    week_half_life_visits: float = 4.0
    """Weeks: a month back, releases and placement have changed."""

    day_weight: float = 20.0
    """Bad events of prior with which a slot of the day is drawn to the overall ratio, times the dispersion."""

    week_weight: float = 60.0
    """The same for a slot of the week towards the slot of the day: weekdays differ by about an eighth."""

    level_half_life_minutes: float = 30.0
    """How fast the level beside the rhythm is followed: ratios drift by some percent over hours. With an hour the
    tuning streams have more false incidents and no more faults found."""

    level_weight: float = 30.0
    """Bad events of prior with which the level is drawn to 1, times the dispersion."""

    level_range: tuple[float, float] = (0.7, 1.5)
    """The level stays inside: after some hours without the worst clients their return is not an incident, and a dip
    that rises too slowly for the sums is not learned whole."""

    clip_sigmas: float = 3.0
    """Minutes further out than this teach as much as one that is this far out."""

    odd_day: float = 0.15
    """A day whose level is a sixth away from its rhythm (natural logarithm), a holiday, teaches with half weight ..."""

    least_weight: float = 0.1
    """... and never with less than this, so that what stays is learned in the end."""

    typical_ratio: float = 0.005
    """Expected before anything was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonSettings:
    """For what the series of a family have in common."""

    half_life_minutes: float = 10.0
    """Of what was observed and expected lately: short against the hour in which a fleet drifts."""

    scatter: float = 0.05
    """Relative scatter of single series around what is common, so that large customers do not speak for all."""

    dispersion: float = 2.0
    """Variance of bad events over that of independent trials, for the weight of small series."""

    prior_series: float = 4.0
    """Series of prior that nothing is in common: two customers that fail together are no fleet."""

    most_move: float = 0.15
    """Movement (natural logarithm) above which a series says no more: it has a dip of its own."""

    most_common: float = 0.1
    """Movement of all together above which it counts as trouble of the whole fleet and stays visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DispersionSettings:
    """For how much more than by chance the counts of a series vary."""

    horizons: tuple[int, ...] = (1, 5, 30)
    """Minutes over which counts are added up: boxes stay noisy for minutes, so an hour varies more than sixty
    independent minutes do. The first serves severe, the last slight shifts."""

    half_life_minutes: float = 10_080.0
    """A week."""

    prior_scatter: float = 0.1
    """Relative scatter of a ratio beyond chance that is assumed before a series has shown its own."""

    prior_blocks: float = 12.0
    """Blocks that this assumption weighs."""

    clip_sigmas: float = 4.0
    """Blocks further out than this count as this far: one incident must not make a series deaf."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A size of shift that is looked for."""

    added_ratio: float
    """Added bad of total."""
    horizon: int
    """Minutes over which the dispersion is taken that fits it."""
    memory_minutes: float
    """How fast its evidence fades, four to ten horizons: what varies more slowly than the dispersion was taken for
    would add up for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftSettings:
    """For the shift against what is usual."""

    scales: tuple[Scale, ...] = (Scale(0.05, 1, 10), Scale(0.01, 5, 20), Scale(0.003, 30, 240), Scale(0.0015, 30, 240))
    """Each is found fastest by the sum made for it; a sum also finds what is larger, and from half of its size on. The
    smallest is for what a fault raises beside its own measure: 0.3% more misses are 0.15% more slow requests."""

    least_scatters: float = 3.0
    """Shifts below this many times the scatter that the series itself shows over half an hour are not looked for: a sum
    finds shifts from half its size on, and one and a half standard deviations of drift are nothing to wake people
    for."""

    least_relative: float = 0.05
    """The same as a part of what is usual: baselines are not better than that."""

    most_per_minute: float = 10.0
    """Nats that one minute can add. What makes an incident takes 14: a minute alone is a hiccup, two are a dip."""

    most_evidence: float = 18.0
    """Nats at which a sum stops, so that it comes down within minutes when the trouble is over; that of the slightest
    shifts takes ten."""

    release: float = 8.0
    """Nats below which a dip is over: ten nats for usual in a row."""

    doubt: float = 3.0
    """Nats above which the level is followed with less weight: what may become a dip must not become usual first."""

    doubt_weight: float = 0.5
    """That weight: none at all would keep a harmless drift in doubt until it is called a dip. With a quarter the tuning
    streams have four times as many false incidents for a twentieth more of the slight faults."""

    dip_weight: float = 0.04
    """The same in a dip: a tenth of it becomes usual in four hours, and what never ends is usual after some days."""

    min_excess: float = 20.0
    """Additional bad events since the onset below which nothing is said: a few clients that try again for two minutes
    make as many."""

    max_gap_minutes: int = 30
    """Evidence from before a longer silence is dropped."""

    dip_lesson: float = 0.25
    """Weight with which rhythm and dispersion learn from a dip: none at all would keep a false one for ever, at the
    same time every day."""

    band_sigmas: float = 3.0
    """Half width of the expected band that charts show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverySettings:
    """For all series of a minute together."""

    false_per_series_day: float = 0.0004
    """False discoveries accepted per series and day, were chance all there is: with five measures a customer, one in
    500 customer-days. Drifts and bad minutes that no model knows of make the rest of one in 100."""

    most_false_share: float = 0.05
    """Part of a minute's discoveries that may be false, however many series there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectSettings:
    """Of the detector as a whole."""

    burn: BurnSettings = field(default_factory=BurnSettings)
    season: SeasonSettings = field(default_factory=SeasonSettings)
    common: CommonSettings = field(default_factory=CommonSettings)
    dispersion: DispersionSettings = field(default_factory=DispersionSettings)
    shift: ShiftSettings = field(default_factory=ShiftSettings)
    discovery: DiscoverySettings = field(default_factory=DiscoverySettings)

    min_total: int = 50
    """Trials in the last half hour below which the verdict is "too little data"."""
