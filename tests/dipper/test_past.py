"""What the detector learns at the start: history's minutes, in order, as bad of total."""

import pyarrow as pa
import pytest

from contracts.columns import COUNT_NAMES
from contracts.entities import MEASURES, Objective
from contracts.times import HOUR_MS, MINUTE_MS
from dipper.past import past_minutes
from history.chdb_store import ChdbStore
from streams.detect_measures import Promises
from streams.incident_settings import DetectorSettings

T0 = 1_767_607_200_000
PROMISES = Promises([Objective("acme", "video", "slow_requests", 0.9, 30.0)], DetectorSettings())


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Eight hours with a minute each, of two customers; one minute was restated."""
    opened = ChdbStore(tmp_path_factory.mktemp("past") / "history")
    for version, hours, requests in ((1, range(8), 100), (2, [3], 110)):
        rows = [(T0 + h * HOUR_MS, c) for h in hours for c in ("acme", "bolt")]
        n = len(rows)
        columns = {name: pa.array([0] * n, pa.int64()) for name in COUNT_NAMES}
        columns |= {
            "requests": pa.array([requests] * n),
            "f_server": pa.array([7] * n),
            "cache_hits": pa.array([90] * n),
        }
        for name, cell in (("latency", 40), ("throughput", 80)):
            columns[f"{name}_cell"] = pa.array([[cell]] * n, pa.list_(pa.uint8()))
            columns[f"{name}_count"] = pa.array([[requests]] * n, pa.list_(pa.uint64()))
        columns |= {"minute": pa.array([m for m, _ in rows], pa.int64()), "customer": pa.array([c for _, c in rows])}
        columns |= {"service": pa.array(["video"] * n), "version": pa.array([version] * n, pa.uint64())}
        opened.insert("minutes", pa.table(columns))
    yield opened
    opened.close()


def test_minutes_come_in_order_over_the_joints_of_queries(store):
    found = list(past_minutes(store, 0, T0 + 8 * HOUR_MS, PROMISES))
    assert [minute for minute, _ in found] == [T0 + h * HOUR_MS for h in range(8)]
    assert all(sorted(services) == [("acme", "video"), ("bolt", "video")] for _, services in found)


def test_they_are_bad_of_total_and_as_restated(store):
    found = dict(past_minutes(store, 0, T0 + 8 * HOUR_MS, PROMISES))
    acme = found[T0][("acme", "video")]
    assert dict(zip(MEASURES, zip(acme.bad.tolist(), acme.total.tolist(), strict=True), strict=True)) == {
        "failures": (7, 100),
        "slow_requests": (100, 100),  # 32 ms where 30 were promised
        "stalled_sessions": (0, 0),
        "low_throughput": (0, 100),
        "cache_misses": (10, 100),
    }
    assert found[T0][("bolt", "video")].bad[1] == 0  # nothing promised: the default threshold
    assert found[T0 + 3 * HOUR_MS][("acme", "video")].total[0] == 110
    assert acme.coverage != acme.coverage


def test_only_what_was_asked_for(store):
    found = list(past_minutes(store, T0 + MINUTE_MS, T0 + 3 * HOUR_MS, PROMISES))
    assert [minute for minute, _ in found] == [T0 + HOUR_MS, T0 + 2 * HOUR_MS]
    assert list(past_minutes(store, T0 + 9 * HOUR_MS, T0 + 10 * HOUR_MS, PROMISES)) == []
