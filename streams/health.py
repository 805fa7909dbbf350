"""The health job: device evidence, vital signs and placement in, health scores and the state of the removal budget out.

Pure: no clock, no I/O; a shell (health_local.py) decodes, calls `advance(now)` when it has read what there is, and
writes what that returns. One job sees all boxes, because the budget is one.

Minutes. Scores of a minute are made once its evidence is there; corrections that follow (revisions, parts of other
workers) count in the next. Without evidence, or with evidence of minutes long over, nothing is scored, and what was
published expires: when our own pipeline is late the scheduler goes on as without a feed.

What is published: every change of share, state or reasons, a value that moved by `value_step`, and the rest spread over
`renew_minutes` to twice that. Away boxes are not renewed; of those that left the score is taken back, by an empty
record, once an hour for all: every follower has to begin anew then.

Restart. States, counts, what a removed box has gathered and what it carried are read back from `health.scores`; inputs
are read again from `read_back_minutes` before, evidence up to a box's newest score being left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.health import (
    DRAINED,
    NEVER,
    REDUCED,
    RETURNING,
    SERVING,
    HealthSettings,
    Memory,
    Scores,
    fold,
    judge,
)
from contracts.columns import VITALS_MEASURES
from contracts.health import (
    BUDGET,
    BUDGET_KEY,
    DRAIN,
    FADE_MS,
    MAX_CELLS,
    REDUCE,
    SCORE,
    SERVE,
    BudgetState,
    Cell,
    Score,
)
from contracts.protocols import Record
from contracts.times import HOUR_MS, MINUTE_MS
from contracts.topics import HEALTH_SCORES
from streams.health_boxes import Boxes, Cells, Placement, VitalSigns
from streams.health_evidence import EvidenceBook
from streams.health_reasons import reason_bits, reasons_of
from streams.health_settings import HealthJobSettings

KIND = "kind"
_STATES = np.array([SERVE, REDUCE, DRAIN, REDUCE])
_NEVER_WRITTEN = -(10**9)
_LEAVING_MINUTES = 60
_DIGITS = 4

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class HealthOperator:
    """See the module's text. Not thread-safe."""

    def __init__(self, job: HealthJobSettings | None = None, settings: HealthSettings | None = None) -> None:
        self.settings = settings or HealthSettings()
        self.job = job or HealthJobSettings()
        self.boxes = Boxes()
        self.memory = Memory()
        self.placement = Placement(self.job.memory_of_placement)
        self.vitals = VitalSigns()
        self.book = EvidenceBook()
        self.scored: int | None = None  # minute, since the epoch
        self.version = 0
        self.exhausted_cells = 0
        self._restored_until: Ints = np.zeros(0, np.int64)
        self._written = _Written()

    # Inputs

    def evidence(self, record_batch: Any) -> None:
        """A batch of device.evidence."""
        box = self.boxes.describe(record_batch)
        self._grow()
        minute = _ints(record_batch, "minute") // MINUTE_MS
        names = ("requests", "failures", "expected_failures")
        counts = np.stack([_floats(record_batch, name) for name in names])
        fresh = minute > self._restored_until[box]
        part, revision = _ints(record_batch, "part"), _ints(record_batch, "revision")
        self.book.add(
            minute[fresh], part[fresh], box[fresh], revision[fresh], counts[:, fresh], len(self.boxes)
        )  # fmt: skip
        np.maximum.at(self.boxes.last_ms, box, (minute + 1) * MINUTE_MS)

    def vital_signs(self, record_batch: Any) -> None:
        """A batch of telemetry.vitals, of kind vitals."""
        box = self.boxes.devices.column(record_batch.column("device"))
        self.boxes.grow()
        self._grow()
        columns = {c.name: _floats(record_batch, c.name) for c in VITALS_MEASURES}
        end = _ints(record_batch, "end")
        self.vitals.add(box, columns, _ints(record_batch, "start"), end)
        np.maximum.at(self.boxes.last_ms, box, end)

    def slices(self, record_batch: Any, received_at: int) -> None:
        """A batch of telemetry.slices, of which device, customer and requests are read: who serves whom. `received_at`:
        when it came in, ms UTC."""
        box = self.boxes.devices.column(record_batch.column("device"))
        self.boxes.grow()
        self._grow()
        customer = self.placement.customers.column(record_batch.column("customer"))
        if self.placement.since is None:
            self.placement.since = received_at
        self.placement.add(box, customer, _ints(record_batch, "requests"))

    def restore(self, scores: Iterable[Score]) -> None:
        """Take back what was published, before any input; of several scores of a box the newest version counts."""
        newest: dict[str, Score] = {}
        for score in scores:
            if score.device not in newest or score.version > newest[score.device].version:
                newest[score.device] = score
        for score in newest.values():
            self.boxes.devices.of(score.device)
        self.boxes.grow()
        self._grow()
        for i, score in enumerate(newest.values()):
            self._restore(i, score)
        # Of what a removed box carries nothing can be measured again: it serves next to nothing.
        removed = [(i, score) for i, score in enumerate(newest.values()) if score.usual_per_minute]
        usual = {i: score.usual_per_minute for i, score in removed}
        self.placement.restore(usual, {i: score.expires_at + FADE_MS for i, score in removed})

    def _restore(self, i: int, score: Score) -> None:
        memory, s = self.memory, self.settings.state
        minute = score.computed_at // MINUTE_MS - 1
        numbers = {reason.code: reason.numbers for reason in score.reasons}
        self.version = max(self.version, score.version)
        for name, text in score.box.items():
            if name in self.boxes.of_box:
                self.boxes.of_box[name][i] = self.boxes.attributes[name].of(text)
        # Heard until then; whether it is there now, what is read again says.
        self.boxes.last_ms[i] = max(self.boxes.last_ms[i], score.computed_at - self._absent_after_ms - 1)
        self._written.minute[i], self._written.share[i] = minute, score.share
        if score.usual_per_minute:
            self._written.removed[i] = minute
        memory.sums[1, :, i] = (score.requests, score.failures, score.expected)
        if score.requests > 0:
            memory.seen[i] = minute - int(numbers.get("stale_evidence", (0.0,))[0])
        self._restored_until[i] = minute
        gathered, _, ratio = numbers.get("waiting_for_evidence", (0.0, 0.0, s.least_ratio))
        if score.state != SERVE:
            memory.gathered[i], memory.tested[i] = gathered, ratio
            memory.usual[i] = score.expected / score.requests if score.requests > 0 else 0.0
        if score.state == DRAIN:
            memory.phase[i] = DRAINED
        elif score.state == REDUCE:
            step = next((k for k, share in enumerate(s.ramp) if share == score.share), None)
            returning = "slow_start" in numbers and step is not None
            memory.phase[i] = RETURNING if returning else REDUCED
            memory.step[i] = step if returning and step is not None else 0
            memory.left[i] = score.share if not returning and score.share > s.reduced_share else 0.0
            memory.by_vitals[i] = not returning and "failures" not in numbers

    # Output

    @property
    def is_due(self) -> bool:
        """Whether evidence of a minute came that was not scored."""
        return self.book.newest is not None and (self.scored is None or self.book.newest > self.scored)

    def advance(self, now: int) -> list[Record]:
        """Score the newest minute if it is due; returns records for health.scores, the budget's last. A minute that is
        over for longer than makes a box absent is counted and not scored: it says nothing of now."""
        minute = self.book.newest
        if minute is None or not self.is_due:
            return []
        self._grow()
        for at, evidence in self.book.take():
            fold(self.memory, at, evidence, self.settings)
        self.scored = minute
        if now - (minute + 1) * MINUTE_MS > self._absent_after_ms:
            return []
        present = now - self.boxes.last_ms <= self._absent_after_ms
        self.placement.turn(now, self.memory.phase != SERVING, present)
        capacity, cells = self.placement.capacity(self.boxes, present)
        signs = self.vitals.signs(now, self.settings.vitals.max_age_minutes)
        scores = judge(self.memory, minute, self.boxes.groups(), signs, capacity, self.settings)
        records = self._changed(scores, signs, present, now, minute)
        records += self._left(now, minute)
        state = self._budget(scores, cells, present, now)
        records.append(Record(HEALTH_SCORES.name, BUDGET_KEY, state.to_json(), now, headers={KIND: BUDGET}))
        return records

    @property
    def _absent_after_ms(self) -> int:
        """A box's newest evidence is of a minute that ended up to a minute ago."""
        return (self.job.present_minutes + 1) * MINUTE_MS

    def _changed(self, scores: Scores, signs: Floats, present: Bools, now: int, minute: int) -> list[Record]:
        written = self._written
        bits = reason_bits(self.memory, scores, self.settings)
        spread = self.job.renew_minutes + np.arange(len(self.boxes)) % self.job.renew_minutes
        due = minute - written.minute >= spread
        turned = (scores.share != written.share) & (written.minute != _NEVER_WRITTEN)
        moved = (bits != written.bits) | (np.abs(scores.value - written.value) >= self.job.value_step)
        chosen = np.flatnonzero(turned | ((due | moved) & present))
        written.take(chosen, minute, scores, bits)
        # Versions of another log never look like those of this one: they begin at the time in microseconds.
        self.version = max(self.version, now * 1000)
        records = []
        for i in chosen.tolist():
            self.version += 1
            score = self._score(i, int(bits[i]), scores, signs, now)
            records.append(
                Record(HEALTH_SCORES.name, score.device.encode(), score.to_json(), now, headers={KIND: SCORE})
            )
        return records

    def _left(self, now: int, minute: int) -> list[Record]:
        """Take back the scores of boxes that left; they are as if they had never been seen."""
        if minute % _LEAVING_MINUTES or not len(self.boxes):
            return []
        hours = np.where(self.memory.phase == SERVING, self.job.left_hours, self.job.left_removed_hours)
        gone = (now - self.boxes.last_ms > hours * HOUR_MS) & (self._written.minute != _NEVER_WRITTEN)
        boxes = np.flatnonzero(gone)
        self.memory.forget(boxes)
        self._written.forget(boxes)
        names = [self.boxes.devices.names[i].encode() for i in boxes.tolist()]
        return [Record(HEALTH_SCORES.name, name, b"", now, headers={KIND: SCORE}) for name in names]

    def _score(self, i: int, bits: int, scores: Scores, signs: Floats, now: int) -> Score:
        value = _rounded(scores.value[i])
        requests, failures, expected = (_rounded(x) for x in self.memory.sums[1, :, i])
        return Score(
            device=self.boxes.devices.names[i],
            value=value,
            low=min(value, _rounded(scores.low[i])),
            high=max(value, _rounded(scores.high[i])),
            state=self._state(i, scores),
            share=float(scores.share[i]),
            reasons=reasons_of(i, bits, self.memory, scores, signs, self.settings),
            requests=requests,
            failures=failures,
            expected=expected,
            version=self.version,
            computed_at=now,
            expires_at=now + self.job.expires_minutes * MINUTE_MS,
            box=self.boxes.box(i),
            usual_per_minute=self._usual(i),
        )

    def _usual(self, i: int) -> dict[str, float]:
        """What a restart cannot measure: of boxes that got less than all of their traffic in the minutes it reads."""
        if self._written.minute[i] - self._written.removed[i] > self.job.read_back_minutes:
            return {}
        return {customer: _rounded(rate) for customer, rate in self.placement.usual(i).items()}

    def _state(self, i: int, scores: Scores) -> str:
        """A box that the budget lets go in part only is reduced, however ill."""
        state = str(_STATES[self.memory.phase[i]])
        return REDUCE if state == DRAIN and scores.share[i] > self.settings.state.probe_share else state

    def _budget(self, scores: Scores, cells: Cells, present: Bools, now: int) -> BudgetState:
        removal = scores.removal
        with np.errstate(invalid="ignore", divide="ignore"):
            used, wanted = removal.used / removal.live, removal.wanted / removal.live
        told = np.flatnonzero(removal.budgeted & (removal.wanted > 0))
        exhausted = removal.exhausted[told]
        self.exhausted_cells = int(exhausted.sum())
        told = told[np.lexsort((-wanted[told], ~exhausted))]
        share = self.settings.budget.share
        phase, part = self.memory.phase[present], self.memory.left[present] > 0
        return BudgetState(
            computed_at=now,
            boxes=int(present.sum()),
            reduced=int(((phase == REDUCED) | (phase == RETURNING) | ((phase == DRAINED) & part)).sum()),
            drained=int(((phase == DRAINED) & ~part).sum()),
            kept=int((scores.refused & present).sum()),
            cells=tuple(
                Cell(
                    cells.where(c), int(removal.boxes[c]), _rounded(used[c]), _rounded(share), _rounded(wanted[c])
                )
                for c in told[:MAX_CELLS].tolist()
            ),
            more=max(0, len(told) - MAX_CELLS),
        )  # fmt: skip

    def _grow(self) -> None:
        n = len(self.boxes)
        self.memory.grow(n)
        self.vitals.grow(n)
        self._written.grow(n)
        if (more := n - len(self._restored_until)) > 0:
            self._restored_until = np.concatenate([self._restored_until, np.full(more, NEVER)])


class _Written:
    """What was last published of each box."""

    def __init__(self) -> None:
        self.minute: Ints = np.zeros(0, np.int64)
        self.value: Floats = np.zeros(0)
        self.share: Floats = np.zeros(0)
        self.bits: Ints = np.zeros(0, np.int64)
        self.removed: Ints = np.zeros(0, np.int64)  # newest minute with less than all of its traffic

    def grow(self, n: int) -> None:
        more = n - len(self.minute)
        if more > 0:
            self.minute = np.concatenate([self.minute, np.full(more, _NEVER_WRITTEN)])
            self.value = np.concatenate([self.value, np.full(more, -1.0)])
            self.share = np.concatenate([self.share, np.full(more, -1.0)])
            self.bits = np.concatenate([self.bits, np.zeros(more, np.int64)])
            self.removed = np.concatenate([self.removed, np.full(more, _NEVER_WRITTEN)])

    def forget(self, boxes: Ints) -> None:
        self.minute[boxes] = self.removed[boxes] = _NEVER_WRITTEN
        self.value[boxes] = self.share[boxes] = -1.0
        self.bits[boxes] = 0

    def take(self, boxes: Ints, minute: int, scores: Scores, bits: Ints) -> None:
        self.minute[boxes] = minute
        self.removed[boxes[scores.share[boxes] < 1]] = minute
        self.value[boxes] = scores.value[boxes]
        self.share[boxes] = scores.share[boxes]
        self.bits[boxes] = bits[boxes]


def _rounded(value: Any) -> float:
    return round(float(value), _DIGITS)


def _ints(record_batch: Any, name: str) -> Ints:
    result: Ints = record_batch.column(name).to_numpy(zero_copy_only=False)
    return result


def _floats(record_batch: Any, name: str) -> Floats:
    result: Floats = record_batch.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
    return result
