"""What a month was worth: classes of minutes, attainment as an interval, budget, credits. Pure arithmetic.

A minute holds `total` measured trials, `bad` of them bad, and `unmeasured` more that were expected. It is good when the
objective holds even if all unmeasured trials were bad, bad when it fails even if all were good, without traffic when
nothing was measured and nothing expected, else unmeasured.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.sla import CreditTier
from contracts.times import MINUTE_MS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Classes = NDArray[np.uint8]

GOOD, BAD, UNMEASURED, NO_TRAFFIC, EXCLUDED, PENDING = range(6)
LETTERS = "gbunxp"  # of the classes, in writing: good, bad, unmeasured, no traffic, excluded (maintenance), pending
TOLERANCE = 1e-9  # of a minute's trials: targets are decimals, which floats only come near
LEAST_EXPECTED = 0.5  # trials: of a service with a request now and then, a few silent boxes say nothing
EPISODE_GAP_MINUTES = 10  # lost minutes that lie closer together belong to one story

MET, MISSED, UNDECIDED, NO_DATA = "met", "missed", "undecided", "no_data"
_RUN = re.compile(rf"(\d+)([{LETTERS}])")


def expected_unmeasured(total: Ints, coverage: Floats, placed: Floats, trials_per_request: Floats) -> Floats:
    """Trials expected but not measured, per minute: total x (1/coverage - 1); without any cover what the boxes placed
    would have served (`placed` requests per minute) beyond what came. Where other services' boxes are covered and
    nothing was measured, what the silent boxes would have served, none below LEAST_EXPECTED. NaN: trials came, but
    nothing says what share. `coverage` NaN: nothing was expected."""
    usual = placed * trials_per_request
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.maximum(total * (1 / coverage - 1), 0.0)
    silent = usual * (1 - coverage)
    partly = np.where(total > 0, scaled, np.where(silent < LEAST_EXPECTED, 0.0, silent))
    found = np.where(coverage > 0, partly, np.maximum(0.0, usual - total))
    return np.where(np.isnan(coverage), np.where(total > 0, np.nan, 0.0), found)


def classify(total: Ints, bad: Ints, unmeasured: Floats, minute_target: float) -> Classes:
    """Class of each minute (module docstring); `unmeasured` NaN makes it unmeasured."""
    known = np.nan_to_num(unmeasured, nan=0.0)
    trials = total + known
    needed = minute_target * trials - TOLERANCE * trials
    holds_at_worst = total - bad >= needed
    holds_at_best = total - bad + known >= needed
    classes = np.where(holds_at_worst, GOOD, np.where(holds_at_best, UNMEASURED, BAD))
    classes[trials == 0] = NO_TRAFFIC
    classes[np.isnan(unmeasured)] = UNMEASURED
    return classes.astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Tally:
    """Minutes by class."""

    good: int = 0
    bad: int = 0
    unmeasured: int = 0
    no_traffic: int = 0
    excluded: int = 0
    pending: int = 0

    @classmethod
    def of(cls, classes: Classes) -> Tally:
        """Of minutes' classes."""
        return cls(*(int(n) for n in np.bincount(classes, minlength=len(LETTERS))))

    @property
    def counted(self) -> int:
        """Minutes that attainment is a share of."""
        return self.good + self.bad + self.unmeasured

    @property
    def lower(self) -> float | None:
        """Attainment if all unmeasured minutes were bad; None without counted minutes."""
        return self.good / self.counted if self.counted else None

    @property
    def upper(self) -> float | None:
        """Attainment if all unmeasured minutes were good; None without counted minutes."""
        return (self.good + self.unmeasured) / self.counted if self.counted else None

    def verdict(self, target: float) -> str:
        """MET or MISSED when that is so whatever was unmeasured and whatever pending minutes will be, else UNDECIDED;
        NO_DATA without counted minutes."""
        if not self.counted:
            return NO_DATA
        minutes = self.counted + self.pending
        needed = target * minutes - TOLERANCE * minutes
        if self.good >= needed:
            return MET
        return MISSED if minutes - self.bad < needed else UNDECIDED


@dataclass(frozen=True, slots=True)
class Budget:
    """Bad minutes that the month allows (minutes to come count as counted), and those spent: surely, and at most."""

    allowed: float
    spent: int
    spent_at_most: int


def budget(tally: Tally, target: float) -> Budget:
    """The error budget of a month."""
    allowed = (1 - target) * (tally.counted + tally.pending)
    return Budget(allowed, tally.bad, tally.bad + tally.unmeasured)


def credit(tiers: Sequence[CreditTier], minutes_kept: int, counted: int) -> float:
    """Share of the fee given back when so many of the counted minutes were kept: that of the lowest tier reached."""
    due = 0.0
    for tier in tiers:
        if counted and minutes_kept < tier.below * counted - TOLERANCE * counted:
            due = tier.credit
    return due


def credits_of(tiers: Sequence[CreditTier], tally: Tally) -> tuple[float, float]:
    """(due surely, due at most): all unmeasured minutes good, all of them bad. Pending minutes are left out."""
    return credit(tiers, tally.good + tally.unmeasured, tally.counted), credit(tiers, tally.good, tally.counted)


def exclude(classes: Classes, spans: Iterable[tuple[int, int]], start: int) -> Classes:
    """The classes with minutes of spans (ms UTC) excluded; `start` is the first minute's."""
    changed = classes.copy()
    for begin, end in spans:
        changed[max(0, (begin - start) // MINUTE_MS) : max(0, (end - start) // MINUTE_MS)] = EXCLUDED
    return changed


@dataclass(frozen=True, slots=True)
class Episode:
    """Lost minutes close together: indices [first, last + 1) of the month's minutes, and how many of each class."""

    first: int
    last: int
    bad: int
    unmeasured: int


def episodes(classes: Classes, gap: int = EPISODE_GAP_MINUTES) -> list[Episode]:
    """All lost minutes (bad or unmeasured) in stories: a new one begins after more than `gap` minutes without."""
    lost = np.flatnonzero((classes == BAD) | (classes == UNMEASURED))
    if not len(lost):
        return []
    found = []
    for part in np.split(lost, np.flatnonzero(np.diff(lost) > gap + 1) + 1):
        bad = int((classes[part] == BAD).sum())
        found.append(Episode(int(part[0]), int(part[-1]), bad, len(part) - bad))
    return found


def written(classes: Classes) -> str:
    """Classes as text, in runs: `1440g3b12u`."""
    if not len(classes):
        return ""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(classes)) + 1])
    lengths = np.diff(np.append(starts, len(classes)))
    return "".join(f"{n}{LETTERS[classes[i]]}" for i, n in zip(starts, lengths, strict=True))


def read(text: str) -> Classes:
    """What `written` wrote. Raises ValueError."""
    runs = _RUN.findall(text)
    if "".join(n + letter for n, letter in runs) != text:
        raise ValueError(f"minutes: expected runs such as 1440g3b, got {text[:40]!r}")
    codes = np.array([LETTERS.index(letter) for _, letter in runs], np.uint8)
    return np.repeat(codes, [int(n) for n, _ in runs])
