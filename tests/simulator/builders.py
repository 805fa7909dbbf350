"""A slow gateway written from the contracts alone, and small fleets to run against it."""

from __future__ import annotations

import gzip
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from contracts.auth import SERVER_TIME_HEADER, Envelope, verify
from contracts.columns import COUNT_NAMES
from contracts.decode import decode
from contracts.report import SPOOL_CAUSES, Report
from contracts.times import AUTH_WINDOW_MS, MINUTE_MS, minute_of, shift_for_offset
from simulator.box import Attempt
from simulator.faults import Fault
from simulator.fleet import Fleet, Habits
from simulator.schedule import FaultSpec, resolve
from simulator.world import build_world

START = 1_767_607_200_000  # Monday 2026-01-05T10:00:00Z
CALM = Habits(answer_lost_ratio=0, sent_twice_ratio=0, restarts_per_box_day=0, flaps_per_box_day=0)


def make_fleet(
    specs: Sequence[FaultSpec] = (), *, seed: int = 3, devices: int = 40, habits: Habits | None = None
) -> Fleet:
    """A small fleet; faults given as specs."""
    world = build_world(seed, devices, start_ms=START)
    return Fleet(world, resolve(world, specs), seed, habits)


def spec(kind: str, start_minute: float, minutes: float, **more: Any) -> FaultSpec:
    """A fault spec in minutes from START."""
    start = START + int(start_minute * MINUTE_MS)
    return FaultSpec(kind, start, start + int(minutes * MINUTE_MS), **more)


def only(fleet: Fleet) -> Fault:
    """The fleet's one fault."""
    (fault,) = fleet.faults
    return fault


class Gateway:
    """Authenticates, decodes, deduplicates and counts by the contracts; every report in a dict. `status` overrides the
    answer (an outage)."""

    def __init__(self, fleet: Fleet) -> None:
        self.keys = {d.id: d.key for d in fleet.world.devices}
        self.reports: dict[tuple[str, str, int], tuple[str, int, Report]] = {}
        self.statuses: list[int] = []
        self.status: int | None = None

    def post(self, attempt: Attempt, now_ms: int) -> tuple[int, dict[str, str]]:
        """The answer to an attempt."""
        status = self._status(attempt.headers, attempt.body, now_ms) if self.status is None else self.status
        self.statuses.append(status)
        return status, {SERVER_TIME_HEADER: str(now_ms)} if status else {}

    def _status(self, headers: dict[str, str], body: bytes, now_ms: int) -> int:
        envelope = Envelope(
            headers["dipper-device"],
            headers["dipper-boot"],
            int(headers["dipper-seq"]),
            int(headers["dipper-sent-at"]),
            headers["dipper-signature"],
        )
        if not verify(self.keys[envelope.device], envelope, body) or abs(now_ms - envelope.sent_at) > AUTH_WINDOW_MS:
            return 401
        digest = hashlib.sha256(body).hexdigest()
        key = (envelope.device, envelope.boot, envelope.seq)
        if key in self.reports:
            return 200 if self.reports[key][0] == digest else 409
        report = decode(gzip.decompress(body))
        assert (report.device, report.boot, report.seq) == key
        self.reports[key] = (digest, report.start + shift_for_offset(now_ms - envelope.sent_at), report)
        return 200

    def minutes(self) -> dict[tuple[str, str, int], dict[str, int]]:
        """Counts by (customer, service, minute)."""
        result: dict[tuple[str, str, int], dict[str, int]] = defaultdict(lambda: dict.fromkeys(COUNT_NAMES, 0))
        for _, start, report in self.reports.values():
            slices = report.slices
            for row, (customer, service) in enumerate(
                zip(slices.dimensions["customer"], slices.dimensions["service"], strict=True)
            ):
                counts = result[customer, service, minute_of(start)]
                for name in COUNT_NAMES:
                    counts[name] += slices.counts[name][row]
        return dict(result)

    def ledger(self) -> dict[str, Any]:
        """The ledger by the formula of the contracts, per (device, boot) and in sum."""
        newest: dict[tuple[str, str], Report] = {}
        for (device, boot, _), (_, _, report) in self.reports.items():
            if (device, boot) not in newest or newest[device, boot].seq < report.seq:
                newest[device, boot] = report
        result: dict[str, Any] = {"devices": len({device for device, _ in newest})}
        for what in ("requests", "slices"):
            reported = stored = dropped = 0
            for report in newest.values():
                reported += getattr(report.totals, what)
                by_cause = getattr(report.totals, f"dropped_{what}")
                dropped += sum(by_cause.get(cause, 0) for cause in SPOOL_CAUSES)
            for earlier in self._earlier(newest):
                dropped += getattr(earlier, f"dropped_{what}")
            for _, _, report in self.reports.values():
                stored += sum(report.slices.counts["requests"]) if what == "requests" else len(report.slices)
            pending = reported - stored - dropped
            result[what] = {
                "reported": reported,
                "stored": stored,
                "rejected": 0,
                "declared_dropped": dropped,
                "pending": pending,
                "lost": 0,
                "double_counted": 0,
            }
        return result

    @staticmethod
    def _earlier(newest: dict[tuple[str, str], Report]) -> list[Any]:
        """What boxes last said of each earlier boot."""
        last: dict[tuple[str, str], tuple[int, Any]] = {}
        for report in newest.values():
            for earlier in report.earlier_boots:
                key = (report.device, earlier.boot)
                last[key] = max(last.get(key, (0, None)), (report.start, earlier), key=lambda item: item[0])
        return [earlier for _, earlier in last.values()]


def play(fleet: Fleet, gateway: Gateway, minutes: float, first_minute: float = 0) -> int:
    """Run a fleet against a gateway; returns the time after the last interval."""
    now = START + int(first_minute * MINUTE_MS)
    for _ in range(round(minutes * 6)):
        now += 10_000
        exchange(fleet, gateway, fleet.step(now), now)
    return now


def exchange(fleet: Fleet, gateway: Gateway, attempts: Sequence[Attempt], now: int) -> None:
    """Send attempts, feed the answers back."""
    answers = [(attempt, *gateway.post(attempt, now)) for attempt in attempts]
    for attempt, status, headers in answers:
        fleet.answer(attempt, status, headers, now)


def settle(fleet: Fleet, gateway: Gateway, now: int) -> int:
    """Let every box send what it holds; returns how many rounds it took."""
    for rounds in range(1_000):
        now += 10_000
        attempts = fleet.settle(now)
        if not attempts:
            return rounds
        exchange(fleet, gateway, attempts, now)
    raise AssertionError("boxes never finished sending")
