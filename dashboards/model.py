"""What pages are drawn from: measured sums and steps, and the view models pure functions build from them.

Times in ms UTC. Every ratio is kept as its two counts; `unmeasured` is the number of requests expected from boxes
that did not report, so that coverage = requests / (requests + unmeasured) of any sum, and sums add.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from history.books import Account
from history.query_intake import Arrivals, CustomerCoverage, Hearing, Stages
from history.query_model import Rejected, RejectedReason

STATUS_CLASSES = ("s2xx", "s3xx", "s4xx", "s5xx")


@dataclass(frozen=True, slots=True)
class Sums:
    """Counts over a span."""

    requests: int = 0
    failures: int = 0
    unmeasured: float = 0.0
    p95_ms: float | None = None

    @property
    def failure_ratio(self) -> float | None:
        """Failures of requests; None without requests."""
        return self.failures / self.requests if self.requests else None

    @property
    def coverage(self) -> float | None:
        """Measured share of expected requests; None when nothing was expected."""
        expected = self.requests + self.unmeasured
        return self.requests / expected if expected > 0 else None


@dataclass(frozen=True, slots=True)
class Steps:
    """A series in steps of `step_ms`: columns of one length, `start` ascending on a full grid (gaps hold zeros).
    The last step may be cut short by `until`, up to where data can be known."""

    step_ms: int
    until: int
    start: tuple[int, ...]
    requests: tuple[int, ...]
    failures: tuple[int, ...]
    unmeasured: tuple[float, ...]
    latency_ms: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)  # p50, p95, p99
    status: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # STATUS_CLASSES

    def __len__(self) -> int:
        return len(self.start)

    def length_ms(self, i: int) -> int:
        """Length of a step."""
        return min(self.step_ms, self.until - self.start[i])

    def ratio(self, i: int) -> float | None:
        """Failure ratio of a step; None without requests."""
        return self.failures[i] / self.requests[i] if self.requests[i] else None

    def coverage(self, i: int) -> float | None:
        """Coverage of a step; None when nothing was expected."""
        expected = self.requests[i] + self.unmeasured[i]
        return self.requests[i] / expected if expected > 0 else None

    def total(self) -> Sums:
        """Sums over all steps."""
        return Sums(sum(self.requests), sum(self.failures), sum(self.unmeasured))


@dataclass(frozen=True, slots=True)
class Group:
    """Traffic and boxes of one ISP or region over the present span."""

    name: str
    sums: Sums
    boxes_seen: int
    boxes_silent: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the overview needs of history. `present` spans `present_ms` up to the newest complete minute;
    `reference` is the same length of time earlier, at `reference_kind` (week, day or hour)."""

    start: int
    end: int
    present_start: int
    present_end: int
    newest: int | None
    series: Mapping[str, Steps]
    present: Mapping[str, Sums]
    reference: Mapping[str, Sums]
    reference_kind: str | None
    isps: tuple[Group, ...]
    regions: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Marker:
    """A change people made, as a chart marks it."""

    id: str
    kind: str
    start: int
    end: int | None
    author: str
    note: str
    reference: str
    scope: str


@dataclass(frozen=True, slots=True)
class CustomerSeries:
    """What the customer page needs of history."""

    start: int
    end: int
    newest: int | None
    steps: Steps
    present: Sums
    present_start: int
    present_end: int
    markers: tuple[Marker, ...]


class State(Enum):
    """How a customer stands against its objective now, worst first."""

    BELOW = "below"
    UNDECIDED = "undecided"
    WITHIN = "within"
    NO_OBJECTIVE = "no_objective"
    NO_TRAFFIC = "no_traffic"
    NOT_JUDGED = "not_judged"  # the newest data is too old to say anything of now


@dataclass(frozen=True, slots=True)
class DeviceAccount:
    """A box's accounts over all its boots. `last_seen`: ms UTC of the newest report received."""

    device: str
    boots: int
    requests: Account
    slices: Account
    last_seen: int | None


@dataclass(frozen=True, slots=True)
class LostRange:
    """Reports that are gone undeclared: seq `first`..`last` of a boot, and what they held together when known."""

    device: str
    boot: str
    first: int
    last: int
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Refused input by reason."""

    reason: str
    reports: int
    newest: int | None


@dataclass(frozen=True, slots=True)
class Books:
    """What the ledger page needs. `devices` holds at most a screenful, most troubled first, of `device_count`.
    `dirty_minutes` are not rolled up in full yet, `disagreeing_minutes` contradict the stored rows: a fault of ours;
    `unheaded_requests` are stored ahead of their report's header and not in the sums yet."""

    requests: Account
    slices: Account
    devices: tuple[DeviceAccount, ...]
    device_count: int
    lost_ranges: tuple[LostRange, ...]
    lost_range_count: int
    refusals: tuple[Refusal, ...]
    dirty_minutes: int = 0
    disagreeing_minutes: int = 0
    unheaded_requests: int = 0


@dataclass(frozen=True, slots=True)
class Intake:
    """What the page of the data's health needs of history, over [start, end). `measured`, `unmeasured`: requests per
    step of `step_ms` from `start` on a full grid. `late_requests` of `stream_requests` came after the streams had
    closed their minute. `examples`: the newest refusals of each reason."""

    start: int
    end: int
    step_ms: int
    measured: tuple[int, ...]
    unmeasured: tuple[float, ...]
    customers: tuple[CustomerCoverage, ...]
    arrivals: Arrivals
    stages: Stages
    late_requests: int
    stream_requests: int
    reasons: tuple[RejectedReason, ...]
    examples: tuple[Rejected, ...]
    hearing: Hearing
