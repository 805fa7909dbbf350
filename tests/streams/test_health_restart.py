"""The removal budget across restarts of the health job, and across the hours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.log.embedded import EmbeddedLog
from streams.health import HealthOperator
from tests.streams.test_health import Driver, budgets, evidence_batch, names, scores

BOXES = 100
ALLOWED = 0.2
ONE_BOX = 1 / BOXES


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    opened = EmbeddedLog(tmp_path, partitions=2, segment_bytes=1 << 24, group_commit_ms=0)
    yield opened
    opened.close()


def share_out(log: EmbeddedLog) -> float:
    """Part of the capacity of equal boxes that is out, by the shares a scheduler is told."""
    return sum(1 - score.share for score in scores(log).values()) / BOXES


def carried(operator: HealthOperator) -> dict[str, float]:
    """Requests a minute that the job takes each box to carry."""
    present = operator.boxes.last_ms > 0
    capacity, _ = operator.placement.capacity(operator.boxes, present)
    everywhere = capacity.cell == capacity.cells - 1
    found = dict.fromkeys(operator.boxes.devices.names, 0.0)
    for box, amount in zip(capacity.box[everywhere].tolist(), capacity.amount[everywhere].tolist(), strict=True):
        found[operator.boxes.devices.names[box]] += amount
    return found


def test_the_budget_holds_across_restarts_while_most_boxes_are_ill(log: EmbeddedLog) -> None:
    driver = Driver(log, BOXES)
    driver.minutes(20)
    ill = dict.fromkeys(names(60), 0.3)
    driver.minutes(10, ill)
    assert 0.15 < share_out(log) <= ALLOWED
    for _ in range(3):
        before = carried(driver.runner.operator)
        driver.restart()
        driver.minutes(1, ill)
        assert carried(driver.runner.operator) == pytest.approx(before, rel=0.2)
        for _ in range(7):
            driver.minutes(1, ill)
            assert share_out(log) <= ALLOWED + ONE_BOX


def test_boxes_removed_after_a_restart_take_no_more_of_the_budget_than_they_carry(log: EmbeddedLog) -> None:
    driver = Driver(log, BOXES)
    driver.minutes(20)
    driver.restart()
    driver.minutes(2)
    driver.minutes(42, dict.fromkeys(names(3), 0.3))
    assert share_out(log) == pytest.approx(3 * 0.985 / BOXES, abs=1e-9)
    everywhere = next(cell for cell in budgets(log)[-1].cells if not cell.where)
    assert everywhere.used == pytest.approx(share_out(log), rel=0.2)


def test_a_box_that_came_back_shortly_before_a_restart_carries_what_it_did(log: EmbeddedLog) -> None:
    driver = Driver(log, BOXES)
    driver.minutes(20, requests=600.0)
    driver.minutes(4, {"box-3": 0.3}, requests=600.0)
    assert scores(log)["box-3"].state == "drain"
    while driver.minutes(1, requests=600.0)["box-3"].share < 1:
        assert driver.minute < 90
    driver.minutes(2, requests=600.0)
    before = carried(driver.runner.operator)
    driver.restart()
    driver.minutes(1, requests=600.0)
    assert carried(driver.runner.operator) == pytest.approx(before, rel=0.2)


def test_minutes_of_evidence_that_come_at_once_are_one_minute_of_traffic(log: EmbeddedLog) -> None:
    driver = Driver(log)
    driver.minutes(10)
    for k in range(4):
        driver.put("device.evidence", evidence_batch(driver.minute + k, [(name, 60, 0) for name in driver.names]))
        driver.step()
    assert set(carried(driver.runner.operator).values()) == {60.0}


def test_boxes_that_were_drained_at_the_peak_stay_drained_at_night_and_use_no_more_of_the_budget(
    log: EmbeddedLog,
) -> None:
    driver = Driver(log, BOXES)
    driver.minutes(20, requests=800.0)
    ill = dict.fromkeys(names(15), 0.3)
    driver.minutes(5, ill, requests=800.0)
    for part in range(1, 13):
        driver.minutes(5, ill, requests=800.0 * 0.25 ** (part / 12))
        assert {score.state for name, score in scores(log).items() if name in ill} == {"drain"}
        everywhere = next(cell for cell in budgets(log)[-1].cells if not cell.where)
        assert everywhere.used == pytest.approx(share_out(log), rel=0.02)
