"""Freshness of the whole chain: boxes, two gateways, Kafka, worker, sink, engine behind the native protocol.

    python -m benchmarks.chain [--slices-per-s 15000] [--minutes 5] [--seed 1] [--keep DIR]

The store is asked every second which reports it holds by now, as a page would ask. What is new since the last look
became queryable in between, and counts as of the end of this look. Reported, each as p50, p95, p99:

    interval_end_to_queryable_s   by report: from the end of its interval; boxes send at a random moment of the 10 s
                                  that follow, so with any pipeline its p99 is above 9.9 s
    received_to_queryable_s       by report: from the gateway's receipt; what the pipeline itself adds
    newest_interval_s             by interval: from its end until its first report can be queried
    complete_interval_s           by interval: until 99% of the boxes' reports can be queried
    freshness_s                   by look: age of the newest queryable interval, what pages show
    stream_delay_s                by look: the slowest worker's watermark behind the clock (20 s of it by design)

At the end the ledger is compared with what the boxes counted. Writes results/chain.json and prints it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.common import write_result
from benchmarks.faults.client import LoadClient, devices_for, fill_registry
from benchmarks.faults.compare import wait_for_truth
from benchmarks.faults.watch import Watch, wait_for_store
from contracts.protocols import Store, StoreError
from contracts.times import MINUTE_MS
from simulator.sender import wall_ms
from tests.e2e.cluster import Cluster, ClusterError, end_on_sigterm
from tests.services.kafka import BrokerError

GOAL_P99_S = 10.0
COMPLETE_SHARE = 0.99
LOOK_EVERY_S = 1.0
LOOK_BACK_MS = 60_000
GRAIN_MS = 250  # of the gateway's receipt
STEADY_DEADLINE_S = 90.0
WARM_UP_S = 20.0

_REPORTS = """SELECT intDiv(received_at, {grain:Int64}) * {grain:Int64} AS received, `end`, count() AS n FROM reports
WHERE minute >= {first:Int64} AND received_at >= {since:Int64} GROUP BY received, `end`"""


class Arrivals:
    """Which reports became queryable between two looks."""

    def __init__(self, devices: int) -> None:
        self._devices = devices
        self._seen: dict[tuple[int, int], int] = {}
        self._by_end: defaultdict[int, int] = defaultdict(int)
        self.from_end: list[tuple[float, int]] = []  # age in s, reports
        self.from_receipt: list[tuple[float, int]] = []
        self.first: dict[int, float] = {}  # by interval end: s from it
        self.complete: dict[int, float] = {}

    def look(self, store: Store, *, counting: bool) -> None:
        """Ask the store; `counting` False only learns what is there already."""
        since = wall_ms() - LOOK_BACK_MS
        since -= since % GRAIN_MS
        rows = store.query(_REPORTS, {"grain": GRAIN_MS, "since": since, "first": since - 10 * MINUTE_MS})
        now = wall_ms()
        for received, end, n in zip(rows["received"], rows["end"], rows["n"], strict=True):
            new = n - self._seen.get((received, end), 0)
            self._seen[received, end] = n
            if new <= 0:
                continue
            known = self._by_end[end]
            self._by_end[end] += new
            if counting:
                self.from_end.append(((now - end) / 1_000, new))
                self.from_receipt.append(((now - received - GRAIN_MS / 2) / 1_000, new))
                self._interval(end, known, (now - end) / 1_000)
        self._seen = {key: n for key, n in self._seen.items() if key[0] >= since}

    def _interval(self, end: int, known: int, age_s: float) -> None:
        if known == 0:
            self.first[end] = age_s
        enough = COMPLETE_SHARE * self._devices
        if known < enough <= self._by_end[end]:
            self.complete[end] = age_s


def spread(values: list[float], weights: list[int] | None = None) -> dict[str, float]:
    """Count, p50, p95, p99, maximum; nearest rank."""
    if not values:
        return {"n": 0}
    array = np.repeat(np.array(values), weights) if weights else np.array(values)
    p50, p95, p99 = np.quantile(array, (0.5, 0.95, 0.99), method="inverted_cdf")
    named = {"p50": p50, "p95": p95, "p99": p99, "max": array.max()}
    return {"n": len(array)} | {name: round(float(v), 2) for name, v in named.items()}


def pids(cluster: Cluster, load: LoadClient) -> dict[str, int]:
    """Every process by name."""
    assert cluster.engine.pid is not None
    members = {name: member.pid for name, member in cluster.members.items()}
    return {"broker": cluster.broker.pid(), "engine": cluster.engine.pid, "fleet": load.pid, **members}


def cpu_s(processes: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds so far."""
    times = {name: psutil.Process(pid).cpu_times() for name, pid in processes.items()}
    return {name: t.user + t.system for name, t in times.items()}


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One run; its figures."""
    devices = devices_for(options.slices_per_s, options.seed)
    say(f"starting a cluster for {devices} boxes")
    with (
        Cluster(folder, dashboards=False, prepare=lambda e: fill_registry(e, devices, options.seed)) as cluster,
        LoadClient(folder, devices, options.seed, [m.boxes for m in cluster.of("gateway")]) as load,
    ):
        with Watch(cluster) as watch:
            since = load.world.start_ms
            if watch.wait_good(since, STEADY_DEADLINE_S + max(0, since - wall_ms()) / 1_000) is None:
                raise ClusterError(f"no steady state: {watch.last()}")
            say(f"steady: {watch.last()}")
            store = wait_for_store(cluster.engine.url)
            try:
                figures = measure(options, cluster, load, watch, store, devices)
            finally:
                store.close()
        say("the load ends")
        truth, _ = load.finish()
        store = wait_for_store(cluster.engine.url)
        try:
            books, minutes, differences = wait_for_truth(store, truth)
        finally:
            store.close()
    ledger = {name: books[name] for name in ("requests", "slices", "balanced")}
    return {**figures, "ledger": ledger, "customer_minutes": len(minutes), "different_from_truth": differences}


def measure(
    options: argparse.Namespace, cluster: Cluster, load: LoadClient, watch: Watch, store: Store, devices: int
) -> dict[str, Any]:
    """Look every second for the time asked for."""
    arrivals = Arrivals(devices)
    warm = time.monotonic() + WARM_UP_S
    while time.monotonic() < warm:
        arrivals.look(store, counting=False)
        time.sleep(LOOK_EVERY_S)
    processes = pids(cluster, load)
    before, status_before, began, began_ms = cpu_s(processes), load.ask(do="status"), time.monotonic(), wall_ms()
    end = began + options.minutes * 60
    while (now := time.monotonic()) < end:
        arrivals.look(store, counting=True)
        time.sleep(max(0.0, LOOK_EVERY_S - (time.monotonic() - now)))
    took = time.monotonic() - began
    after, status = cpu_s(processes), load.ask(do="status")
    looks = [s for s in list(watch.samples) if s.at_ms >= began_ms]
    figures: dict[str, Any] = {
        "minutes": options.minutes,
        "devices": devices,
        "slices_per_s_accepted": round((status["slices_stored"] - status_before["slices_stored"]) / took),
        "answers": status["answers"],
        "answer_ms": status["answer_ms"],
        "sent_late_ms": status["late_ms"],
        "interval_end_to_queryable_s": spread(*_columns(arrivals.from_end)),
        "received_to_queryable_s": spread(*_columns(arrivals.from_receipt)),
        "newest_interval_s": spread(list(arrivals.first.values())),
        "complete_interval_s": spread(list(arrivals.complete.values())),
        "freshness_s": spread([s.freshness_s for s in looks if s.freshness_s is not None]),
        "stream_delay_s": spread([s.stream_delay_s for s in looks if s.stream_delay_s is not None]),
        "core_share": {name: round((after[name] - before[name]) / took, 2) for name in processes},
    }
    judged = ("interval_end_to_queryable_s", "received_to_queryable_s", "newest_interval_s")
    met = {name: figures[name].get("p99", GOAL_P99_S + 1) <= GOAL_P99_S for name in judged}
    met["slices_per_s"] = figures["slices_per_s_accepted"] >= 0.99 * options.slices_per_s
    return figures | {"goals": {"p99_s": GOAL_P99_S, "slices_per_s": options.slices_per_s, "met": met}}


def _columns(pairs: list[tuple[float, int]]) -> tuple[list[float], list[int]]:
    return [value for value, _ in pairs], [n for _, n in pairs]


def say(line: str) -> None:
    """Progress."""
    print(f"chain: {line}", file=sys.stderr, flush=True)


def main() -> int:
    """Run, write, print; exit code 1 when the books were wrong or it could not be run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices-per-s", type=float, default=15_000.0)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="data and logs go here and stay")
    options = parser.parse_args()
    end_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="dipper-chain-") as temporary:
        try:
            figures = run(options, (options.keep or Path(temporary)).absolute())
        except (ClusterError, BrokerError, StoreError) as error:
            print(f"chain: {error}", file=sys.stderr)
            return 1
    packages = ["chdb", "clickhouse-driver", "faust-streaming", "kafka-python", "numpy", "pyarrow"]
    write_result("chain", figures, packages)
    return 1 if figures["different_from_truth"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
