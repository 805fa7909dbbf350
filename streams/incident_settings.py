"""Policy numbers of detection and incidents, with the reason for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from anomaly.detect import DetectSettings
from contracts.thresholds import Thresholds
from contracts.times import MINUTE_MS
from streams.settings import SettingsError


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """From minutes to signals.

    `min_coverage`: a customer minute measured to less than this is frozen; a region gone dark takes a tenth.
    `forget_minutes`: a series without traffic for so long is forgotten. `replay_days`: history that is replayed at the
    start; two visits of each weekday, which the seasonal baseline wants. `warm_up_minutes`: measured minutes before
    anything is said of a series. `false_per_series_day`, `min_excess`: how sure the detectors must be, and how many
    additional bad events a dip takes at least (anomaly/detect/settings.py has the reasons). Thresholds for services
    without an objective of their own, in ms and kB/s.
    """

    min_coverage: float = 0.7
    forget_minutes: int = 7 * 1_440
    replay_days: float = 15.0
    warm_up_minutes: int = 60
    false_per_series_day: float = 0.0004
    min_excess: float = 20.0
    slow_ms: float = Thresholds().slow_ms
    slow_task_ms: float = Thresholds().slow_task_ms
    low_kb_per_s: float = Thresholds().low_kb_per_s

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_coverage <= 1.0:
            raise SettingsError(f"min_coverage: expected 0 to 1, got {self.min_coverage}")
        positive = ("forget_minutes", "warm_up_minutes", "slow_ms", "slow_task_ms", "low_kb_per_s")
        for name in (*positive, "false_per_series_day"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name}: expected above 0, got {getattr(self, name)}")
        for name in ("replay_days", "min_excess"):
            if not getattr(self, name) >= 0:
                raise SettingsError(f"{name}: expected at least 0, got {getattr(self, name)}")


def statistics(settings: DetectorSettings) -> DetectSettings:
    """The detectors' own settings, with what the policy says of them."""
    base = DetectSettings()
    return replace(
        base,
        season=replace(base.season, warm_up_minutes=settings.warm_up_minutes),
        shift=replace(base.shift, min_excess=settings.min_excess),
        discovery=replace(base.discovery, false_per_series_day=settings.false_per_series_day),
    )


@dataclass(frozen=True, slots=True)
class SilenceSettings:
    """From missing reports to silence. Times in ms of event time.

    `silent_after_ms`: a box unheard for so long is silent: nine intervals, of which jitter and a lost packet may take
    two. `single_after_ms`: a box silent for so long on its own is an incident: an ordinary loss of line lasts up to
    two minutes, and then the agent may wait for another one before it tries again. `forget_ms`: a box silent for so
    long has left. `region_share`, `region_boxes`: part and number of a group's boxes that must be silent together to
    be called one thing. `together_ms`: how far apart they may fall silent.
    `blind_share`: part of all boxes silent together that means that we do not hear, not that they are silent.
    `most_single`: incidents of single boxes open at a time; what goes beyond joins the newest one.
    """

    silent_after_ms: int = 90_000
    single_after_ms: int = 240_000
    forget_ms: int = 24 * 60 * MINUTE_MS
    region_share: float = 0.5
    region_boxes: int = 2
    together_ms: int = 3 * MINUTE_MS
    blind_share: float = 0.6
    blind_boxes: int = 5
    most_single: int = 20


@dataclass(frozen=True, slots=True)
class IncidentSettings:
    """From signals and silence to incidents. Times in ms of event time.

    `end_after_ms`: time without any of its signals after which an incident is over. `return_within_ms`: the same
    cause again within this is the same incident. `same_cause_share`: part of a known cause's traffic that another
    must cover to be the same. `history_minutes`, `window_minutes`: calm minutes the localiser compares with, and most
    recent minutes of trouble it adds up. `confirm_nats`: log likelihood that a cause's own rows must show in the last
    minutes to count as going on. `lag_limit_ms`: how far the minutes may be behind the clock before we say so
    ourselves. `levels`: least part of all traffic that is additionally bad, by level.
    """

    end_after_ms: int = 5 * MINUTE_MS
    return_within_ms: int = 30 * MINUTE_MS
    same_cause_share: float = 0.8
    history_minutes: int = 10
    window_minutes: int = 10
    memory_minutes: int = 45
    max_dimensions: int = 3
    confirm_nats: float = 3.0
    lag_limit_ms: int = 180_000
    changes_ms: int = 24 * 60 * MINUTE_MS
    levels: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType({"critical": 0.02, "high": 0.004, "medium": 0.0005})
    )


@dataclass(frozen=True, slots=True)
class TriageSettings:
    """All of it. `poll_records`: most records consumed per step; `self_test_every_ms`: from one fault of the self-test
    to the next."""

    detector: DetectorSettings = field(default_factory=DetectorSettings)
    silence: SilenceSettings = field(default_factory=SilenceSettings)
    incident: IncidentSettings = field(default_factory=IncidentSettings)
    poll_records: int = 256
    self_test_every_ms: int = 60 * MINUTE_MS
