"""Policy numbers that change while one process runs everything.

What works with a table is opened anew with the new numbers, as at a start: incidents, scores and places in the log are
taken up again from the log and history, and nothing is lost or done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dipper.clock import wall_clock
from dipper.engine import Engine
from dipper.live_policy import HEALTH, TRIAGE, Audit, LivePolicy
from dipper.policy_check import Load, Policy
from dipper.settings import settings_of
from streams.health_local import HealthRunner
from streams.health_settings import HealthJobSettings


class LiveSettings(LivePolicy):
    """Of an engine. `triage_step` and `health_step` belong to a thread each; the rest may be asked from any."""

    def __init__(
        self, engine: Engine, path: Path | None, load: Load, audit: Audit, wall: Callable[[], int] = wall_clock
    ) -> None:
        super().__init__(engine.policy, path, load, engine.log, engine.clock, audit, wall)
        self._engine = engine
        self._triage = self._part(TRIAGE)
        self._health = self._part(HEALTH)

    def _part(self, tables: tuple[str, ...]) -> dict[str, Mapping[str, Any]]:
        self._engine.policy = self.in_force()
        return {table: self._engine.policy[table] for table in tables}

    def triage_step(self, timeout_s: float) -> int:
        """A step of detection and incidents, with the numbers that are in force."""
        engine, wanted = self._engine, self._part(TRIAGE)
        if wanted != self._triage:
            old, engine.triage = engine.triage, None
            self._triage = wanted
            if old is not None:
                old.close()
        return engine.triage_step(engine.clock(), timeout_s)

    def health_step(self, timeout_s: float) -> int:
        """A step of the health job, likewise."""
        engine, wanted = self._engine, self._part(HEALTH)
        if wanted != self._health:
            job = settings_of(HealthJobSettings, wanted["health"])
            old, engine.health = engine.health, HealthRunner(engine.log, engine.clock(), job)
            self._health = wanted
            old.close()
        return engine.health.step(engine.clock(), timeout_s)

    def policy(self) -> Policy:
        """What is in force."""
        return self._engine.policy
