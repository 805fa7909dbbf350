"""What pages get beside history: scores as the topic has them, whoever follows it; verdicts; the font."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.health import BUDGET, BUDGET_KEY, SCORE, BudgetState, Score
from contracts.protocols import Record
from contracts.thresholds import Thresholds
from contracts.topics import HEALTH_SCORES
from dipper.page_sources import FollowedScores, operations, thresholds_of
from dipper.settings import load_policy
from tests.history.builders import MemoryLog

NOW = 1_760_000_000_000


def score(device: str, version: int, state: str = "serve", value: float = 0.9) -> Score:
    return Score(device, value, value, value, state, 1.0, (), 100.0, 0.0, 1.0, version, NOW, NOW + 600_000)


def publish(log: MemoryLog, *scores: Score) -> None:
    records = [
        Record(HEALTH_SCORES.name, s.device.encode(), s.to_json(), NOW, headers={"kind": SCORE}) for s in scores
    ]  # fmt: skip
    budget = BudgetState(NOW, len(scores), 0, 1, 0, ())
    records.append(Record(HEALTH_SCORES.name, BUDGET_KEY, budget.to_json(), NOW, headers={"kind": BUDGET}))
    log.submit(records)


def test_scores_of_a_topic_reach_pages_of_a_process_without_a_feed() -> None:
    log = MemoryLog()
    publish(log, score("box-1", 1), score("box-2", 2), score("box-2", 3, "drain", 0.1))
    followed = FollowedScores(log)

    async def follow() -> None:
        task = asyncio.create_task(followed.run())
        deadline = asyncio.get_running_loop().time() + 20
        while not followed.ready:
            assert asyncio.get_running_loop().time() < deadline, "the scores were not read"
            await asyncio.sleep(0.02)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(follow())
    assert sorted((s.device, s.state) for s in followed.all()) == [("box-1", "serve"), ("box-2", "drain")]
    assert followed.of("box-2").value == 0.1  # type: ignore[union-attr]
    assert followed.of("nobody") is None
    assert [change.state for change in followed.changes("box-2")] == ["drain"]
    budget = followed.budget()
    assert budget is not None
    assert budget.drained == 1


def test_the_font_of_reports_is_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPPER_REPORT_FONT", "/fonts/a.ttf:/fonts/b.ttf")
    store: Any = SimpleNamespace()
    fields = operations(FollowedScores(MemoryLog()), store, lambda: NOW)
    assert fields["report_font"] == "/fonts/a.ttf:/fonts/b.ttf"
    monkeypatch.delenv("DIPPER_REPORT_FONT")
    assert operations(FollowedScores(MemoryLog()), store, lambda: NOW)["report_font"] is None


def test_pages_are_given_the_thresholds_that_detection_has() -> None:
    policy = load_policy()
    assert thresholds_of(policy) == Thresholds(slow_ms=1_000.0, slow_task_ms=600_000.0, low_kb_per_s=250.0)
    stricter = {**policy, "detector": {**policy["detector"], "slow_ms": 700.0}}
    assert thresholds_of(stricter).slow_ms == 700.0
