"""What is usual: a ratio per time of day and week, with the level beside it, robust against what is not usual."""

from dataclasses import dataclass

import numpy as np

from anomaly.detect.memory import Field, Memory
from anomaly.detect.model import Baseline, FloatArray, IntArray
from anomaly.detect.settings import SeasonSettings

MINUTES_PER_DAY = 1_440
DAYS = 7
BAD, TOTAL, MINUTES = range(3)
OBSERVED, USUAL = range(2)
LEAST_RATIO = 1e-6
MOST_RATIO = 0.9


@dataclass(frozen=True, slots=True)
class Expectation:
    """Of one minute, all (n,)."""

    ratio: FloatArray
    """Expected bad of total: rhythm x level x common; NaN where nothing is known."""
    rhythm: FloatArray
    """The ratio of this time of day and week."""
    level: FloatArray
    baseline: IntArray
    """Values of `Baseline`."""
    common: FloatArray
    """What the other series of the family move by; 1 as far as the season knows."""


class Season:
    """Sums of bad and total per slot of the day and of the week, and their exponentially forgotten overall sums.

    The slot under way is kept apart until it is over: what happens now must not be usual already.
    """

    def __init__(self, settings: SeasonSettings, n_series: int) -> None:
        self._settings = settings
        self._slots = MINUTES_PER_DAY // settings.slot_minutes
        self.memory = Memory(
            {
                "overall": Field((3,)),
                "day": Field((self._slots, 3)),
                "week": Field((self._slots * DAYS, 3)),
                "level": Field((2,)),
                "visit": Field((3,)),
            },
            n_series,
        )

    def overall(self) -> FloatArray:
        """(n,): the ratio over everything, before any season."""
        bad, total, _ = self.memory["overall"]
        typical = self._settings.typical_ratio
        ratio: FloatArray = np.clip((bad + 1) / (total + 1 / typical), LEAST_RATIO, MOST_RATIO)
        return ratio

    def expect(self, minute: int, dispersion: FloatArray) -> Expectation:
        """What to expect in a minute (since the epoch). dispersion: (n,), how many times rarer than counted the bad
        events of a slot really are."""
        settings = self._settings
        overall = self.overall()
        here, after, part = self._position(minute)
        slot = self._slot(minute)
        day_seen = self.memory["day"][slot % self._slots, MINUTES] >= settings.seen_share * settings.slot_minutes
        week_minutes = settings.slot_minutes * (settings.week_visits - 1 + settings.seen_share) * self._week_keep
        week_seen = day_seen & (self.memory["week"][slot, MINUTES] >= week_minutes)
        warm = self.memory["overall"][MINUTES] >= settings.warm_up_minutes * 0.98
        baseline = np.select(
            [~warm, week_seen, day_seen],
            [Baseline.NONE, Baseline.TIME_OF_WEEK, Baseline.TIME_OF_DAY],
            Baseline.OVERALL,
        ).astype(np.int64)
        of_day = [self._of_day(at, overall, dispersion) for at in (here, after)]
        of_week = [
            self._drawn("week", at, day, settings.week_weight * dispersion)
            for at, day in zip((here, after), of_day, strict=True)
        ]
        rhythm = np.select(
            [week_seen, day_seen],
            [(1 - part) * pair[0] + part * pair[1] for pair in (of_week, of_day)],
            overall,
        )
        observed, usual = self.memory["level"]
        weight = settings.level_weight * dispersion
        level = np.clip((observed + weight) / (usual + weight), *settings.level_range)
        ratio = np.where(warm, np.clip(rhythm * level, LEAST_RATIO, MOST_RATIO), np.nan)
        return Expectation(ratio, rhythm, level, baseline, np.ones_like(level))

    def learn(
        self,
        minute: int,
        bad: FloatArray,
        total: FloatArray,
        expected: Expectation,
        taught: FloatArray,
        followed: FloatArray,
    ) -> None:
        """Take a minute in. bad: (n,), already drawn to what is plausible; taught, followed:
        (n,) 0..1, the weights with which the rhythm and the level learn."""
        settings, memory = self._settings, self.memory
        odd = np.where(expected.baseline >= Baseline.TIME_OF_DAY, np.log(expected.level) / settings.odd_day, 0.0)
        weight = taught * np.maximum(1 / (1 + odd**2), settings.least_weight)
        lesson = np.stack([weight * bad, weight * total, (taught > 0).astype(float)])
        if memory.minute >= 0 and memory.minute // settings.slot_minutes != minute // settings.slot_minutes:
            self._end_visit(self._slot(memory.minute))
        memory["visit"] += lesson
        memory["overall"] = memory["overall"] * 0.5 ** (taught / settings.all_half_life_minutes) + lesson
        step = np.stack([bad, total * expected.rhythm])
        memory["level"] = memory["level"] * 0.5 ** (followed / settings.level_half_life_minutes) + followed * step
        memory.minute = minute

    def _end_visit(self, slot: int) -> None:
        """Let the slot that is over teach."""
        memory, day = self.memory, slot % self._slots
        memory["day"][day] = memory["day"][day] * 0.5 ** (1 / self._settings.day_half_life_visits) + memory["visit"]
        memory["week"][slot] = memory["week"][slot] * self._week_keep + memory["visit"]
        memory["visit"] = np.zeros_like(memory["visit"])

    @property
    def _week_keep(self) -> float:
        return float(0.5 ** (1 / self._settings.week_half_life_visits))

    def _slot(self, minute: int) -> int:
        return minute // self._settings.slot_minutes % (self._slots * DAYS)

    def _position(self, minute: int) -> tuple[int, int, float]:
        """The slots of the week whose centres lie around the middle of the minute, and the way between them, 0..1."""
        place = (minute + 0.5) / self._settings.slot_minutes - 0.5
        here = int(np.floor(place))
        slots = self._slots * DAYS
        return here % slots, (here + 1) % slots, place - here

    def _of_day(self, slot: int, overall: FloatArray, dispersion: FloatArray) -> FloatArray:
        return self._drawn("day", slot % self._slots, overall, self._settings.day_weight * dispersion)

    def _drawn(self, table: str, slot: int, towards: FloatArray, weight: FloatArray) -> FloatArray:
        """The ratio of a slot, drawn to a coarser one as by `weight` bad events that came with it."""
        bad, total, _ = self.memory[table][slot]
        ratio: FloatArray = np.clip((bad + weight) / (total + weight / towards), LEAST_RATIO, MOST_RATIO)
        return ratio
