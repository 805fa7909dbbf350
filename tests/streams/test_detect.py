"""Minutes become signals: which series are judged, when nothing is said, and what a restart changes."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from anomaly.detect import Verdict
from contracts.arrow import from_bytes, to_bytes
from contracts.columns import QUALITY_MINUTES, SIGNALS
from contracts.entities import MEASURES, Objective
from contracts.times import MINUTE_MS
from streams.detect import DetectOperator, Signal, read_minutes, signals_batch
from streams.detect_measures import Promises, measures_of
from streams.incident_settings import DetectorSettings
from streams.settings import SettingsError
from tests.streams.incident_builders import OBJECTIVES, Network, inside, minute, rows_of

SETTINGS = DetectorSettings(warm_up_minutes=10)
PROMISES = Promises(OBJECTIVES, SETTINGS)
CALM = 20


def judge(
    operator: DetectOperator, n: int, rows: object, *, frozen: bool = False
) -> dict[tuple[str, str, str], Signal]:
    services = {service: content for _, service, content in read_minutes(rows, PROMISES)}
    return {s.series: s for s in operator.judge(minute(n), services, PROMISES, frozen=frozen)}


def trained(network: Network, minutes: int = CALM) -> DetectOperator:
    operator = DetectOperator(SETTINGS)
    for n in range(minutes):
        judge(operator, n, network.minute(n)[0])
    return operator


def test_measures_are_bad_of_total() -> None:
    rows = rows_of(QUALITY_MINUTES, 0, [{"customer": "acme", "service": "video"}], np.array([100]), np.array([7]))
    found = measures_of(rows, PROMISES)
    assert dict(zip(MEASURES, zip(found.bad[:, 0], found.total[:, 0], strict=True), strict=True)) == {
        "failures": (7, 100),
        "slow_requests": (0, 100),
        "stalled_sessions": (0, 100),
        "low_throughput": (0, 100),
        "cache_misses": (0, 100),
    }


@pytest.mark.parametrize(
    ("measure", "threshold", "bad"),
    [
        ("slow_requests", 30.0, 100),
        ("slow_requests", 33.0, 0),
        ("low_throughput", 1_100.0, 100),
        ("low_throughput", 900.0, 0),
    ],
)
def test_thresholds_are_the_customers_own(measure: str, threshold: float, bad: int) -> None:
    rows = rows_of(QUALITY_MINUTES, 0, [{"customer": "acme", "service": "video"}], np.array([100]), np.array([0]))
    promises = Promises([Objective("acme", "video", measure, 0.9, threshold)], SETTINGS)
    assert measures_of(rows, promises).bad[MEASURES.index(measure), 0] == bad


def test_a_dip_is_found_in_its_series_only() -> None:
    network = Network()
    operator = trained(network)
    worse = inside({"customer": "bolt"}, 0.1)
    signals = [judge(operator, CALM + n, network.minute(CALM + n, worse)[0]) for n in range(3)][-1]
    assert [series for series, s in signals.items() if s.dip] == [("bolt", "video", "failures")]
    evidence = signals["bolt", "video", "failures"].evidence
    assert evidence.onset == minute(CALM)
    assert evidence.since_bad == pytest.approx(0.11 * evidence.since_total, rel=0.1)
    assert signals["bolt", "video", "failures"].allowed == pytest.approx(0.02)


def test_what_the_same_measure_of_other_customers_does_is_expected_of_a_series() -> None:
    network = Network(requests=2_500)
    operator = trained(network)
    others = [inside({"customer": name}, 0.01) for name in ("bolt", "core")]
    for n in range(CALM, CALM + 3):
        said = judge(operator, n, network.minute(n, lambda cell: sum(worse(cell) for worse in others))[0])
    expected = {series[2]: s.evidence.common for series, s in said.items() if series[0] == "acme"}
    assert expected.pop("failures") > 1.02
    assert list(expected.values()) == pytest.approx([1.0] * 4, abs=1e-3)


def test_a_new_operator_says_that_it_does_not_know_yet() -> None:
    network = Network()
    signals = judge(trained(network, 3), 3, network.minute(3, inside({"customer": "bolt"}, 0.3))[0])
    assert signals["acme", "video", "failures"].evidence.verdict is Verdict.WARMING_UP


@pytest.mark.parametrize(("coverage", "frozen"), [(0.6, False), (1.0, True)])
def test_low_coverage_and_our_own_lag_freeze(coverage: float, frozen: bool) -> None:
    network = Network()
    operator = trained(network)
    rows, _ = network.minute(CALM, inside({"customer": "bolt"}, 0.3), coverage)
    signals = judge(operator, CALM, rows, frozen=frozen)
    assert {s.evidence.verdict for s in signals.values()} == {Verdict.FROZEN}
    after = judge(operator, CALM + 1, network.minute(CALM + 1)[0])
    assert not any(s.dip for s in after.values())


def test_nothing_expected_is_not_low_coverage() -> None:
    network = Network()
    operator = trained(network)
    signals = judge(operator, CALM, network.minute(CALM, coverage=math.nan)[0])
    assert signals["acme", "video", "failures"].evidence.verdict is Verdict.OK


def test_minutes_learned_from_history_leave_the_same_memory_as_minutes_judged() -> None:
    first, second = trained(Network()), DetectOperator(SETTINGS)
    network = Network()
    for n in range(CALM):
        services = {service: content for _, service, content in read_minutes(network.minute(n)[0], PROMISES)}
        second.learn(minute(n), services, PROMISES)
    rows, _ = network.minute(CALM, inside({"customer": "core"}, 0.05))
    said, said_again = judge(first, CALM, rows), judge(second, CALM, rows)
    assert {key: s.evidence for key, s in said.items()} == {key: s.evidence for key, s in said_again.items()}


def test_a_minute_is_judged_once() -> None:
    network = Network()
    operator = trained(network)
    rows, _ = network.minute(CALM)
    assert judge(operator, CALM, rows)
    assert judge(operator, CALM, rows) == {}
    assert judge(operator, CALM - 5, rows) == {}


def test_series_without_traffic_are_forgotten_in_the_end() -> None:
    operator = DetectOperator(DetectorSettings(forget_minutes=30))
    network = Network()
    judge(operator, 0, network.minute(0)[0])
    assert len(operator.series) == 3 * 5
    judge(
        operator,
        31,
        rows_of(QUALITY_MINUTES, 31, [{"customer": "dune", "service": "video"}], np.array([9]), np.array([0])),
    )
    assert {customer for customer, _, _ in operator.series} == {"dune"}


def test_signals_survive_the_wire() -> None:
    network = Network()
    operator = trained(network)
    signals = list(judge(operator, CALM, network.minute(CALM)[0]).values())
    rows = from_bytes(SIGNALS, to_bytes(signals_batch(signals), pa), pa).to_pylist()
    assert [(r["customer"], r["service"], r["measure"]) for r in rows] == [s.series for s in signals]
    failures = next(r for r in rows if r["measure"] == "failures" and r["customer"] == "acme")
    evidence = next(s.evidence for s in signals if s.series == ("acme", "video", "failures"))
    assert evidence.band is not None
    assert (failures["minute"], failures["verdict"], failures["baseline"]) == (minute(CALM), "ok", "overall")
    assert (failures["bad"], failures["total"], failures["low"]) == (evidence.bad, evidence.total, evidence.band[0])
    assert (failures["minute"] + MINUTE_MS) % MINUTE_MS == 0


@pytest.mark.parametrize(
    "change", [{"min_coverage": 1.1}, {"warm_up_minutes": 0}, {"slow_ms": -1.0}, {"replay_days": -1.0}]
)
def test_settings_out_of_range_are_refused_by_name(change: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(change))):
        DetectorSettings(**change)  # type: ignore[arg-type]
