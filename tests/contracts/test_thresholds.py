"""Which threshold is in force: the promise, else the policy's for the service."""

from __future__ import annotations

import pytest

from contracts.entities import Objective
from contracts.thresholds import Thresholds

POLICY = Thresholds(slow_ms=900.0, slow_task_ms=300_000.0, low_kb_per_s=125.0)
PROMISED = (
    Objective("acme", "video", "failures", 0.99),
    Objective("acme", "video", "slow_requests", 0.95, 400.0),
    Objective("acme", "download", "low_throughput", 0.95, 2_000.0),
)


@pytest.mark.parametrize(
    ("service", "measure", "threshold"),
    [
        ("video", "slow_requests", 400.0),
        ("download", "slow_requests", 900.0),
        ("compute", "slow_requests", 300_000.0),
        ("download", "low_throughput", 2_000.0),
        ("video", "low_throughput", 125.0),
        ("", "slow_requests", 900.0),
        ("video", "failures", None),
        ("video", "latency_p95", None),
    ],
)
def test_a_promise_comes_before_the_policy(service: str, measure: str, threshold: float | None) -> None:
    assert POLICY.in_force(PROMISED, service, measure) == threshold
