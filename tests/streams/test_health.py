"""The health job: evidence and vitals in, scores and budget out, on a real log, across restarts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts.arrow import HEARTBEAT, KIND_HEADER, batch, to_bytes
from contracts.columns import DEVICE_EVIDENCE, SLICES, VITALS, VITALS_MEASURES
from contracts.health import BUDGET, BudgetState, Score, budget_from_json, score_from_json
from contracts.protocols import Log, Record
from contracts.times import MINUTE_MS
from ingest.log.embedded import EmbeddedLog
from streams.health import HealthOperator
from streams.health_local import HealthRunner
from streams.health_settings import HealthJobSettings
from streams.settings import SettingsError
from tests.streams.logs import read

T0 = 1_767_600_000_000 // MINUTE_MS * MINUTE_MS
E = 0.005
BOXES = 18
BOX = {"device_isp": "i", "device_region": "r", "nat_type": "n", "cohort": "c", "model": "m", "firmware": "f"}


def evidence_batch(minute: int, rows: list[tuple[str, float, float]], revision: int = 1, part: int = 0) -> Any:
    """(device, requests, failures) of a minute counted from T0."""
    n = len(rows)
    values: dict[str, Any] = {
        "minute": [T0 + minute * MINUTE_MS] * n,
        "device": [device for device, _, _ in rows],
        "part": [part] * n,
        "revision": [revision] * n,
        "requests": [int(requests) for _, requests, _ in rows],
        "failures": [int(failures) for _, _, failures in rows],
        "expected_failures": [requests * E for _, requests, _ in rows],
    }
    return batch(DEVICE_EVIDENCE, values | {name: [text] * n for name, text in BOX.items()}, pa)


def slices_batch(minute: int, rows: list[tuple[str, str, int]]) -> Any:
    """(device, customer, requests)."""
    n, at = len(rows), T0 + minute * MINUTE_MS
    texts = {"device": [r[0] for r in rows], "customer": [r[1] for r in rows], "boot": ["b"] * n}
    values: dict[str, Any] = {}
    for column in SLICES:
        default: Any = {"int64": 0, "string": "x"}.get(column.dtype, [])
        values[column.name] = texts.get(column.name, [default] * n)
    values |= {"requests": [r[2] for r in rows], "start": [at] * n, "end": [at + 10_000] * n}
    return batch(SLICES, values, pa)


def vitals_batch(minute: int, device: str, **measured: float) -> Any:
    at = T0 + minute * MINUTE_MS
    values: dict[str, Any] = {
        "device": [device],
        "boot": ["b"],
        "seq": [1],
        "start": [at],
        "end": [at + 10_000],
        "received_at": [at],
    }
    values |= {c.name: np.array([measured.get(c.name, np.nan)]) for c in VITALS_MEASURES}
    return batch(VITALS, values, pa)


def names(n: int = BOXES) -> list[str]:
    return [f"box-{i}" for i in range(n)]


class Driver:
    """A fleet's minutes against a runner. Boxes serve the share they were last told."""

    def __init__(self, log: Log, boxes: int = BOXES) -> None:
        self.log = log
        self.runner = HealthRunner(log, T0)
        self.names = names(boxes)
        self.minute = 0

    def minutes(self, n: int, ill: dict[str, float] | None = None, requests: float = 60.0) -> dict[str, Score]:
        for _ in range(n):
            told = scores(self.log)
            rows, served = [], []
            for device in self.names:
                share = told[device].share if device in told else 1.0
                r = round(requests * share)
                rows.append((device, r, round(r * (ill or {}).get(device, 0.0))))
                served.append((device, "c1", r))
            self.put("telemetry.slices", slices_batch(self.minute, served))
            self.put("device.evidence", evidence_batch(self.minute, rows))
            self.minute += 1
            self.step()
        return scores(self.log)

    def put(self, topic: str, record_batch: Any, **headers: str) -> None:
        at = T0 + (self.minute + 1) * MINUTE_MS
        self.log.submit([Record(topic, b"k", to_bytes(record_batch, pa), at, headers=headers)]).result()

    @property
    def now(self) -> int:
        return T0 + self.minute * MINUTE_MS + 25_000

    def restart(self) -> None:
        self.runner.close()
        self.runner = HealthRunner(self.log, self.now)

    def step(self) -> None:
        while self.runner.step(self.now, 0.0):
            pass


def scores(log: Log) -> dict[str, Score]:
    found = [r for r in read(log, "health.scores") if r.headers["kind"] == "score" and r.value]
    newest: dict[str, Score] = {}
    for score in (score_from_json(r.value) for r in found):
        if score.device not in newest or score.version > newest[score.device].version:
            newest[score.device] = score
    return newest


def budgets(log: Log) -> list[BudgetState]:
    return [budget_from_json(r.value) for r in read(log, "health.scores") if r.headers["kind"] == BUDGET]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    opened = EmbeddedLog(tmp_path, partitions=2, segment_bytes=1 << 24, group_commit_ms=0)
    yield opened
    opened.close()


def test_every_box_with_evidence_gets_a_score_with_its_facts(log: EmbeddedLog) -> None:
    driver = Driver(log)
    found = driver.minutes(10)
    assert set(found) == set(names())
    score = found["box-3"]
    assert (score.state, score.share) == ("serve", 1.0)
    assert score.value > 0.9
    assert 300 < score.requests < 600
    assert score.box == {"model": "m", "device_isp": "i", "device_region": "r", "firmware": "f"}
    assert score.expires_at - score.computed_at == 10 * MINUTE_MS


def test_an_ill_box_is_drained_with_the_numbers_in_words_and_returns_when_it_is_well(log: EmbeddedLog) -> None:
    driver = Driver(log)
    driver.minutes(10)
    drained = driver.minutes(3, {"box-3": 0.3}, requests=600.0)["box-3"]
    assert (drained.state, drained.share) == ("drain", 0.015)
    words = {reason.code: reason.words for reason in drained.reasons}
    assert "requests failed" in words["failures"]
    assert "waiting_for_evidence" in words
    assert budgets(log)[-1].drained == 1
    shares = []
    for _ in range(60):
        share = driver.minutes(1, requests=600.0)["box-3"].share
        if not shares or shares[-1] != share:
            shares.append(share)
    assert shares == [0.015, 0.1, 0.3, 0.6, 1.0]


def test_versions_rise_and_only_news_and_renewals_are_published(log: EmbeddedLog) -> None:
    driver = Driver(log)
    driver.minutes(30)
    published = [score_from_json(r.value) for r in read(log, "health.scores") if r.headers["kind"] == "score"]
    assert len({s.version for s in published}) == len(published)
    calm = [s for s in published if s.computed_at > T0 + 20 * MINUTE_MS]
    assert len(calm) == pytest.approx(10 * BOXES / 2.5, rel=0.25)
    gaps: dict[str, list[int]] = {}
    for score in sorted(published, key=lambda s: s.version):
        gaps.setdefault(score.device, []).append(score.computed_at)
    assert all(b - a <= 4 * MINUTE_MS for times in gaps.values() for a, b in itertools.pairwise(times))


def test_a_box_that_went_away_is_not_renewed(log: EmbeddedLog) -> None:
    driver = Driver(log)
    driver.minutes(5)
    for _ in range(20):
        driver.put("device.evidence", evidence_batch(driver.minute, [("box-1", 60, 0)]))
        driver.minute += 1
        driver.step()
    found = scores(log)
    assert found["box-1"].expires_at > driver.now
    assert found["box-2"].expires_at <= driver.now


def test_without_evidence_nothing_is_published(log: EmbeddedLog) -> None:
    driver = Driver(log)
    driver.put("telemetry.vitals", vitals_batch(0, "box-1", temperature_c=99.0), kind="vitals")
    driver.step()
    assert read(log, "health.scores") == []


def test_vitals_reduce_a_box_with_the_sign_in_words(log: EmbeddedLog) -> None:
    driver = Driver(log)
    driver.minutes(10)
    driver.put("telemetry.vitals", vitals_batch(driver.minute, "box-3", temperature_c=94.0), kind="vitals")
    score = driver.minutes(1)["box-3"]
    assert (score.state, score.share) == ("reduce", 0.3)
    assert [r.words for r in score.reasons if r.code == "temperature"] == ["94 °C"]


def test_a_revision_counts_by_its_difference_in_any_order_of_parts(log: EmbeddedLog) -> None:
    driver = Driver(log)
    for part, revision, failures in ((0, 1, 10), (1, 1, 20), (0, 3, 15), (0, 2, 99)):
        driver.put("device.evidence", evidence_batch(0, [("box-1", 100, failures)], revision, part))
        driver.step()
    for part in (0, 1):
        driver.put("device.evidence", evidence_batch(1, [("box-2", 10, 0)], part=part))
    driver.step()
    operator = driver.runner.operator
    assert operator.memory.sums[1, :2, operator.boxes.devices.of("box-1")].tolist() == [200.0, 35.0]


def test_a_restarted_job_goes_on_where_it_was(log: EmbeddedLog) -> None:
    driver = Driver(log)
    driver.minutes(10)
    driver.minutes(3, {"box-3": 0.3}, requests=600.0)
    drained = driver.minutes(2, requests=600.0)["box-3"]
    assert drained.state == "drain"
    before = driver.runner.operator

    driver.restart()
    driver.step()
    after = driver.runner.operator
    i, j = before.boxes.devices.of("box-3"), after.boxes.devices.of("box-3")
    assert after.memory.phase[j] == before.memory.phase[i]
    assert after.memory.tested[j] == pytest.approx(before.memory.tested[i], rel=0.01)
    assert after.memory.gathered[j] == pytest.approx(before.memory.gathered[i], abs=0.3)
    assert after.memory.sums[1, 0, j] == pytest.approx(before.memory.sums[1, 0, i], rel=0.2)
    found = driver.minutes(1, requests=600.0)
    assert found["box-3"].version > drained.version
    assert {s.state for d, s in found.items() if d != "box-3"} == {"serve"}
    driver.minutes(60, requests=600.0)
    assert scores(log)["box-3"].state == "serve"


@pytest.mark.parametrize("phase_of", ["returning", "vitals"])
def test_every_kind_of_removal_survives_a_restart(log: EmbeddedLog, phase_of: str) -> None:
    driver = Driver(log)
    driver.minutes(10)
    if phase_of == "vitals":
        driver.put("telemetry.vitals", vitals_batch(driver.minute, "box-3", temperature_c=94.0), kind="vitals")
        driver.minutes(1)
    else:
        driver.minutes(3, {"box-3": 0.3}, requests=600.0)
        for _ in range(40):
            if driver.minutes(1, requests=600.0)["box-3"].share == 0.1:
                break
    operator = HealthOperator()
    operator.restore(scores(log).values())
    i = operator.boxes.devices.of("box-3")
    was = driver.runner.operator
    k = was.boxes.devices.of("box-3")
    for name in ("phase", "step", "by_vitals"):
        assert getattr(operator.memory, name)[i] == getattr(was.memory, name)[k], name


def test_when_most_boxes_look_ill_the_budget_says_so_and_most_serve_on(log: EmbeddedLog) -> None:
    driver = Driver(log)
    driver.minutes(10)
    found = driver.minutes(4, dict.fromkeys(names()[:14], 0.3), requests=600.0)
    assert 1 <= sum(s.share < 1 for s in found.values()) <= 4
    state = budgets(log)[-1]
    assert state.kept >= 6
    assert state.cells[0].exhausted
    assert state.cells[0].used <= state.cells[0].allowed
    assert any(r.code == "budget" for s in found.values() for r in s.reasons)


def left(log: Log) -> list[str]:
    """Boxes whose newest record is empty."""
    newest = {r.key: r.value for r in read(log, "health.scores") if r.headers["kind"] != BUDGET}
    return sorted(key.decode() for key, value in newest.items() if not value)


def away_for(driver: Driver, hours: float, present: list[str]) -> None:
    """Time passes in which only some boxes serve."""
    driver.minute += round(hours * 60)
    driver.put("device.evidence", evidence_batch(driver.minute, [(device, 60, 0) for device in present]))
    driver.minute += 1
    driver.step()


def test_a_box_that_left_has_no_score_any_more_and_begins_anew_when_it_returns(log: EmbeddedLog) -> None:
    driver = Driver(log)
    driver.minutes(10)
    stay = [name for name in names() if name != "box-3"]
    to_the_hour = 60 - (T0 // MINUTE_MS + driver.minute) % 60
    away_for(driver, 22 + to_the_hour / 60, stay)
    assert left(log) == []
    away_for(driver, 2 - 1 / 60, stay)
    assert left(log) == ["box-3"]
    again = HealthRunner(log, driver.now)  # a restart does not bring it back
    assert "box-3" not in again.operator.boxes.devices.names
    away_for(driver, 1 - 1 / 60, names())
    back = scores(log)["box-3"]
    assert left(log) == []
    assert back.requests == 60.0


def test_a_drained_box_is_remembered_for_a_month(log: EmbeddedLog) -> None:
    driver = Driver(log)
    driver.minutes(10)
    driver.minutes(5, {"box-3": 0.4}, requests=600.0)
    assert scores(log)["box-3"].state == "drain"
    stay = [name for name in names() if name != "box-3"]
    to_the_hour = 60 - (T0 // MINUTE_MS + driver.minute) % 60
    away_for(driver, 30 + to_the_hour / 60, stay)
    assert left(log) == []
    away_for(driver, 690 - 1 / 60, stay)
    assert left(log) == ["box-3"]


def test_records_nobody_can_read_are_counted_and_skipped(log: EmbeddedLog) -> None:
    driver = Driver(log)
    for topic in ("device.evidence", "telemetry.slices", "telemetry.vitals"):
        log.submit([Record(topic, b"k", b"not arrow", T0, headers={"kind": "vitals"})]).result()
    log.submit([Record("telemetry.slices", b"", b"", T0, 0, {KIND_HEADER: HEARTBEAT})]).result()
    driver.minutes(3)
    status = driver.runner.status(driver.now)
    assert status["poison"] == 3
    assert status["lag_records"] == 0
    assert status["boxes"] == BOXES
    assert len(scores(log)) == BOXES


def test_evidence_that_expects_nothing_is_none(log: EmbeddedLog) -> None:
    driver = Driver(log)
    lonely = evidence_batch(0, [("box-1", 60, 30)]).set_column(
        12, "expected_failures", pa.array([float("nan")])
    )  # fmt: skip
    assert lonely.schema.names[12] == "expected_failures"
    driver.put("device.evidence", lonely)
    driver.step()
    assert scores(log) == {}


def test_settings_that_let_scores_expire_before_their_renewal_are_refused() -> None:
    with pytest.raises(SettingsError, match="expires_minutes"):
        replace(HealthJobSettings(), renew_minutes=5)


def test_late_evidence_is_counted_but_steers_nobody_until_it_is_recent_again(log: EmbeddedLog) -> None:
    driver = Driver(log)
    driver.minutes(10)
    published = len(read(log, "health.scores"))
    driver.minute = 50
    driver.put("telemetry.vitals", vitals_batch(49, "box-1", temperature_c=50.0), kind="vitals")
    rows = [(device, 600, 180 if device == "box-3" else 3) for device in driver.names]
    for late in range(10, 50):
        driver.put("device.evidence", evidence_batch(late, rows))
        driver.step()
        if 50 - (late + 1) > HealthJobSettings().present_minutes:
            assert len(read(log, "health.scores")) == published
            assert driver.runner.status(driver.now)["computed_lag_s"] == 40 * 60
    found = scores(log)["box-3"]
    assert (found.state, found.computed_at) == ("drain", driver.now)
    assert found.requests > 6_000  # the late minutes count
