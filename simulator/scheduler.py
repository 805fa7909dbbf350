"""The simulated scheduler: usual placement, steered by the shares of a health feed.

Each row of the placement (a box for a stratum) keeps its share of its usual weight; what it gives up goes to boxes of
full share that serve the same customer's clients of the same place, else to any of the customer's boxes of that
service. What nobody can take stays. Placement is random in proportion to these weights, and for every box that is
steered its probability is written down, so that its outcome can be weighed by it: scores that steer traffic must not
fool themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from simulator.errors import SimulatorError
from simulator.placement import Floats, Ints, Placement


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a steered box was given in an interval: `share` asked for by the feed, `usual_probability` and
    `probability` that a request of its strata went to it; `exploration`: it got traffic only to be learned of."""

    at: int
    device: str
    share: float
    usual_probability: float
    probability: float
    exploration: bool


@dataclass(slots=True)
class Scheduler:
    """`share` (n_devices,): of the usual traffic, as the feed says; set it between intervals. `explores_below`: a
    smaller share is there for its evidence alone. `log`: assignments of steered boxes."""

    rows: Placement
    devices: Sequence[str]
    explores_below: float = 0.05
    share: Floats = field(init=False)
    log: list[Assignment] = field(default_factory=list)
    _near: Ints = field(init=False)
    _wide: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.share = np.ones(len(self.devices))
        rows = self.rows
        wide = np.stack([rows.customer, rows.service])
        near = np.concatenate([wide, np.stack([rows.client_isp, rows.client_region])])
        self._wide = np.unique(wide, axis=1, return_inverse=True)[1].reshape(-1)
        self._near = np.unique(near, axis=1, return_inverse=True)[1].reshape(-1)

    def steer(self, weight: Floats) -> Floats:
        """Weights of all rows with the shares applied; their sum stays. Raises SimulatorError."""
        if self.share.shape != (len(self.devices),) or not ((self.share >= 0) & (self.share <= 1)).all():
            raise SimulatorError("share", f"{len(self.devices)} numbers 0 to 1", self.share)
        share = self.share[self.rows.device]
        if (share == 1).all():
            return weight
        kept = weight * share
        freed = weight - kept
        for group in (self._near, self._wide):
            n = int(group.max()) + 1
            takers = np.where(share == 1, kept, 0.0)
            total = np.bincount(group, takers, n)
            wanted = np.bincount(group, freed, n)
            placed = total > 0
            more = np.divide(wanted, total, out=np.zeros(n), where=placed)
            kept = kept + takers * more[group]
            freed = np.where(placed[group], 0.0, freed)
        result: Floats = kept + freed
        return result

    def note(self, at: int, usual: Floats, steered: Floats) -> None:
        """Write down what steered boxes were given; `usual`, `steered`: weights of all rows."""
        chosen = np.flatnonzero(self.share < 1)
        if not len(chosen):
            return
        n = len(self.devices)
        strata = int(self._near.max()) + 1
        usual_of, steered_of = (np.bincount(self._near, w, strata)[self._near] for w in (usual, steered))
        sums = [
            np.bincount(self.rows.device, column, n)
            for column in (usual_of, usual, steered_of, steered)
        ]  # fmt: skip
        for i in chosen.tolist():
            of_usual, mine_usual, of_steered, mine = (float(s[i]) for s in sums)
            self.log.append(
                Assignment(
                    at=at,
                    device=self.devices[i],
                    share=float(self.share[i]),
                    usual_probability=mine_usual / of_usual if of_usual else 0.0,
                    probability=mine / of_steered if of_steered else 0.0,
                    exploration=bool(self.share[i] <= self.explores_below),
                )
            )
