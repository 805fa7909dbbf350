"""From where on a request counts as bad for measures that need a threshold. What detects and what shows both ask here,
so that they count the same requests. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from contracts.entities import Objective
from contracts.histogram import COMPUTE_SERVICE


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What counts where nothing was promised (the policy's table [detector]): `slow_ms` of deliveries, `slow_task_ms`
    of compute tasks, both ms, and `low_kb_per_s`, kB/s."""

    slow_ms: float = 1_000.0
    slow_task_ms: float = 600_000.0
    low_kb_per_s: float = 250.0

    def usual(self, service: str, measure: str) -> float | None:
        """The threshold without a promise, in ms or kB/s; None for a measure that needs none. `service`: "" for
        deliveries of any."""
        if measure == "slow_requests":
            return self.slow_task_ms if service == COMPUTE_SERVICE else self.slow_ms
        return self.low_kb_per_s if measure == "low_throughput" else None

    def in_force(self, promised: Iterable[Objective], service: str, measure: str) -> float | None:
        """The threshold of a service: that of the objective among those `promised` to its customer, else the usual
        one; None for a measure that needs none."""
        found = next((o for o in promised if (o.service, o.measure) == (service, measure)), None)
        return self.usual(service, measure) if found is None or found.threshold is None else found.threshold
