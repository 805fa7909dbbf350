"""Health scores: what the topic `health.scores`, the scheduler's feed and its client agree on.

Two kinds of records, told apart by the record header `kind`: a score (key: the device) and the budget (key `budget`).
A score expires; what nobody renewed fades to neutral, never to bad. Times in ms UTC.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.auth import check_id
from contracts.errors import ContractError
from contracts.times import MAX_TIME_MS, MINUTE_MS

SERVE, REDUCE, DRAIN = "serve", "reduce", "drain"
STATES = (SERVE, REDUCE, DRAIN)
NEUTRAL = 0.5  # the value of a box nobody can say anything of
FULL_SHARE = 1.0  # what a box gets without a feed
FADE_MS = 5 * MINUTE_MS  # from expiry to neutral
SCORE, BUDGET = "score", "budget"  # values of the record header `kind`
BUDGET_KEY = b"budget"
MAX_VERSION = 2**53 - 1  # JSON numbers are exact up to here
MAX_CELLS = 200  # budget cells a record names, the fullest first

# code -> its numbers, in the order of the words. `failures`: observed and expected failures of requests over the
# window.
REASONS: Mapping[str, tuple[str, ...]] = {
    "failures": ("failures", "requests", "expected", "ratio"),
    "temperature": ("temperature_c",),
    "memory": ("memory_used_ratio",),
    "flash_full": ("flash_used_ratio",),
    "flash_wear": ("flash_written_gb_per_day",),
    "saturation": ("cpu_ratio",),
    "reboots": ("reboots_per_hour",),
    "clock": ("clock_offset_s",),
    "no_evidence": ("requests",),
    "stale_evidence": ("minutes",),
    "waiting_for_evidence": ("gathered", "needed", "ratio"),
    "slow_start": ("share",),
    "budget": ("allowed",),
}
_WORDS: Mapping[str, str] = {
    "failures": "{failures:.0f} of {requests:.0f} requests failed, {expected:.1f} were expected ({ratio:.1f} times)",
    "temperature": "{temperature_c:.0f} °C",
    "memory": "{memory_used_ratio:.0%} of memory used",
    "flash_full": "{flash_used_ratio:.0%} of flash used",
    "flash_wear": "{flash_written_gb_per_day:.0f} GB written to flash a day",
    "saturation": "{cpu_ratio:.0%} of the processor busy",
    "reboots": "{reboots_per_hour:.0f} machine starts in an hour",
    "clock": "clock off by {clock_offset_s:.0f} s",
    "no_evidence": "{requests:.0f} requests: too few to judge",
    "stale_evidence": "no requests for {minutes:.0f} min",
    "waiting_for_evidence": "returns on evidence: {gathered:.1f} of {needed:.1f} against a ratio of {ratio:.1f}",
    "slow_start": "returning: {share:.0%} of its usual traffic",
    "budget": "looks ill but keeps traffic: more than {allowed:.0%} of the capacity of one of its cells would be out",
}
_BAD = "bad_score"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a score is what it is: a code of REASONS and its numbers, in that order."""

    code: str
    numbers: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.code not in REASONS:
            raise ContractError(_BAD, "reason.code", f"one of {tuple(REASONS)}", self.code)
        if len(self.numbers) != len(REASONS[self.code]):
            raise ContractError(_BAD, "reason.numbers", f"numbers of {REASONS[self.code]}", self.numbers)

    @property
    def words(self) -> str:
        """For people, in English."""
        return _WORDS[self.code].format(**dict(zip(REASONS[self.code], self.numbers, strict=True)))


@dataclass(frozen=True, slots=True)
class Score:
    """A box's health. `value` 0 (bad) to 1 (good), `low`..`high` its 90% interval, unmeasured traffic taken as bad and
    as good; `share`: part of its usual traffic it should get, 0 < share <= 1; `requests`, `failures`, `expected`: the
    evidence, recent minutes weighing most. `version` counts up over all scores of a feed. `usual_per_minute`: requests
    a minute by customer while the box served all of its traffic; empty unless it gets less or did a while ago."""

    device: str
    value: float
    low: float
    high: float
    state: str
    share: float
    reasons: tuple[Reason, ...]
    requests: float
    failures: float
    expected: float
    version: int
    computed_at: int
    expires_at: int
    box: Mapping[str, str] = field(default_factory=dict)
    usual_per_minute: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_id("device", self.device)
        if self.state not in STATES:
            raise ContractError(_BAD, "state", f"one of {STATES}", self.state)
        for name in ("value", "low", "high", "share"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0.0 <= number <= 1.0:
                raise ContractError(_BAD, name, "a number 0 to 1", number)
        if not self.low <= self.value <= self.high:
            raise ContractError(_BAD, "value", f"inside its interval {self.low} to {self.high}", self.value)
        amounts = {name: getattr(self, name) for name in ("requests", "failures", "expected")}
        amounts |= {f"usual_per_minute.{customer}": rate for customer, rate in self.usual_per_minute.items()}
        for name, number in amounts.items():
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0.0 <= number < math.inf:
                raise ContractError(_BAD, name, "a number of at least 0", number)
        for name, most in (("version", MAX_VERSION), ("computed_at", MAX_TIME_MS), ("expires_at", MAX_TIME_MS)):
            number = getattr(self, name)
            if type(number) is not int or not 0 <= number <= most:
                raise ContractError(_BAD, name, f"an integer 0 to {most}", number)

    def expired(self, now: int) -> bool:
        """Whether nobody renewed it in time: it fades to neutral and is no state of the box any more."""
        return now > self.expires_at

    def to_json(self) -> bytes:
        """One compact JSON object; `score_from_json` reads it back."""
        document: dict[str, Any] = {
            "device": self.device,
            "value": self.value,
            "interval": [self.low, self.high],
            "state": self.state,
            "share": self.share,
            "reasons": [
                {"code": r.code, "words": r.words, **dict(zip(REASONS[r.code], r.numbers, strict=True))}
                for r in self.reasons
            ],
            "evidence": {"requests": self.requests, "failures": self.failures, "expected": self.expected},
            "version": self.version,
            "computed_at": self.computed_at,
            "expires_at": self.expires_at,
            "box": dict(self.box),
        }
        if self.usual_per_minute:
            document["usual_per_minute"] = dict(self.usual_per_minute)
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def score_from_json(data: bytes) -> Score:
    """A validated score. Raises ContractError `bad_score`, `bad_id`."""
    try:
        document: Any = json.loads(data)
        evidence = document["evidence"]
        low, high = document["interval"]
        reasons = tuple(Reason(r["code"], tuple(float(r[n]) for n in REASONS[r["code"]])) for r in document["reasons"])
        return Score(
            device=document["device"],
            value=document["value"],
            low=low,
            high=high,
            state=document["state"],
            share=document["share"],
            reasons=reasons,
            requests=evidence["requests"],
            failures=evidence["failures"],
            expected=evidence["expected"],
            version=document["version"],
            computed_at=document["computed_at"],
            expires_at=document["expires_at"],
            box={str(k): str(v) for k, v in document["box"].items()},
            usual_per_minute={str(k): v for k, v in document.get("usual_per_minute", {}).items()},
        )
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ContractError):
            raise
        raise ContractError(_BAD, "score", "a JSON object of a score", f"{type(error).__name__}: {error}") from None


def faded(value: float, neutral: float, expires_at: int, now: int) -> float:
    """A value that holds until `expires_at` and is `neutral` FADE_MS later, in a straight line between."""
    late = now - expires_at
    if late <= 0:
        return value
    return neutral if late >= FADE_MS else value + (neutral - value) * (late / FADE_MS)


@dataclass(frozen=True, slots=True)
class Cell:
    """A budget cell: `where` (combination of device_region, device_isp, customer), live `boxes`, the share of its live
    capacity that is removed, may be removed, and would be if all boxes that look ill were."""

    where: Mapping[str, str]
    boxes: int
    used: float
    allowed: float
    wanted: float

    @property
    def exhausted(self) -> bool:
        """More boxes look ill than may be removed: the cause is elsewhere."""
        return self.wanted > self.allowed


@dataclass(frozen=True, slots=True)
class BudgetState:
    """How much is removed. `cells`: those with anything removed or wanted, the fullest first, at most MAX_CELLS;
    `more`: how many were left out. `kept`: boxes that look ill and serve on because a budget is used up."""

    computed_at: int
    boxes: int
    reduced: int
    drained: int
    kept: int
    cells: tuple[Cell, ...]
    more: int = 0

    def to_json(self) -> bytes:
        """One compact JSON object; `budget_from_json` reads it back."""
        cells = [
            {"where": dict(c.where), "boxes": c.boxes, "used": c.used, "allowed": c.allowed, "wanted": c.wanted}
            for c in self.cells
        ]
        document = {
            "computed_at": self.computed_at,
            "boxes": self.boxes,
            "reduced": self.reduced,
            "drained": self.drained,
            "kept": self.kept,
            "cells": cells,
            "more": self.more,
        }
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def budget_from_json(data: bytes) -> BudgetState:
    """The state a record of kind `budget` holds. Raises ContractError `bad_score`."""
    try:
        document: Any = json.loads(data)
        cells = tuple(
            Cell(dict(c["where"]), int(c["boxes"]), float(c["used"]), float(c["allowed"]), float(c["wanted"]))
            for c in document["cells"]
        )
        counts = {name: int(document[name]) for name in ("computed_at", "boxes", "reduced", "drained", "kept", "more")}
        return BudgetState(cells=cells, **counts)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ContractError(_BAD, "budget", "a JSON object of a budget", f"{type(error).__name__}: {error}") from None
