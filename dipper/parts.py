"""The parts of processes as `watch` sees them: thin readings of what each says of itself."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from contracts.topics import RAW
from dipper.metrics import NO_LABELS, Reading, named
from dipper.shared import SHARE_S, Shared
from dipper.silence import SILENT_AFTER_MS
from dipper.worker import Worker
from ingest.gateway import Gateway

Status = Mapping[str, Any]
FAILURES_TOLERATED = 2
MINUTES_BEHIND = 2  # one minute ends at a time; more that wait to be computed are a backlog


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """`silent_after_ms`: a part without progress for so long is called silent. `ready_lag_s`: further behind, a reader
    of the log is not ready. `stuck_s`: a step that takes longer makes the process not alive: it wants a new start."""

    silent_after_ms: int = SILENT_AFTER_MS
    ready_lag_s: float = 60.0
    stuck_s: float = 300.0


class Base:
    """A part that lives, is ready, and says nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def alive(self, now: int) -> list[str]:  # noqa: ARG002
        """See watch.Part."""
        return []

    def ready(self, now: int) -> list[str]:  # noqa: ARG002
        """See watch.Part."""
        return []

    def progress(self, now: int) -> tuple[Hashable, bool]:  # noqa: ARG002
        """See watch.Part."""
        return None, False

    def silent(self, now: int) -> str:  # noqa: ARG002
        """See watch.Part."""
        return ""

    def facts(self, now: int) -> Mapping[str, Any]:  # noqa: ARG002
        """See watch.Part."""
        return {}

    def readings(self, now: int) -> Iterator[Reading]:  # noqa: ARG002
        """See watch.Part."""
        yield from ()


class SettingsPart(Base):
    """Which policy numbers are in force, and why a file was refused. What was in force goes on, so that is a fact and
    no reason to be unready."""

    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__("policy")
        self._status = status

    def facts(self, now: int) -> Mapping[str, Any]:  # noqa: ARG002
        return self._status()


class ThreadPart(Base):
    """A thread that steps. A step that never ends and one that always fails both are no progress."""

    def __init__(self, worker: Worker, settings: WatchSettings) -> None:
        super().__init__(worker.name)
        self._worker = worker
        self._settings = settings

    def alive(self, now: int) -> list[str]:  # noqa: ARG002
        status = self._worker.status()
        if not status.alive:
            return [f"{self.name}: its thread has ended"]
        if status.busy_s > self._settings.stuck_s:
            return [f"{self.name}: a step takes {status.busy_s:.0f} s already"]
        return []

    def ready(self, now: int) -> list[str]:  # noqa: ARG002
        status = self._worker.status()
        if status.failures > FAILURES_TOLERATED:
            return [f"{self.name}: failed {status.failures} times in a row: {status.last_error}"]
        return []

    def progress(self, now: int) -> tuple[Hashable, bool]:  # noqa: ARG002
        return self._worker.status().steps, True

    def readings(self, now: int) -> Iterator[Reading]:  # noqa: ARG002
        status = self._worker.status()
        yield "dipper_steps_total", (self.name,), status.steps
        yield "dipper_step_failures", (self.name,), status.failures
        yield "dipper_step_age_seconds", (self.name,), status.idle_s


class GatewayPart(Base):
    """The gateway: each second every partition gets reports or a heartbeat, so something is always to be done."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__("gateway")
        self._gateway = gateway

    def ready(self, now: int) -> list[str]:  # noqa: ARG002
        why = self._gateway.unready()
        return [f"gateway: {why}"] if why else []

    def progress(self, now: int) -> tuple[Hashable, bool]:  # noqa: ARG002
        metrics = self._gateway.metrics
        done = ("dipper_gateway_reports_stored_total", "dipper_gateway_heartbeats_total")
        return tuple(metrics.value(name) for name in done), True


class DependencyPart(Base):
    """Something a process needs; `probe` raises when it is away, and may take its time: it runs beside."""

    def __init__(self, name: str, probe: Callable[[], object]) -> None:
        super().__init__(name)
        self._probe = Shared(probe, 5 * SHARE_S)

    def ready(self, now: int) -> list[str]:  # noqa: ARG002
        try:
            self._probe()
        except Exception as error:
            return [f"{self.name}: {error or type(error).__name__}"]
        return []


class ReaderPart(Base):
    """Something that reads the log: what it has done (`done` of its status) moves while records wait (`waiting`). A
    status that cannot be had is why it is not ready. `status`: None while there is nothing to say (a standby)."""

    waiting = "lag_records"
    done: tuple[str, ...] = ("records",)
    names: ClassVar[Mapping[str, str]] = {}

    def __init__(self, name: str, status: Callable[[], Status | None], settings: WatchSettings) -> None:
        super().__init__(name)
        self._status = Shared(status)
        self._settings = settings

    def ready(self, now: int) -> list[str]:  # noqa: ARG002
        status = self._status()
        if status is None:
            return []
        lag_s = self.behind_s(status)
        if lag_s is not None and lag_s > self._settings.ready_lag_s:
            bound = f"{self._settings.ready_lag_s:g} s are allowed"
            return [f"{self.name}: {lag_s:.0f} s behind the log ({bound})"]
        return []

    def behind_s(self, status: Status) -> float | None:
        """How far behind the log, in s."""
        return status.get("lag_s")

    def progress(self, now: int) -> tuple[Hashable, bool]:  # noqa: ARG002
        status = self._status()
        if status is None:
            return None, False
        return tuple(status.get(key) for key in self.done), bool(status.get(self.waiting))

    def silent(self, now: int) -> str:  # noqa: ARG002
        status = self._status() or {}
        return str(status.get("reason") or "gets nothing done") if status.get("silent") else ""

    def facts(self, now: int) -> Mapping[str, Any]:  # noqa: ARG002
        return self._status() or {}

    def readings(self, now: int) -> Iterator[Reading]:  # noqa: ARG002
        status = self._status()
        if status is not None:
            yield from named(self.name, status, self.names)
            for topic, records in status.get("lag_by_topic", {"all": status.get("lag_records")}).items():
                yield "dipper_lag_records", (self.name, topic), records


class StreamsPart(ReaderPart):
    """The quality operator in this process."""

    def behind_s(self, status: Status) -> float | None:
        """Where nothing waits, nobody is behind, however old the newest record is."""
        return status.get("watermark_lag_s") if status.get("lag_records") else None

    names: ClassVar[Mapping[str, str]] = {
        "dipper_watermark_delay_seconds": "watermark_lag_s",
        "dipper_records_total": "records",
        "dipper_batches_total": "batches",
        "dipper_poison_total": "poison",
        "dipper_stream_slices_total": "slices",
        "dipper_late_requests_total": "late_requests",
        "dipper_open_minutes": "open_minutes",
        "dipper_emitted_messages_total": "messages_emitted",
        "dipper_rebuilding_partitions": "rebuilding",
        "dipper_rebalances_total": "rebalances",
        "dipper_assigned_partitions": "partitions",
    }


class TriagePart(ReaderPart):
    """Detection and incidents in this process."""

    def behind_s(self, status: Status) -> float | None:
        """As of StreamsPart."""
        return status.get("lag_s") if status.get("lag_records") else None

    names: ClassVar[Mapping[str, str]] = {
        "dipper_records_total": "records",
        "dipper_lag_seconds": "lag_s",
        "dipper_poison_total": "poison",
        "dipper_judged_minutes_total": "judged_minutes",
        "dipper_open_incidents": "open_incidents",
        "dipper_refused_actions_total": "refused_actions",
    }


class ScoresPart(ReaderPart):
    """Health scores in this process."""

    names: ClassVar[Mapping[str, str]] = {
        "dipper_records_total": "records",
        "dipper_poison_total": "poison",
        "dipper_scores_age_seconds": "computed_lag_s",
        "dipper_scores_published_total": "published",
        "dipper_exhausted_cells": "exhausted_cells",
    }


class FeedPart(Base):
    """The scheduler's feed in this process, by its own status."""

    def __init__(self, status: Callable[[], Status]) -> None:
        super().__init__("feed")
        self._status = status

    def ready(self, now: int) -> list[str]:  # noqa: ARG002
        status = self._status()
        if status["error"]:
            return [f"feed: {status['error']}"]
        return [] if status["ready"] else ["feed: reads what was published before"]

    def facts(self, now: int) -> Mapping[str, Any]:  # noqa: ARG002
        return self._status()

    def readings(self, now: int) -> Iterator[Reading]:  # noqa: ARG002
        status = self._status()
        yield "dipper_feed_boxes", NO_LABELS, status["boxes"]
        yield "dipper_feed_subscribers", NO_LABELS, status["subscribers"]
        yield "dipper_feed_dropped_subscribers_total", NO_LABELS, status["dropped_subscribers"]


class SinkPart(ReaderPart):
    """History's sink: the one that works, or one that stands by. It has caught up when the minutes are computed too."""

    done = ("positions", "recomputed_minutes")
    names: ClassVar[Mapping[str, str]] = {
        "dipper_lag_seconds": "lag_s",
        "dipper_freshness_seconds": "freshness_s",
        "dipper_insert_rows_per_second": "insert_rows_per_s",
        "dipper_insert_seconds": "insert_s",
        "dipper_dirty_minutes": "dirty_minutes",
        "dipper_minutes_behind": "minutes_behind",
        "dipper_recomputed_minutes_total": "recomputed_minutes",
        "dipper_stored_slices_total": "slices",
        "dipper_stored_reports_total": "reports",
        "dipper_duplicates_total": "duplicates",
        "dipper_poison_total": "poison",
        "dipper_skipped_records_total": "skipped_records",
        "dipper_records_total": "records",
        "dipper_batches_total": "batches",
    }

    def ready(self, now: int) -> list[str]:
        waiting = (self._status() or {}).get("minutes_behind", 0)
        said = [f"{self.name}: catching up: {waiting} minutes to recompute"] if waiting > MINUTES_BEHIND else []
        return [*super().ready(now), *said]


class IntakePart(ReaderPart):
    """The intake of reports that trusted nodes wrote to the log themselves. Its steps wait for outages to end, so it is
    asked when one last succeeded."""

    done = ("records_total", "stepped")
    names: ClassVar[Mapping[str, str]] = {
        "dipper_lag_seconds": "lag_s",
        "dipper_records_total": "records_total",
        "dipper_assigned_partitions": "partitions_held",
        "dipper_intake_reports_stored_total": "reports_stored_total",
        "dipper_intake_reports_duplicate_total": "reports_duplicate_total",
        "dipper_intake_reports_refused_total": "reports_refused_total",
        "dipper_intake_slices_stored_total": "slices_stored_total",
        "dipper_intake_slices_refused_total": "slices_refused_total",
    }

    def __init__(self, status: Callable[[], Status], settings: WatchSettings) -> None:
        def with_sums() -> Status:
            told = status()
            stepped = told["stepped_ago_s"]
            return {
                **told,
                "lag_by_topic": {RAW.name: told["lag_records"]},
                "partitions_held": len(told["partitions"]),
                "stepped": stepped is not None,
            }

        super().__init__("intake", with_sums, settings)

    def ready(self, now: int) -> list[str]:
        error = self._status()["error"]
        return [*super().ready(now), *([f"intake: {error}"] if error else [])]

    def progress(self, now: int) -> tuple[Hashable, bool]:
        marker, waiting = super().progress(now)
        return marker, waiting or not self._status()["stepped"]

    def silent(self, now: int) -> str:  # noqa: ARG002
        status = self._status()
        ago_s = status["stepped_ago_s"] or 0.0
        if ago_s * 1_000 < self._settings.silent_after_ms:
            return ""
        return f"alive, but got nothing done for {ago_s:.0f} s: {status['error'] or 'its step does not end'}"

    def readings(self, now: int) -> Iterator[Reading]:
        yield from super().readings(now)
        for reason, count in self._status()["unauthenticated_total"].items():
            yield "dipper_intake_unauthenticated_total", (reason,), count


class RegistryPart(Base):
    """A replica of the registry that follows Kafka."""

    def __init__(self, status: Callable[[], Status], settings: WatchSettings) -> None:
        super().__init__("registry")
        self._status = status
        self._settings = settings

    def ready(self, now: int) -> list[str]:  # noqa: ARG002
        status = self._status()
        heard_s = status["heard_ago_s"]
        if status["error"]:
            return [f"registry: {status['error']}"]
        if heard_s is not None and heard_s > self._settings.ready_lag_s:
            return [f"registry: heard nothing of Kafka for {heard_s:.0f} s"]
        return []

    def readings(self, now: int) -> Iterator[Reading]:  # noqa: ARG002
        yield "dipper_registry_behind_records", NO_LABELS, self._status()["behind"]
