"""The self-test: what a customer that does not exist asks of a box that does not exist, and faults on a schedule.

The box is the real agent: it reads a task log that is written here and reports to the gateway over HTTP like any
other. Faults are announced as changes over HTTP, too, when they begin (contracts/self_test.py). Whether they are found
is watched where incidents are made (streams/incident_self_test.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from contracts.entities import Change, Customer, DeviceAttributes, Objective
from contracts.self_test import (
    CUSTOMER,
    CUSTOMER_NAME,
    DEVICE_PREFIX,
    NOWHERE,
    Injected,
    announcement,
    withdrawal,
)
from contracts.times import MINUTE_MS, SECOND_MS
from dipper.settings import SettingsError

SERVICE, APP = "synthetic", NOWHERE
DEVICE = f"{DEVICE_PREFIX}1"
MEASURES = ("failures", "slow_requests")
"""What the faults hurt, in turn."""
SLOW_MS = 1_000.0
OBJECTIVES = (
    Objective(CUSTOMER, SERVICE, "failures", 0.98),
    Objective(CUSTOMER, SERVICE, "slow_requests", 0.98, SLOW_MS),
)
LEAST_GAP_MINUTES = 45.0
"""After a fault: what comes back within half an hour is the same incident, which takes some minutes to end."""
USUAL_FAILURES = 0.004
ROTATE_BYTES = 8 * 1024 * 1024
_USUAL_MS, _SPREAD = 90.0, 0.5
_TOO_SLOW_MS = 5_000


@dataclass(frozen=True, slots=True)
class SelfTestSettings:
    """`every_minutes` from one fault to the next, each of `minutes`, in which a `share` of the `requests_per_minute` is
    bad. Raises SettingsError."""

    every_minutes: float = 60.0
    minutes: float = 6.0
    requests_per_minute: int = 240
    share: float = 0.4

    def __post_init__(self) -> None:
        if not self.minutes >= 3:
            raise SettingsError(f"self_test.minutes: expected at least 3, got {self.minutes}")
        if not self.every_minutes >= self.minutes + LEAST_GAP_MINUTES:
            least = self.minutes + LEAST_GAP_MINUTES
            raise SettingsError(f"self_test.every_minutes: expected at least {least:g}, got {self.every_minutes}")
        if not 60 <= self.requests_per_minute <= 60_000:
            raise SettingsError(f"self_test.requests_per_minute: expected 60..60000, got {self.requests_per_minute}")
        if not 0.05 <= self.share <= 1.0:
            raise SettingsError(f"self_test.share: expected 0.05 to 1, got {self.share}")


def customer() -> Customer:
    """The reserved customer, as the registry knows it."""
    return Customer(CUSTOMER, CUSTOMER_NAME, "UTC", OBJECTIVES)


def attributes(valid_from: int) -> DeviceAttributes:
    """Its box: nowhere in every dimension, so that no real cause shares a row with it."""
    return DeviceAttributes(valid_from, NOWHERE, NOWHERE, NOWHERE, NOWHERE, 1.0)


class Traffic:
    """Writes the task log. `rng` decides about single requests."""

    def __init__(self, path: Path, settings: SelfTestSettings, rng: Random) -> None:
        self.path = path
        self._settings = settings
        self._rng = rng
        self._owed = 0.0
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    def second(self, now: int, measure: str | None) -> None:
        """The requests that ended in the second before `now`; `measure`: what a fault hurts, None without one."""
        self._owed += self._settings.requests_per_minute / 60
        lines = []
        while self._owed >= 1:
            self._owed -= 1
            lines.append(self._line(now - self._rng.randrange(SECOND_MS), measure))
        self._rotate()
        with self.path.open("a", encoding="ascii") as log:
            log.writelines(sorted(lines))

    def _line(self, at: int, measure: str | None) -> str:
        hurt = measure is not None and self._rng.random() < self._settings.share
        failed = self._rng.random() < USUAL_FAILURES or (hurt and measure == "failures")
        slow = hurt and measure == "slow_requests"
        usual = round(_USUAL_MS * self._rng.lognormvariate(0.0, _SPREAD))
        line = {
            "at": at,
            "duration_ms": _TOO_SLOW_MS if slow else usual,
            "outcome": "error" if failed else "ok",
            "client_isp": NOWHERE,
            "client_region": NOWHERE,
            "sched_rule": NOWHERE,
        }
        return json.dumps(line, separators=(",", ":")) + "\n"

    def _rotate(self) -> None:
        """The agent reads what is left of a renamed file, then goes on with the new one."""
        if self.path.exists() and self.path.stat().st_size >= ROTATE_BYTES:
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))


class Plan:
    """Which fault is on, and when the next one is due. What is on stands in a file, so that a fault that was cut short
    by the end of the process can be taken back. `announce(change)` raises SendError when nobody is known to have taken
    it; such a fault is not made, and its announcement is taken back with the next."""

    def __init__(self, path: Path, settings: SelfTestSettings, first: int, announce: Callable[[Change], None]) -> None:
        self._path = path
        self._settings = settings
        self._announce = announce
        self._number = 0
        self._doubtful = self._interrupted()
        self.due = first
        self.current: Injected | None = None

    def look(self, now: int) -> str | None:
        """Begin or end a fault; the measure that is hurt now."""
        if self.current is not None and now >= self.current.end:
            self.current = None
            self._path.unlink(missing_ok=True)
        if self.current is None and now >= self.due:
            self._begin(now)
        return None if self.current is None else self.current.measure

    def settle(self) -> None:
        """Take back what was announced and not made, or is not over; at the start and at the end."""
        self._doubtful = self.current or self._doubtful
        self.current = None
        if self._doubtful is not None:
            self._announce(withdrawal(self._doubtful))
            self._doubtful = None
        self._path.unlink(missing_ok=True)

    def _begin(self, now: int) -> None:
        self.settle()
        start = now - now % SECOND_MS
        end = start + round(self._settings.minutes * MINUTE_MS)
        fault = Injected(f"self-test-{start // SECOND_MS}", start, end, MEASURES[self._number % len(MEASURES)])
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path.write_text(json.dumps(asdict(fault)), encoding="ascii")
        self._doubtful = fault
        self._announce(announcement(fault))
        self._doubtful, self.current = None, fault
        self._number += 1
        self.due = start + round(self._settings.every_minutes * MINUTE_MS)

    def _interrupted(self) -> Injected | None:
        """The fault that was on when an earlier process ended."""
        try:
            document = json.loads(self._path.read_text(encoding="ascii"))
            return Injected(document["id"], int(document["start"]), int(document["end"]), document["measure"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
