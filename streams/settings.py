"""Policy numbers of the stream jobs, as frozen values. Defaults are what the contracts agree on."""

from __future__ import annotations

from dataclasses import dataclass, field

from contracts.times import ALLOWED_LATENESS_MS, MINUTE_MS, WATERMARK_DELAY_MS


class StreamsError(Exception):
    """Base of what this package raises. Bad records are no exception: they end in telemetry.rejected."""


class SettingsError(StreamsError):
    """A setting out of range; the message names it. Not retriable."""


@dataclass(frozen=True, slots=True)
class QualitySettings:
    """The quality operator. Times in ms of event time.

    `revise_every_ms`: how far the watermark moves between looks for data that came after a minute's first emission.
    `late_memory_minutes`: how long late requests of a closed minute are still counted. `prior_requests`: how many
    requests of a wider group a box's stratum is mixed with when its expected failures are estimated (evidence.py).
    `flush_rows`: slices held before they are aggregated. `rows_per_message`: most rows of an output message.
    """

    watermark_delay_ms: int = WATERMARK_DELAY_MS
    allowed_lateness_ms: int = ALLOWED_LATENESS_MS
    revise_every_ms: int = 20_000
    late_memory_minutes: int = 60
    prior_requests: float = 100.0
    flush_rows: int = 65_536
    rows_per_message: int = 4_096

    def __post_init__(self) -> None:
        if self.allowed_lateness_ms % MINUTE_MS:
            raise SettingsError(f"allowed_lateness_ms: expected whole minutes, got {self.allowed_lateness_ms}")
        for name in ("watermark_delay_ms", "allowed_lateness_ms"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name}: expected at least 0, got {getattr(self, name)}")
        for name in ("revise_every_ms", "late_memory_minutes", "prior_requests", "flush_rows", "rows_per_message"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name}: expected above 0, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """A worker on Kafka. `buffer_bytes`: records delivered and not yet taken, before delivery waits. `silent_after_s`:
    without a record on a partition, heartbeats included, after which the worker says that it is silent.
    `failures_before_end`: unexpected failures of a task in a row, after which the process ends. `session_timeout_s`:
    how long Kafka waits for a worker's sign of life before others take its partitions. `handover_s`: how long a
    rebalance waits for the log to acknowledge what was written.
    """

    buffer_bytes: int = 64 * 1024 * 1024
    silent_after_s: float = 60.0
    failures_before_end: int = 10
    session_timeout_s: float = 10.0
    handover_s: float = 5.0

    def __post_init__(self) -> None:
        for name in ("buffer_bytes", "silent_after_s", "failures_before_end", "session_timeout_s", "handover_s"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name}: expected above 0, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """All jobs of a process. `poll_records`: most records consumed per step."""

    quality: QualitySettings = field(default_factory=QualitySettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    poll_records: int = 256

    def __post_init__(self) -> None:
        if self.poll_records < 1:
            raise SettingsError(f"poll_records: expected at least 1, got {self.poll_records}")
