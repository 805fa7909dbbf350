"""Faults: what can go wrong, to whom, and how badly. `schedule` makes them from a script or at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.columns import FAILURE_NAMES
from contracts.entities import Change, SchedulingRule
from contracts.times import GRID_MS, MINUTE_MS
from simulator.errors import SimulatorError
from simulator.rhythm import evening

LEAK_MS = 3 * MINUTE_MS  # a leaking firmware is at its worst this long after it reached a box
FAR_SHARE = 0.6  # share of its traffic that a bad scheduling rule sends to far boxes
QUALITY = "quality"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a fault does at full strength to a request in its scope: factors on latency and throughput, added
    probabilities of failing by class, and of stalling per session."""

    latency_factor: float = 1.0
    throughput_factor: float = 1.0
    f_server: float = 0.0
    f_timeout: float = 0.0
    f_reset: float = 0.0
    f_incomplete: float = 0.0
    stall: float = 0.0

    def __post_init__(self) -> None:
        for name in ("latency_factor", "throughput_factor"):
            if not 0.001 <= getattr(self, name) <= 1000.0:
                raise SimulatorError(f"effect.{name}", "0.001 to 1000", getattr(self, name))
        for name in (*FAILURE_NAMES, "stall"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise SimulatorError(f"effect.{name}", "a probability 0 to 1", getattr(self, name))
        if sum(self.failures) > 1.0:
            raise SimulatorError("effect", "failure probabilities that sum to at most 1", sum(self.failures))

    @property
    def failures(self) -> tuple[float, float, float, float]:
        """Probabilities in the order of FAILURE_NAMES."""
        return (self.f_server, self.f_timeout, self.f_reset, self.f_incomplete)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. `incident`: kind of incident that finds it ("": none should). `scope`: dimensions it is chosen
    by; `state`: what the boxes in scope are in (off, uplink, path, agent); `change`: kind of change it came with."""

    incident: str
    scope: tuple[str, ...]
    state: str = ""
    change: str = ""


KINDS: Mapping[str, Kind] = {
    "isp_slow": Kind(QUALITY, ("client_isp", "client_region")),
    "origin_failure": Kind(QUALITY, ("customer",)),
    "uplink_saturation": Kind(QUALITY, ("device_isp", "device_region")),
    "firmware_leak": Kind(QUALITY, ("model",), change="firmware"),
    "bad_rule": Kind(QUALITY, ("sched_rule",), change="scheduling_rule"),
    # Any combination of dimensions, effect stated by the script.
    "degradation": Kind(QUALITY, ()),
    "boxes_dark": Kind("silence.region", ("device_isp", "device_region"), state="uplink"),
    "box_off": Kind("silence.box", (), state="off"),
    "uplink_off": Kind("silence.uplink", (), state="uplink"),
    # The box serves, but cannot reach the gateway.
    "path_cut": Kind("silence.uplink", (), state="path"),
    "agent_dead": Kind("silence.agent", (), state="agent"),
    # Changes that do no harm, so that a change alone proves nothing.
    "firmware_release": Kind("", ("model",), change="firmware"),
    "rule_release": Kind("", ("sched_rule",), change="scheduling_rule"),
}
SILENCE_STATES = ("off", "uplink", "path", "agent")
FIRMWARE_KINDS = ("firmware_leak", "firmware_release")
RULE_KINDS = ("bad_rule", "rule_release")


def effect_of(kind: str, severity: float) -> Effect:
    """The usual effect of a kind at a severity of 0 to 1; of kinds without one, none."""
    s = severity
    if kind == "isp_slow":
        return Effect(latency_factor=1 + 7 * s, throughput_factor=1 / (1 + 4 * s), f_timeout=0.12 * s, stall=0.3 * s)
    if kind == "origin_failure":
        return Effect(f_server=0.65 * s, f_timeout=0.3 * s)
    if kind == "uplink_saturation":
        return Effect(latency_factor=1 + 3 * s, throughput_factor=1 / (1 + 7 * s), f_incomplete=0.1 * s, stall=0.4 * s)
    if kind == "firmware_leak":
        return Effect(latency_factor=1 + 2 * s, f_reset=0.4 * s, f_timeout=0.15 * s, stall=0.2 * s)
    if kind == "bad_rule":
        return Effect(latency_factor=1 + 7 * s, throughput_factor=1 / (1 + 2 * s), f_incomplete=0.12 * s, stall=0.2 * s)
    return Effect()


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault with all its particulars. Times ms UTC, [start, end). `scope` is what the truth states; `target` what it
    acts on (a firmware leak acts on a model, a bad rule on the version before). `devices`: indices of boxes that fall
    silent, or that a release reaches, in order. `ramp_ms`: from nothing to full strength; of a release, how long the
    roll-out takes."""

    id: str
    kind: str
    start: int
    end: int
    scope: Mapping[str, str]
    target: Mapping[str, str]
    effect: Effect
    severity: float
    ramp_ms: int = 0
    devices: tuple[int, ...] = ()
    changes: tuple[Change, ...] = ()  # the change it came with, then its roll-back
    rule: SchedulingRule | None = None

    @property
    def harmful(self) -> bool:
        """Whether the truth lists it as a fault."""
        return bool(KINDS[self.kind].incident)

    def active(self, time_ms: int) -> bool:
        """Whether an interval starting at a time is inside."""
        return self.start <= time_ms < self.end

    def intensity(self, time_ms: int) -> float:
        """Strength 0..1 in the interval that starts at a time; releases have it per box (`box_intensity`)."""
        if not self.active(time_ms):
            return 0.0
        ramp = min(1.0, (time_ms - self.start + GRID_MS) / self.ramp_ms) if self.ramp_ms else 1.0
        return ramp * evening(time_ms) if self.kind == "uplink_saturation" else ramp

    def reached_at(self, position: int) -> int:
        """When a roll-out reaches the box at a position of `devices`."""
        return self.start + self.ramp_ms * position // max(1, len(self.devices))
