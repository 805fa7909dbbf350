"""A partition that a worker has: its task, what waits for it, and how it is doing."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from contracts.protocols import StoredRecord
from streams.headers import Headers
from streams.task import PartitionTask

REPORTS_HELD = 1_024  # blocks per task; what is dropped beyond is read again from the log


@dataclass(slots=True)
class Slot:
    """A partition this worker has. `rebuilt`: its task is up to date and stepped; until then it reads by itself."""

    partition: int
    assigned_ms: int
    task: PartitionTask | None = None
    rebuilt: bool = False
    closed: bool = False
    held: bool = False
    inbox: deque[StoredRecord] = field(default_factory=deque)
    reports: deque[Headers] = field(default_factory=lambda: deque(maxlen=REPORTS_HELD))
    delivered_ms: int | None = None
    stepped_ms: int | None = None
    step_ms: float = 0.0
    failures: int = 0
    crashes: int = 0
    not_before_s: float = 0.0
    error: str | None = None
    check_at_s: float | None = None  # when to look whether an assignment left records undelivered
    read_to: int | None = None  # offset up to which they are to be read

    @property
    def state(self) -> str:
        if self.error is not None:
            return "retrying"
        return "running" if self.rebuilt else "rebuilding"

    def lag(self, ends: list[int] | None) -> int | None:
        """Records of the partition not taken yet; None: unknown. `ends`: of telemetry.slices."""
        at = self.task.next_offset if self.task is not None else None
        return None if ends is None or at is None else max(0, ends[self.partition] - at)

    def status(self, now: int, ends: list[int] | None) -> dict[str, Any]:
        """What PartitionTask.status tells, and how the slot is."""
        task = self.task
        told = task.status(now) if task is not None else {"partition": self.partition, "watermark_lag_s": None}
        return {
            **told,
            "state": self.state,
            "lag_records": self.lag(ends),
            "waiting_records": len(self.inbox),
            "last_step_ms": self.step_ms,
            "failures": self.failures,
            "error": self.error,
        }


_SUMMED = ("lag_records", "records", "batches", "slices", "reports", "poison", "messages_emitted", "skipped", "reread")


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums over slots' status, and the largest watermark_lag_s."""
    lags = [row["watermark_lag_s"] for row in rows if row["watermark_lag_s"] is not None]
    sums: dict[str, Any] = {name: sum(row.get(name) or 0 for row in rows) for name in _SUMMED}
    return {**sums, "partitions": len(rows), "watermark_lag_s": max(lags, default=None)}
