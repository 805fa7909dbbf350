"""The parts put together in one process: registry, log, gateway, operators, history. Embedded mode."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from contracts.entities import Objective
from contracts.protocols import Log, Registry, Store, StoreUnavailable
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from dipper.past import past_minutes
from dipper.paths import Paths
from dipper.settings import settings_of
from dipper.tally import Tally
from history.chdb_store import ChdbStore
from history.maintenance import Retention, backup, expire
from history.query_fleet import served_by
from history.query_incidents import incidents
from history.sink import Sink, SinkSettings, SinkStep
from ingest.gateway import Gateway, GatewaySettings
from ingest.log.embedded import EmbeddedLog
from ingest.registry import SqliteRegistry
from ingest.tuning import tune_gc, tune_malloc
from streams.health_local import HealthRunner
from streams.health_settings import HealthJobSettings
from streams.incident_book import KEEP_RESOLVED_MS
from streams.incident_runner import TriageRunner
from streams.incident_settings import DetectorSettings, IncidentSettings, SilenceSettings, TriageSettings
from streams.local import LocalRunner
from streams.settings import QualitySettings, StreamSettings

Policy = Mapping[str, Mapping[str, Any]]
RETENTION_HOURS = "retention_hours"


@dataclass
class Engine:
    """Everything that works on one data directory. Whoever opens it owns the directory's lock."""

    paths: Paths
    policy: Policy
    clock: Callable[[], int]
    registry: SqliteRegistry
    log: EmbeddedLog
    store: ChdbStore
    gateway: Gateway
    streams: LocalRunner
    health: HealthRunner
    sink: Sink
    sink_lock: threading.Lock = field(default_factory=threading.Lock)
    tally: Tally = field(default_factory=Tally)
    triage: TriageRunner | None = None

    def triage_step(self, now: int, timeout_s: float = 0.0) -> int:
        """A step of detection and incidents. The first one opens the job, which learns its past from history: commands
        that only ask something do without."""
        if self.triage is None:
            self.triage = open_triage(self.log, self.registry, self.store, self.policy, now)
        return self.triage.step(now, timeout_s)

    def store_step(self, now: int, timeout_s: float = 0.0) -> SinkStep:
        """A step of the sink. A backup holds it up, because history must stand still while it is copied."""
        with self.sink_lock:
            return self.tally.timed(lambda: self.sink.step(now, timeout_s))

    def history_status(self, now: int) -> dict[str, Any]:
        """How the sink is, and what its steps did so far."""
        return {**self.sink.status(now), **self.tally.status(), "positions": sum(self.sink.positions().values())}

    def backup(self, destination: Path) -> Path:
        """Copy history as of one moment into a new folder; the log keeps what comes meanwhile. Raises StoreError."""
        with self.sink_lock:
            return backup(self.store, destination, self.clock())

    def drain(self, now: int) -> None:
        """Work off what the log holds: operators first, then history."""
        while self.streams.step(0.0):
            pass
        with self.sink_lock:
            self.sink.drain(now)

    def expire(self, now: int) -> dict[str, int]:
        """Let go of what is older than the retention; returns how many pieces, by table. The log keeps what history
        and operators have not read yet, however old."""
        dropped = expire(self.store, now, settings_of(Retention, self.policy["retention"]))
        keep = {**self.streams.positions(), **self.sink.positions()}
        triage = {} if self.triage is None else self.triage.positions()
        for positions in (self.streams.positions(), self.health.positions(), triage):
            for place, offset in positions.items():
                keep[place] = min(keep.get(place, offset), offset)
        hours = int(self.policy["log"][RETENTION_HOURS])
        dropped["log_segments"] = self.log.expire(now - hours * HOUR_MS, keep)
        return dropped

    def close(self) -> None:
        """Close what was opened, readers first; the gateway must have been stopped."""
        if self.triage is not None:
            self.triage.close()
        self.streams.close()
        self.health.close()
        self.sink.close()
        self.log.close()
        self.store.close()
        self.registry.close()


def open_engine(
    paths: Paths, policy: Policy, clock: Callable[[], int], *, manual: bool = False, live: bool = True
) -> Engine:
    """Open or create a deployment in a data directory. `manual`: the gateway flushes and beats only when told to;
    `live` False: the minute under way is not recomputed for pages. Raises LogError or StoreError with a sentence."""
    tune_gc()
    if live:
        tune_malloc()  # a process that stays; one that counts minutes rather wants its arrays back at once
    registry = SqliteRegistry(paths.registry, clock=clock)
    opened: list[Any] = [registry]
    try:
        log = EmbeddedLog(paths.log, **{k: v for k, v in policy["log"].items() if k != RETENTION_HOURS})
        opened.append(log)
        store = ChdbStore(paths.history, **policy["history"])
        opened.append(store)
        gateway = Gateway(log, registry, settings_of(GatewaySettings, {**policy["gateway"], "manual": manual}), clock)
        streams = LocalRunner(log, StreamSettings(settings_of(QualitySettings, policy["quality"])))
        opened.append(streams)
        health = HealthRunner(log, clock(), settings_of(HealthJobSettings, policy["health"]))
        opened.append(health)
        sink = Sink(log, store, settings_of(SinkSettings, {**policy["sink"], **({} if live else _HEADLESS)}))
    except BaseException:
        for part in reversed(opened):
            part.close()
        raise
    return Engine(paths, policy, clock, registry, log, store, gateway, streams, health, sink)


def triage_settings(policy: Policy) -> TriageSettings:
    """Those of detection and incidents. Raises SettingsError."""
    return TriageSettings(
        detector=settings_of(DetectorSettings, policy["detector"]),
        silence=settings_of(SilenceSettings, policy["silence"]),
        incident=settings_of(IncidentSettings, policy["incident"]),
        self_test_every_ms=round(policy["self_test"]["every_minutes"] * MINUTE_MS),
    )


def open_triage(log: Log, registry: Registry, store: Store, policy: Policy, now: int) -> TriageRunner:
    """Detection and incidents on a log, with their past from history. Raises LogError or StoreError."""
    return TriageRunner(
        log,
        triage_settings(policy),
        lambda: objectives_of(registry),
        partial(past_minutes, store),
        incidents(store, now - KEEP_RESOLVED_MS, now + DAY_MS, limit=10_000),
        partial(_served, store),
    )


def _served(store: Store, boxes: Sequence[str], start: int, end: int) -> Sequence[str]:
    """Whom boxes served; nobody while history does not answer: it is asked again."""
    try:
        return served_by(store, boxes, start, end)
    except StoreUnavailable:
        return ()


def objectives_of(registry: Registry) -> list[Objective]:
    """What all customers are promised now."""
    return [objective for customer in registry.customers() for objective in customer.objectives]


_HEADLESS: dict[str, Any] = {"live_refresh_ms": None}
