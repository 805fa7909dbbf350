"""Data made up for the pages of operations: intake, rules, roll-outs, health scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contracts.columns import VITALS_MEASURES, names
from contracts.entities import Change
from contracts.errors import ContractError
from contracts.health import BudgetState, Cell, Reason, Score
from contracts.releases import Comparison, Release, ReleaseGroup, ReleaseStep
from contracts.times import HOUR_MS, MINUTE_MS, minute_of
from dashboards.context import ScoreChange
from dashboards.model import Intake
from history.query_box import BoxStory
from history.query_intake import Arrivals, CustomerCoverage, Hearing, SilentBox, Stages
from history.query_model import Rejected, RejectedReason

PLACES = [(isp, region) for isp in ("unicom", "telecom", "mobile") for region in ("hebei", "hubei", "hunan")]


def make_intake(start: int, end: int, step_ms: int, now: int, *, empty: bool = False) -> Intake:
    """Eight tenths of one step were measured; box-0007 and box-0113 are silent, box-0300 has been so for two hours."""
    steps = -(-(end - start) // step_ms)
    measured = [0 if empty else 10_000] * steps
    unmeasured = [0.0] * steps
    if not empty and steps > 2:
        measured[-2], unmeasured[-2] = 8_000, 2_000.0
    silent = [("box-0007", "hebei", 200_000), ("box-0113", "bayern", 600_000), ("box-0300", "bayern", 7_200_000)]
    boxes = tuple(SilentBox(device, "unicom", region, "m1", now - age) for device, region, age in silent)
    refused = [
        Rejected(f"r{n}", "box-0009", "b1", n, now, now - n * 60_000, reason, f"requests: wrong <{n}>", "[]", 0, 0,
                 "gateway", "kept")
        for n, reason in enumerate(("after_seal", "after_seal", "bad_histogram"), 1)
    ]  # fmt: skip
    minute = minute_of(now)
    return Intake(
        start=start, end=end, step_ms=step_ms, measured=tuple(measured), unmeasured=tuple(unmeasured),
        customers=() if empty else (
            CustomerCoverage("c003", 40_000, 8_000.0, minute - 7 * MINUTE_MS, 0.62),
            CustomerCoverage("c000", 90_000, 0.0, minute, 1.0),
        ),
        arrivals=Arrivals(0, None, None, None) if empty else Arrivals(25_433, 1_590.0, 8_240.0, 8_840.0),
        stages=Stages(None, None, None, None, None, None, 0) if empty else Stages(
            now - 13_000, now - 8_000, minute - MINUTE_MS, minute - MINUTE_MS, minute - MINUTE_MS,
            minute - 20 * MINUTE_MS, 1,
        ),
        late_requests=0 if empty else 3_591, stream_requests=0 if empty else 4_199_558,
        reasons=() if empty else (
            RejectedReason("after_seal", 41, 0, 0, now - 60_000),
            RejectedReason("bad_histogram", 3, 0, 0, now - 180_000),
        ),
        examples=() if empty else tuple(refused),
        hearing=Hearing(0, 0, 0, 0, ()) if empty else Hearing(305, 300, 3, 2, boxes),
    )  # fmt: skip


def make_rule_rows(rule: str = "", *, empty: bool = False, worse: float = 3.0) -> dict[str, list[Any]]:
    """`near` fails `worse` times as often as the others in nine places, `far` like them, `new` serves almost nothing
    beside others and `alone` nothing."""
    columns = ("rule", "client_isp", "client_region", "all_total", "bad", "requests", "others_bad", "others_requests")
    rows: dict[str, list[Any]] = {
        name: [] for name in (*columns, "weighted", "others_weighted", "spread", "expected")
    }  # fmt: skip
    for name, n, times in (("near", 20_000, worse), ("far", 30_000, 1.0), ("new", 60, 1.0), ("alone", 5_000, 1.0)):
        for i, (isp, region) in enumerate(PLACES):
            if empty or rule not in ("", name):
                continue
            rate = 0.004 + 0.0005 * (i % 3)
            x, n0 = round(n * rate * times * (1 + 0.05 * (i % 2))), 0 if name == "alone" else 40_000
            x0 = round(n0 * rate)
            m, total = x + x0, n + n0
            values = [name, isp, region, n, x if n0 else 0, n if n0 else 0, x0, n0, x * n0 / total, x0 * n / total]
            values += [m * n * n0 / total**2 - x * x0 / total, n * rate if n0 else 0.0]
            for column, value in zip(rows, values, strict=True):
                rows[column].append(value)
    return rows


def make_rule_steps(steps: int, *, empty: bool = False) -> dict[str, list[Any]]:
    """Twice the others' failures in the second half."""
    known = [] if empty else list(range(steps))
    bad = [8 if i >= steps // 2 else 4 for i in known]
    return {"i": known, "bad": bad, "requests": [1_000 for _ in known], "expected": [4.0 for _ in known]}


# ---- roll-outs


def make_rollouts(now: int) -> tuple[Change, ...]:
    """A firmware an hour old, an application, a rule; newest first."""
    at = minute_of(now) - HOUR_MS
    scopes = {
        "firmware": {"model": "m1", "firmware": "2.3.1"},
        "application": {"app": "cdn"},
        "scheduling_rule": {"sched_rule": "near@8"},
    }
    return tuple(
        Change(f"rel-{n}", kind, scope, at - n * HOUR_MS, None, "wei", f"REL-{n}", f"Roll-out {n}")
        for n, (kind, scope) in enumerate(scopes.items())
    )


class MadeReleases:
    """dashboards.context.Releases: the firmware is to be rolled back, the application promoted, of the rule nothing is
    known."""

    def __init__(self, now: int, *, empty: bool = False) -> None:
        self._now, self._empty = now, empty

    def recent(self) -> Sequence[Change]:
        return () if self._empty else make_rollouts(self._now)

    def judge(self, change_id: str) -> Release:
        found = next((c for c in make_rollouts(self._now) if c.id == change_id), None)
        if found is None:
            raise ContractError("unknown_release", "release", "the id of a change", change_id)
        verdict = {"firmware": "roll back", "application": "promote"}.get(found.kind, "insufficient data")
        bad, harm = (2_708.0, 1e9) if verdict == "roll back" else (30.0, 0.02)
        counts = (bad, 8_910.0, 41.0, 10_334.0, 32.0)
        steps = tuple(
            ReleaseStep(found.start + i * 5 * MINUTE_MS, bad / 12, 742.5, 3.4, 861.0, 2.7, harm ** (i / 11), 0.5)
            for i in range(12)
        )
        comparison = Comparison(*counts, bad / 32.0, harm, 100.0, 0.0004, 20.0, 43_100.0, 17, 2, 18, 0, 3, 1)
        groups = (ReleaseGroup({"model": "m1", "device_isp": "unicom", "device_region": "hebei"}, *counts),)
        until = found.start + HOUR_MS
        return Release(found, until, verdict, "said in a sentence", comparison, steps, groups, 1.25, 1_000.0, 5)


# ---- scores


@dataclass(frozen=True, slots=True)
class MadeChange:
    """dashboards.context.ScoreChange."""

    at: int
    value: float
    state: str
    share: float
    reasons: tuple[str, ...] = ()


def make_score(device: str, now: int, value: float = 0.97, state: str = "serve", *reasons: Reason) -> Score:
    box = {"model": "m1", "device_isp": "unicom", "device_region": "hebei"}
    share = {"serve": 1.0, "reduce": 0.3, "drain": 0.015}[state]
    return Score(
        device, value, max(0.0, value - 0.05), min(1.0, value + 0.02), state, share, reasons, 1_200.0, 40.0, 4.0, 7,
        now - 11_000, now + 589_000, box,
    )  # fmt: skip


class MadeScores:
    """dashboards.context.Scores: one drained box, one reduced, one that only the budget keeps, and 40 sound ones."""

    ready = True

    def __init__(self, now: int, *, empty: bool = False) -> None:
        failing = Reason("failures", (40.0, 1_200.0, 4.0, 10.0))
        sound = [make_score(f"box-{n:04d}", now) for n in range(200, 240)]
        ill = [
            make_score("box-0007", now, 0.03, "drain", failing, Reason("waiting_for_evidence", (1.5, 6.0, 10.0))),
            make_score("box-0113", now, 0.42, "reduce", Reason("temperature", (91.0,))),
            make_score("box-0201x", now, 0.2, "serve", Reason("budget", (0.2,))),
        ]
        self._scores = {} if empty else {s.device: s for s in [*sound, *ill]}
        self._now = now

    def all(self) -> Sequence[Score]:
        return list(self._scores.values())

    def budget(self) -> BudgetState | None:
        cells = (
            Cell({"device_region": "hebei", "device_isp": "unicom", "customer": "c001"}, 40, 0.2, 0.2, 0.35),
            Cell({}, 43, 0.03, 0.2, 0.03),
        )
        return BudgetState(self._now - 11_000, 43, 1, 1, 1, cells, 0) if self._scores else None

    def of(self, device: str) -> Score | None:
        return self._scores.get(device)

    def changes(self, device: str) -> Sequence[ScoreChange]:
        if device != "box-0007":
            return ()
        at = self._now - 20 * MINUTE_MS
        return (MadeChange(at + 60_000, 0.03, "drain", 0.015), MadeChange(at, 0.4, "reduce", 0.3))


def make_story(start: int, end: int) -> BoxStory:
    """Every minute but one a hundred requests, of which a third failed in the last ten."""
    minutes = [m for m in range(start, end, MINUTE_MS) if m != end - 15 * MINUTE_MS]
    failed = [33 if m >= end - 10 * MINUTE_MS else 0 for m in minutes]
    vitals: dict[str, float | None] = dict.fromkeys(names(VITALS_MEASURES), 0.5)
    vitals |= {"temperature_c": None, "uptime_s": 7_200.0}
    covered = [60_000] * len(minutes)
    return BoxStory(minutes, [100] * len(minutes), failed, covered, vitals, end)
