"""A real `dipper up` under a steady fleet for minutes, while pages are open and queries are asked.

    python -m benchmarks.soak [--minutes 10] [--slices-per-s 10000] [--seed 1] [--devices 0] [--keep DIR]

Four processes: the server on a fresh folder and a free port, its registry filled beforehand; the fleet
(benchmarks/soak_load.py), which posts over HTTP; this one, which re-runs an overview and a customer's page over
Streamlit's websocket (benchmarks/soak_pages.py), asks `quality` of the last hour through the control socket, and
watches memory, CPU and freshness. The server runs with a stopwatch around history's queries (benchmarks/soak_probe.py).

`--devices 0` takes as many boxes as the rate needs at about 10 slices a report. At the end the boxes send what they
hold, and the ledger is compared with what the fleet knows it sent. Writes results/soak.json and prints it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.common import write_result
from benchmarks.soak_load import settings_of, wall_ms
from benchmarks.soak_pages import Viewer
from contracts.times import DEFAULT_INTERVAL_MS, HOUR_MS, MINUTE_MS
from dipper import control
from dipper.paths import Paths
from history.chdb_store import ChdbStore
from ingest.registry import SqliteRegistry
from simulator.settings import build_fleet
from simulator.truth import compare_ledger

CUSTOMERS = 20
SLICES_PER_REPORT = 10
GOAL_RERUN_P95_S = 1.0
GOAL_QUERY_P95_S = 0.2
GOAL_RSS_MB = 1_200
RERUN_EVERY_S = 2.0
ASK_EVERY_S = 1.0
SAMPLE_EVERY_S = 1.0
START_DEADLINE_S = 120.0
SETTLE_DEADLINE_S = 240.0
LEAD_MS = 15_000  # the fleet builds its world meanwhile
ROOT = Path(__file__).parent.parent


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Count, p50, p95 and maximum; nearest rank."""
    if not values:
        return {"n": 0}
    p50, p95 = np.quantile(np.array(values), (0.5, 0.95), method="inverted_cdf")
    return {"n": len(values)} | {
        name: round(float(v), digits) for name, v in (("p50", p50), ("p95", p95), ("max", max(values)))
    }


def boxes_for(slices_per_s: float, seed: int) -> int:
    """How many boxes make so many slices per second at this time of the day: tried on one interval."""
    guess = math.ceil(slices_per_s * DEFAULT_INTERVAL_MS / 1_000 / SLICES_PER_REPORT)
    now = wall_ms() // DEFAULT_INTERVAL_MS * DEFAULT_INTERVAL_MS
    attempts = build_fleet(settings_of(guess, CUSTOMERS, seed, now, 1.0)).step(now + DEFAULT_INTERVAL_MS)
    made = sum(attempt.held.body.slices for attempt in attempts)
    return math.ceil(guess * slices_per_s * DEFAULT_INTERVAL_MS / 1_000 / made)


def register(paths: Paths, devices: int, seed: int) -> str:
    """Fill the registry as an operator would before the boxes come; returns the busiest customer."""
    paths.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    now = wall_ms()
    world = build_fleet(settings_of(devices, CUSTOMERS, seed, now - now % DEFAULT_INTERVAL_MS, 1.0)).world
    rows = world.registry_rows()
    with SqliteRegistry(paths.registry) as registry:
        keys = {device: key for device, key, _ in rows["devices"]}
        registry.bulk_add_devices(((device, attributes) for device, _, attributes in rows["devices"]), now, keys)
        registry.upsert_customers(rows["customers"])
        registry.upsert_rules(rows["rules"])
    return world.customers[0].id


class Watch:
    """What is measured while the server runs."""

    def __init__(self, server: psutil.Process, paths: Paths) -> None:
        self.rss_mb: list[float] = []
        self.freshness_s: list[float] = []
        self.lag_s: list[float] = []
        self.quality_s: list[float] = []
        self.refused = 0  # questions that got an error
        self._server, self._paths = server, paths

    def sample(self) -> None:
        """Memory and freshness now."""
        self.rss_mb.append(self._server.memory_info().rss / 1e6)
        with contextlib.suppress(control.ControlError, OSError):
            status = control.ask(self._paths.control, "status", {})
            if status["sink"]["freshness_s"] is not None:
                self.freshness_s.append(status["sink"]["freshness_s"])
            self.lag_s.append(status["sink"]["lag_s"])

    def ask(self) -> None:
        """The quality of every customer in the last hour."""
        now, began = wall_ms(), time.perf_counter()
        try:
            control.ask(self._paths.control, "quality", {"start": now - HOUR_MS, "end": now})
        except (control.ControlError, OSError):
            self.refused += 1
        else:
            self.quality_s.append(time.perf_counter() - began)

    async def every(self, seconds: float, work: Any, stop: asyncio.Event) -> None:
        """Call in a thread again and again."""
        while not stop.is_set():
            began = time.monotonic()
            await asyncio.to_thread(work)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, seconds - (time.monotonic() - began))):
                    await stop.wait()


async def observe(watch: Watch, viewers: Iterable[Viewer], port: int, until_ms: int) -> None:
    """Look, ask and sample until a time."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(viewer.look(port, RERUN_EVERY_S, stop)) for viewer in viewers]
    tasks.append(asyncio.create_task(watch.every(ASK_EVERY_S, watch.ask, stop)))
    tasks.append(asyncio.create_task(watch.every(SAMPLE_EVERY_S, watch.sample, stop)))
    await asyncio.sleep(max(0, until_ms - wall_ms()) / 1_000)
    stop.set()
    await asyncio.gather(*tasks)


def settled(paths: Paths, truth: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], float]:
    """The ledger once it equals the fleet's own, or at the deadline; what still differs; seconds it took."""
    began = time.monotonic()
    while True:
        books = control.ask(paths.control, "ledger", {})
        _, differences = compare_ledger(truth, books)
        passed = time.monotonic() - began
        if (books["balanced"] and not differences) or passed > SETTLE_DEADLINE_S:
            return books, differences, passed
        time.sleep(2.0)


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One run; its figures."""
    paths = Paths(folder / "data")
    devices = options.devices or boxes_for(options.slices_per_s, options.seed)
    busiest = register(paths, devices, options.seed)
    probe, known_at = folder / "probe.json", folder / "load.json"
    server = start(["benchmarks.soak_probe", probe, "up", "--data", paths.root, "--port", "0"], folder / "server.out")
    load = None
    try:
        port = await_port(server, folder / "server.out")
        start_ms = (wall_ms() + LEAD_MS) // DEFAULT_INTERVAL_MS * DEFAULT_INTERVAL_MS
        end_ms = start_ms + DEFAULT_INTERVAL_MS + round(options.minutes * MINUTE_MS)
        arguments = ["--devices", devices, "--customers", CUSTOMERS, "--seed", options.seed]
        arguments += ["--start-ms", start_ms, "--minutes", options.minutes]
        load = start(["benchmarks.soak_load", port, known_at, *arguments], folder / "load.out")
        viewers = [
            Viewer("overview", "", "range=1h", "d-strip"),
            Viewer("customer", "customer", f"range=1h&customer={busiest}", "plotly_chart"),
        ]
        watch = Watch(psutil.Process(server.pid), paths)
        ours = [server.pid, load.pid, os.getpid()]
        before = [busy_s(), *map(cpu_s, ours)]
        began = time.monotonic()
        asyncio.run(observe(watch, viewers, port, end_ms))
        watched_s = time.monotonic() - began
        busy, *used = (now - then for now, then in zip([busy_s(), *map(cpu_s, ours)], before, strict=True))
        if load.wait(SETTLE_DEADLINE_S):
            raise SystemExit(f"the fleet failed:\n{tail(folder / 'load.out')}")
        known = json.loads(known_at.read_text())
        books, differences, settle_s = settled(paths, known["ledger"])
        server.send_signal(signal.SIGTERM)
        if server.wait(SETTLE_DEADLINE_S):
            raise SystemExit(f"the server failed:\n{tail(folder / 'server.out')}")
    finally:
        for process in (server, load):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
    seconds = options.minutes * 60
    figures = {
        "minutes": options.minutes,
        "seed": options.seed,
        "devices": devices,
        "customers": CUSTOMERS,
        "reports_per_s": round(devices * 1_000 / DEFAULT_INTERVAL_MS),
        "slices_per_s_accepted": round(known["slices_stored"] / seconds),
        "slices_per_s_in_history": round(books["slices"]["stored"] / seconds),
        "fleet": {name: known[name] for name in ("answers", "late_ms", "answer_ms", "connections", "unsent")},
        "core_share": {
            name: round(spent / watched_s, 2)
            for name, spent in zip(
                ("server", "fleet", "viewers_and_questions", "others_on_the_machine"),
                (*used, busy - sum(used)),
                strict=True,
            )
        },
        "rss_mb": spread(watch.rss_mb, 0),
        "freshness_s": spread(watch.freshness_s, 1),
        "lag_s": spread(watch.lag_s, 1),
        "rerun_s": {v.name: spread(v.took_s) | {"empty": v.empty, "failed": v.failed} for v in viewers},
        "rerun_s_all": spread([s for v in viewers for s in v.took_s]),
        "quality_answer_s": spread(watch.quality_s) | {"refused": watch.refused},
        "settle_s": round(settle_s, 1),
        "ledger": {name: books[name] for name in ("requests", "slices", "devices", "balanced")},
        "ledger_differences": differences,
    }
    figures |= stopwatch(json.loads(probe.read_text())) | sizes(paths, books["slices"]["stored"])
    figures["load_average_before"] = options.load_average
    return figures | {"goals": judged(figures, options.slices_per_s)}


def judged(figures: Mapping[str, Any], slices_per_s: float) -> dict[str, Any]:
    """The goals and whether each is met."""
    answers = figures["fleet"]["answers"]
    lost = figures["ledger"]["slices"]["lost"] or figures["ledger"]["requests"]["lost"]
    met = {
        "slices_per_s": figures["slices_per_s_in_history"] >= 0.99 * slices_per_s,
        "no_429_no_503": not answers.get("429") and not answers.get("503"),
        "ledger": figures["ledger"]["balanced"] and not figures["ledger_differences"] and not lost,
        "rerun_p95_s": figures["rerun_s_all"].get("p95", math.inf) < GOAL_RERUN_P95_S,
        "query_p95_s": figures["query_s"].get("p95", math.inf) < GOAL_QUERY_P95_S,
        "rss_mb": figures["rss_mb"]["max"] < GOAL_RSS_MB,
    }
    goals = {"slices_per_s": slices_per_s, "rerun_p95_s_below": GOAL_RERUN_P95_S}
    return goals | {"query_p95_s_below": GOAL_QUERY_P95_S, "rss_mb_below": GOAL_RSS_MB, "met": met}


def stopwatch(noted: Mapping[str, Any]) -> dict[str, Any]:
    """Times of history's queries, the slowest questions apart, and threads' CPU seconds."""
    by_question = {sql: [s for _, s in times] for sql, times in noted["queries"].items()}
    slowest = sorted(by_question, key=lambda sql: -spread(by_question[sql])["p95"])[:6]
    return {
        "query_s": spread([s for times in by_question.values() for s in times]),
        "query_s_slowest": {sql: spread(by_question[sql]) for sql in slowest},
        "server_threads_cpu_s": noted["threads_cpu_s"],
    }


def sizes(paths: Paths, slices: int) -> dict[str, Any]:
    """Bytes per slice on disk after the end: history's tables, the folder with parts not removed yet, the log."""
    folders = {"history_folder": paths.history, "log": paths.log}
    on_disk = {
        name: sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) for name, folder in folders.items()
    }
    with ChdbStore(paths.history) as store:
        rows = store.query(
            "SELECT table, sum(bytes_on_disk) AS size FROM system.parts"
            " WHERE active AND database = currentDatabase() GROUP BY table ORDER BY size DESC"
        )
    tables = Counter(dict(zip(rows["table"], rows["size"], strict=True)))
    return {
        "bytes_per_slice": {name: round(size / slices, 1) for name, size in on_disk.items()}
        | {"history_tables": round(tables.total() / slices, 1)},
        "bytes_per_slice_by_table": {name: round(size / slices, 1) for name, size in tables.most_common(6)},
    }


def start(module: Sequence[Any], output: Path) -> subprocess.Popen[bytes]:
    """A process of this environment's Python, output in a file."""
    with output.open("wb") as out:
        command = [sys.executable, "-m", *map(str, module)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT)


def await_port(server: subprocess.Popen[bytes], output: Path) -> int:
    """The port the server says it listens on."""
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline and server.poll() is None:
        for line in output.read_text(errors="replace").splitlines():
            if line.strip().startswith("pages"):
                return int(line.rpartition(":")[2])
        time.sleep(0.1)
    raise SystemExit(f"the server did not come up:\n{tail(output)}")


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def busy_s() -> float:
    """CPU seconds of the whole machine so far."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.softirq)


def tail(output: Path) -> str:
    """The end of a process's output."""
    return output.read_text(errors="replace")[-3_000:]


def main() -> None:
    """Run, write, say what was met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--slices-per-s", type=float, default=10_000.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--devices", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for data and outputs instead of a temporary one")
    options = parser.parse_args()
    options.load_average = round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory(prefix="dipper-soak-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        figures = run(options, folder)
    write_result("soak", figures, ["chdb", "pyarrow", "numpy", "streamlit", "uvicorn", "websockets"])


if __name__ == "__main__":
    main()
