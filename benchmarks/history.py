"""What history costs at a steady stream of slices: insert, recomputation, queries beside it, bytes on disk.

    python -m benchmarks.history --seed 1 [--devices 1000] [--slices 100] [--minutes 4] [--load-s 40]

The log is written first; then it is opened to the sink 2 s of event time at a time. Phase one runs as fast as it can
and counts the CPU seconds of the whole process, the engine's merges included, per minute of event time: over 60 that
is the share of a core at real speed. Phase two runs at real speed while one thread asks what pages ask, over a day of
minutes. Before it prints, requests in history must equal those sent. Writes results/history.json and prints it.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.common import write_result
from contracts import topics
from contracts.arrow import batch as make_batch
from contracts.arrow import to_bytes
from contracts.columns import COUNT_NAMES, HISTOGRAM_NAMES, REPORTS, SLICES
from contracts.protocols import Log, Record
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from history import queries
from history.chdb_store import ChdbStore
from history.ledger import ledger
from history.sink import Sink, SinkSettings
from ingest.log.embedded import EmbeddedLog

START = 1_700_000_000_000 // DAY_MS * DAY_MS + DAY_MS
FLUSH_MS = 100
STEP_MS = 2_000
CUSTOMERS = 20
CARDINALITY = {"service": 2, "app": 2, "client_isp": 5, "client_region": 31, "sched_rule": 20, "device_isp": 4}
CARDINALITY |= {"device_region": 31, "nat_type": 4, "cohort": 3, "model": 3, "firmware": 4}
GOAL_CORE_SHARE = 0.5
GOAL_QUERY_P95_S = 0.2


class Tide:
    """A log whose end is where its records reached at a time that the benchmark moves."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.now = START

    def end_offsets(self, topic: str) -> list[int]:
        """The end as it was at `now`."""
        return self._log.offsets_for_time(topic, self.now)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


def coded(codes: Any, prefix: str) -> Any:
    """A dictionary-encoded column."""
    names = [f"{prefix}-{i}" for i in range(int(codes.max()) + 1)]
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names))


class Fleet:
    """Boxes that each send the same number of slices every 10 s, a tenth of them each second."""

    def __init__(self, rng: np.random.Generator, devices: int, slices: int) -> None:
        self.rng, self.devices, self.slices = rng, devices, slices
        rows = devices * slices
        device = np.repeat(np.arange(devices), slices)
        self.dimensions = {"customer": rng.integers(0, CUSTOMERS, rows)}
        for name, n in CARDINALITY.items():
            of_box = name in ("device_isp", "device_region", "nat_type", "cohort", "model", "firmware")
            self.dimensions[name] = rng.integers(0, n, devices)[device] if of_box else rng.integers(0, n, rows)
        self.requests = 0
        self.total = np.zeros(devices, np.int64)

    def interval(self, k: int) -> list[Record]:
        """Records of the k-th interval, spread over the next 10 s as gateways flush them."""
        records: list[Record] = []
        order = self.rng.permutation(self.devices)
        for i, boxes in enumerate(np.array_split(order, 10_000 // FLUSH_MS)):
            records.extend(self._flush(np.sort(boxes), k, START + (k + 1) * 10_000 + i * FLUSH_MS))
        return records

    def _flush(self, boxes: Any, k: int, at: int) -> list[Record]:
        rows = (boxes[:, None] * self.slices + np.arange(self.slices)).ravel()
        n = len(rows)
        start = START + k * 10_000
        requests = self.rng.poisson(9, n) + 1
        failed = self.rng.binomial(requests, 0.01)
        values: dict[str, Any] = dict.fromkeys(COUNT_NAMES, np.zeros(n, np.int64))
        values |= {"requests": requests, "s2xx": requests - failed, "s5xx": failed, "f_server": failed}
        values |= {"bytes": requests * self.rng.integers(10_000, 99_999, n), "cache_hits": requests - failed}
        values |= {"device": coded(rows // self.slices, "box"), "boot": coded(rows // self.slices, "boot")}
        values |= {"seq": np.full(n, k + 1), "row": rows % self.slices, "start": np.full(n, start)}
        values |= {"end": np.full(n, start + 10_000), "received_at": np.full(n, at)}
        values |= {name: coded(codes[rows], name) for name, codes in self.dimensions.items()}
        for name in HISTOGRAM_NAMES:
            values |= self._histogram(name, requests)
        customer = self.dimensions["customer"][rows]
        whole = make_batch(SLICES, values, pa)
        sums = np.bincount(rows // self.slices, requests, self.devices).astype(np.int64)[boxes]
        self.total[boxes] += sums
        self.requests += int(requests.sum())
        records = []
        for p in range(4):
            part = whole.filter(pa.array(customer % 4 == p))
            records.append(Record(topics.SLICES.name, b"", to_bytes(part, pa), at, p))
        headers = make_batch(REPORTS, self._headers(boxes, k, at, sums), pa)
        return [*records, Record(topics.REPORTS.name, b"", to_bytes(headers, pa), at, int(k % 4))]

    def _headers(self, boxes: Any, k: int, at: int, sums: Any) -> dict[str, Any]:
        n = len(boxes)
        start = START + k * 10_000
        values: dict[str, Any] = {
            c.name: np.zeros(n, np.int64) if c.dtype == "int64" else coded(np.zeros(n, int), c.name)
            for c in REPORTS
            if c.dtype in ("int64", "string")
        }
        values |= {"device": coded(boxes, "box"), "boot": coded(boxes, "boot"), "seq": np.full(n, k + 1)}
        values |= {"start": np.full(n, start), "end": np.full(n, start + 10_000), "received_at": np.full(n, at)}
        values |= {"oldest_spooled_seq": np.full(n, k + 1), "requests": sums, "slices": np.full(n, self.slices)}
        values |= {"total_requests": self.total[boxes], "total_slices": np.full(n, self.slices * (k + 1))}
        values |= {"dropped_by_cause": ["{}"] * n, "earlier_boots": ["[]"] * n}
        return values

    def _histogram(self, name: str, requests: Any) -> dict[str, Any]:
        """Every request in a cell of its own or its neighbour's: about six cells per row."""
        lengths = np.minimum(requests, 6)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        cells = np.repeat(self.rng.integers(20, 60, len(requests)), lengths) + within * 2
        counts = np.ones(offsets[-1], np.int64)
        counts[offsets[:-1]] += requests - lengths
        wire = pa.array(offsets.astype(np.int32))
        return {
            f"{name}_cell": pa.ListArray.from_arrays(wire, pa.array(cells.astype(np.uint8))),
            f"{name}_count": pa.ListArray.from_arrays(wire, pa.array(counts.astype(np.uint32))),
        }


def prefill(store: ChdbStore) -> None:
    """A day of minutes and hours before START, so that queries over a day have one."""
    sums = ", ".join("number % 1000 AS c" + str(i) for i in range(len(COUNT_NAMES)))
    cells = "range(20, 60) AS a, arrayMap(x -> toUInt64(10), a), range(20, 60) AS b, arrayMap(x -> toUInt64(10), b)"
    for table, width in (("minutes", MINUTE_MS), ("hours", HOUR_MS)):
        columns = f"{table.removesuffix('s')}, customer, service, {', '.join(COUNT_NAMES)}, latency_cell, latency_count"
        store.execute(
            f"INSERT INTO {table} ({columns}, throughput_cell, throughput_count, version)"
            f" SELECT {START - DAY_MS} + intDiv(number, 40) * {width}, concat('customer-', toString(number % 20)),"
            f" concat('service-', toString(intDiv(number, 20) % 2)), {sums}, {cells}, 0"
            f" FROM numbers({DAY_MS // width * 40})"
        )


def ask(store: ChdbStore, now: int, i: int) -> str:
    """One of the questions pages ask; its name."""
    customer = f"customer-{i % CUSTOMERS}"
    asked = [
        ("overview 24 h", lambda: queries.fleet_overview(store, now - DAY_MS, now)),
        ("overview 1 h", lambda: queries.fleet_overview(store, now - HOUR_MS, now, 2 * MINUTE_MS)),
        ("customer 1 h", lambda: queries.customer_series(store, customer, None, now - HOUR_MS, now)),
        ("customer 24 h", lambda: queries.customer_series(store, customer, None, now - DAY_MS, now, 5 * MINUTE_MS)),
        ("boxes by region", lambda: queries.boxes_by(store, "device_region", now - 5 * MINUTE_MS, now)),
        ("traffic by client_isp", lambda: queries.traffic_by(store, "client_isp", now - 5 * MINUTE_MS, now)),
        ("freshness", lambda: queries.freshness(store)),
    ]
    name, work = asked[i % len(asked)]
    work()
    return name


def percentile(values: Sequence[float], q: float) -> float:
    """Nearest rank."""
    return float(np.quantile(np.array(values), q, method="inverted_cdf"))


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both phases; the figures."""
    fleet = Fleet(np.random.default_rng(options.seed), options.devices, options.slices)
    log = EmbeddedLog(folder / "log", partitions=4)
    load_intervals = -(-options.load_s // 10)
    for k in range(options.minutes * 6 + load_intervals):
        log.submit(fleet.interval(k)).result(60)
    store = ChdbStore(folder / "history")
    prefill(store)
    tide = Tide(log)
    sink = Sink(tide, store, SinkSettings())  # type: ignore[arg-type]
    figures = {"slices_per_s": options.devices * options.slices / 10} | steady(sink, tide, options.minutes)
    figures |= under_load(sink, tide, store, options)
    tide.now += 10 * MINUTE_MS
    sink.drain(tide.now)
    begin = time.perf_counter()
    books = ledger(store, tide.now)
    figures["ledger_s"] = time.perf_counter() - begin
    stored = store.query("SELECT sum(requests) AS n FROM minutes FINAL WHERE minute >= {t:Int64}", {"t": START})["n"][0]
    if not books.balanced or stored != fleet.requests:
        raise SystemExit(f"history holds {stored} requests, {fleet.requests} were sent; balanced: {books.balanced}")
    parts = store.query(
        "SELECT table, sum(rows) AS n, sum(bytes_on_disk) AS size FROM system.parts WHERE active GROUP BY table"
    )
    size = dict(zip(parts["table"], zip(parts["n"], parts["size"], strict=True), strict=True))
    figures["bytes_per_slice"] = size["slices"][1] / size["slices"][0]
    figures["bytes_per_slice_all_tables"] = sum(s for t, (_, s) in size.items() if "_log" not in t) / size["slices"][0]
    figures["process_rss_peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    store.close()
    log.close()
    return figures


def steady(sink: Sink, tide: Tide, minutes: int) -> dict[str, Any]:
    """Phase one, as fast as it goes."""
    cpu, wall, closing, slices = time.process_time(), time.perf_counter(), [], 0
    for _ in range(minutes * MINUTE_MS // STEP_MS):
        tide.now += STEP_MS
        begin = time.perf_counter()
        done = sink.step(tide.now)
        slices += done.slices
        if done.recomputed_minutes:
            closing.append(time.perf_counter() - begin)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "steady_slices": slices,
        "steady_wall_s": wall,
        "steady_slices_per_s": slices / wall,
        "cpu_s_per_minute": cpu / minutes,
        "core_share_at_real_speed": cpu / minutes / 60,
        "longest_recompute_step_s": max(closing),
        "insert_rows_per_s": sink.status(tide.now)["insert_rows_per_s"],
    }


def under_load(sink: Sink, tide: Tide, store: ChdbStore, options: argparse.Namespace) -> dict[str, Any]:
    """Phase two, at real speed, with a reader."""
    stop = threading.Event()
    took: dict[str, list[float]] = {}

    def read() -> None:
        i = 0
        while not stop.is_set():
            begin = time.perf_counter()
            name = ask(store, tide.now, i)
            took.setdefault(name, []).append(time.perf_counter() - begin)
            i += 1
            stop.wait(0.05)

    reader = threading.Thread(target=read)
    reader.start()
    started, from_now = time.perf_counter(), tide.now
    while (passed := time.perf_counter() - started) < options.load_s:
        tide.now = from_now + int(passed * 1000)
        sink.step(tide.now)
        time.sleep(0.2)
    stop.set()
    reader.join(30)
    everything = [t for times in took.values() for t in times]
    return {
        "queries": len(everything),
        "query_p50_s": percentile(everything, 0.5),
        "query_p95_s": percentile(everything, 0.95),
        "query_p95_s_by_question": {name: percentile(times, 0.95) for name, times in took.items()},
    }


def main() -> None:
    """Run, write, judge against the goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("seed", 1), ("devices", 1_000), ("slices", 100), ("minutes", 4), ("load-s", 40)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = run(options, Path(folder))
    figures["goals"] = {
        "core_share_below": GOAL_CORE_SHARE,
        "query_p95_s_below": GOAL_QUERY_P95_S,
        "met": figures["core_share_at_real_speed"] < GOAL_CORE_SHARE and figures["query_p95_s"] < GOAL_QUERY_P95_S,
    }
    write_result("history", figures, ("chdb", "pyarrow", "numpy"))


if __name__ == "__main__":
    main()
