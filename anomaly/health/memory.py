"""What is remembered of every box between minutes: arrays with one entry per box."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WINDOWS = 2  # fast, slow
REQUESTS, OBSERVED, EXPECTED = range(3)
SERVING, REDUCED, DRAINED, RETURNING = range(4)  # phases; the published state of RETURNING is reduce
NEVER = -1


def _floats() -> Floats:
    return np.zeros(0)


def _ints() -> Ints:
    return np.zeros(0, np.int64)


@dataclass(slots=True)
class Memory:
    """`sums` (WINDOWS, 3, n): decayed requests, failures, expected failures. `seen` (n,): newest minute with evidence
    as a count of minutes since the epoch, NEVER without. `phase` (n,), `step` (n,): of the ramp while RETURNING.
    `tested` (n,): the ratio return is tested against; `gathered` (n,): the test's log likelihood ratio. `by_vitals`
    (n,) 0 or 1: removed for its vitals alone. `left` (n,): share the budget leaves a box that is too large for it.
    `usual` (n,): expected failures of a request while it served, slowly moving, 0 before any."""

    sums: Floats = field(default_factory=lambda: np.zeros((WINDOWS, 3, 0)))
    seen: Ints = field(default_factory=_ints)
    phase: Ints = field(default_factory=_ints)
    step: Ints = field(default_factory=_ints)
    tested: Floats = field(default_factory=_floats)
    gathered: Floats = field(default_factory=_floats)
    by_vitals: Ints = field(default_factory=_ints)
    left: Floats = field(default_factory=_floats)
    usual: Floats = field(default_factory=_floats)

    def __len__(self) -> int:
        return len(self.seen)

    def grow(self, n: int) -> None:
        """Make room for boxes up to n: serving, never seen."""
        more = n - len(self)
        if more <= 0:
            return
        for f in fields(self):
            old = getattr(self, f.name)
            fill = NEVER if f.name == "seen" else 0
            new = np.full((*old.shape[:-1], more), fill, old.dtype)
            setattr(self, f.name, np.concatenate([old, new], axis=-1))

    def forget(self, boxes: Ints) -> None:
        """These boxes are as if they had never been seen."""
        for f in fields(self):
            getattr(self, f.name)[..., boxes] = NEVER if f.name == "seen" else 0

    def copy(self) -> Memory:
        """An independent copy."""
        return Memory(**{f.name: getattr(self, f.name).copy() for f in fields(self)})
