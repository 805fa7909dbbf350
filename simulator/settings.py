"""What a simulated run is made of, from the command line or from code."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from contracts.times import DEFAULT_INTERVAL_MS, from_rfc3339
from simulator.errors import SimulatorError
from simulator.fleet import Fleet, Habits
from simulator.schedule import illnesses, random_specs, read_script, resolve
from simulator.world import build_world

DEFAULT_START = "2026-01-05T10:00:00Z"  # a Monday, 18:00 in Shanghai; fixed, so that output can be reproduced


@dataclass(frozen=True, slots=True)
class Settings:
    """A run: everything follows from these. `faults_per_hour` and `quiet_minutes` (before the first fault; None: a
    fifth of the run, at most 15) are for random faults and unused with a script; `start_ms` ms UTC."""

    devices: int = 300
    customers: int = 8
    seed: int = 7
    minutes: float = 60.0
    faults_per_hour: float = 4.0
    script: Path | None = None
    quiet_minutes: float | None = None
    start_ms: int = from_rfc3339(DEFAULT_START)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.minutes) and self.minutes > 0):
            raise SimulatorError("minutes", "a number above 0", self.minutes)
        if not (math.isfinite(self.faults_per_hour) and 0 <= self.faults_per_hour <= 120):
            raise SimulatorError("fault-rate", "0 to 120 faults an hour", self.faults_per_hour)
        if self.quiet_minutes is not None and not 0 <= self.quiet_minutes <= self.minutes:
            raise SimulatorError("quiet_minutes", "0 to the run's minutes", self.quiet_minutes)
        if self.start_ms % DEFAULT_INTERVAL_MS:
            raise SimulatorError("start", "a whole multiple of 10 s", self.start_ms)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The knobs of a simulated run, for a command's parser."""
    default = Settings()
    group = parser.add_argument_group("simulated fleet")
    group.add_argument("--devices", type=int, default=default.devices, help="boxes (%(default)s)")
    group.add_argument("--customers", type=int, default=default.customers, help="customers (%(default)s)")
    group.add_argument("--seed", type=int, default=default.seed, help="same seed, same run (%(default)s)")
    group.add_argument("--minutes", type=float, default=default.minutes, help="simulated minutes (%(default)s)")
    group.add_argument(
        "--fault-rate",
        type=float,
        default=default.faults_per_hour,
        metavar="PER_HOUR",
        help="random faults an hour, 0 for none (%(default)s)",
    )
    group.add_argument("--script", type=Path, metavar="FILE", help="faults from a TOML or JSON script instead")
    group.add_argument("--start", default=DEFAULT_START, metavar="TIME", help="simulated start, RFC 3339 (%(default)s)")


def from_arguments(arguments: argparse.Namespace) -> Settings:
    """Settings from a parsed command line. Raises SimulatorError."""
    try:
        start_ms = from_rfc3339(arguments.start)
    except ValueError as error:
        raise SimulatorError("start", "RFC 3339 with a zone", str(error)) from None
    return Settings(
        devices=arguments.devices,
        customers=arguments.customers,
        seed=arguments.seed,
        minutes=arguments.minutes,
        faults_per_hour=arguments.fault_rate,
        script=arguments.script,
        start_ms=start_ms - start_ms % DEFAULT_INTERVAL_MS,
    )


def build_fleet(settings: Settings, habits: Habits | None = None, *, ill_boxes_per_hour: float = 0.0) -> Fleet:
    """The world, its faults and its boxes; beside random faults single boxes may fall ill. Raises SimulatorError."""
    world = build_world(settings.seed, settings.devices, settings.customers, start_ms=settings.start_ms)
    if settings.script is not None:
        specs = read_script(settings.script, settings.start_ms)
    else:
        specs = random_specs(
            settings.seed, settings.start_ms, settings.minutes, settings.faults_per_hour, settings.quiet_minutes
        )
        specs += illnesses(
            world, settings.start_ms, settings.minutes, ill_boxes_per_hour, settings.quiet_minutes or 0.0
        )
    return Fleet(world, resolve(world, specs), settings.seed, habits)
