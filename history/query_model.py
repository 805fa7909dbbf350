"""What queries answer: frozen values. Times in ms UTC, counts as integers, ratios only as their two counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Latency:
    """Quantiles in ms over `count` requests of one histogram base; relative error at most
    contracts.histogram.RELATIVE_ERROR inside the scale."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums over a span. `unmeasured`: requests expected from boxes that did not report, or declared dropped."""

    requests: int = 0
    failures: int = 0
    unmeasured: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)  # contracts.columns.COUNT_NAMES

    @property
    def failure_ratio(self) -> float | None:
        """Failures of requests; None without requests."""
        return self.failures / self.requests if self.requests else None

    @property
    def coverage(self) -> float | None:
        """Measured share of the requests to be expected; None when nothing was."""
        expected = self.requests + self.unmeasured
        return self.requests / expected if expected > 0 else None


@dataclass(frozen=True, slots=True)
class CustomerOverview:
    """One customer over a span. `delivery` and `compute` latency are never merged: their histograms differ in base.
    `spark_*`: the same span in steps of `spark_step_ms` from `spark_start`."""

    customer: str
    total: Counts
    delivery: Latency | None
    compute: Latency | None
    spark_start: int
    spark_step_ms: int
    spark_requests: tuple[int, ...]
    spark_failures: tuple[int, ...]
    spark_unmeasured: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """One customer in steps; columns of one length on a full grid from `start`, steps without data hold zeros.
    `latency_ms`: p50, p95, p99, None where there is none. `provisional`: the step holds a minute that has not ended
    for history yet, or counts of the stream's."""

    step_ms: int
    start: tuple[int, ...]
    counts: Mapping[str, tuple[int, ...]]  # contracts.columns.COUNT_NAMES
    failures: tuple[int, ...]
    unmeasured: tuple[float, ...]
    latency_ms: Mapping[str, tuple[float | None, ...]]
    provisional: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def requests(self) -> tuple[int, ...]:
        """Requests per step."""
        return self.counts["requests"]


@dataclass(frozen=True, slots=True)
class GroupTraffic:
    """Traffic of one value of a dimension."""

    value: str
    requests: int
    failures: int
    bytes: int


@dataclass(frozen=True, slots=True)
class GroupBoxes:
    """Boxes of one value of a dimension of the box, with what they served. `silent`: heard in the hour before the
    span, not in it."""

    value: str
    seen: int
    silent: int
    requests: int
    failures: int
    bytes: int


@dataclass(frozen=True, slots=True)
class BoxCounts:
    """Boxes ever heard: of `total`, `seen` lately and `silent` since."""

    total: int
    seen: int
    silent: int


@dataclass(frozen=True, slots=True)
class Device:
    """A box as its newest report left it. `attributes`: registry and report dimensions."""

    device: str
    boot: str
    seq: int
    last_seen: int
    received_at: int
    clock_offset_ms: int
    agent: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far history reaches. `newest_end`: end of the newest stored interval; `newest_minute`: newest minute shown;
    `closed_through`: newest minute that has ended; None: nothing yet. `dirty_minutes`: waiting to be recomputed."""

    newest_end: int | None
    newest_minute: int | None
    closed_through: int | None
    dirty_minutes: int


@dataclass(frozen=True, slots=True)
class RejectedReason:
    """Refusals of one reason: how many, of whole reports and of rows, and when last."""

    reason: str
    refusals: int
    requests: int
    slices: int
    newest: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """One refusal. `body` only when asked for by id."""

    id: str
    device: str
    boot: str
    seq: int
    sent_at: int
    received_at: int
    reason: str
    detail: str
    rows: str
    requests: int
    slices: int
    source: str
    state: str
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One request worth looking at; fields as in contracts.columns.EXEMPLARS."""

    at: int
    device: str
    customer: str
    service: str
    client_isp: str
    client_region: str
    sched_rule: str
    path_hash: str
    status: int
    latency_ms: int
    failure: str


@dataclass(frozen=True, slots=True)
class Restatement:
    """What late data did to an ended minute."""

    minute: int
    customer: str
    service: str
    restated_at: int
    requests_before: int
    requests_after: int
    failures_before: int
    failures_after: int
    coverage_before: float | None
    coverage_after: float | None
