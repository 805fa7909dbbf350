"""Kill every process of a cluster under load, and prove after each that nothing is lost and nothing counted twice.

    python -m benchmarks.faults [--quick] [--only WORDS]... [--seed 1] [--slices-per-s 5000] [--keep DIR]

A real broker, two gateways, a worker, the sink, the engine behind the native protocol, and a fleet in a process of its
own that reports without a pause from the first fault to the last. Each fault is injected five times (--quick: once) in
an order that follows from the seed. After each the ledger must be balanced, without lost, pending or double requests,
and equal, boot by boot, to what the boxes counted; everything acknowledged must be in it. At the end boxes send what
they hold, and history's minutes are compared with the simulator's truth, with an embedded run of the same fleet
without faults, and with the last revisions of the streams.

Writes results/faults.json (not with --quick or --only). Exit code 0: everything held; 1: something did not, or could
not be run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import write_result
from benchmarks.faults.client import LoadClient, devices_for, fill_registry
from benchmarks.faults.compare import EmbeddedRun, unequal_minutes, wait_for_streams, wait_for_truth
from benchmarks.faults.scenario import BOOKS, NAMES, Result, Scenario
from benchmarks.faults.table import figures, text
from benchmarks.faults.watch import Watch, wait_for_store
from contracts.protocols import StoreError
from simulator.sender import wall_ms
from tests.e2e.cluster import Cluster, ClusterError, end_on_sigterm
from tests.services.kafka import BrokerError

ROUNDS, STOP_S = 5, 120.0
QUICK_STOP_S = 30.0
STEADY_DEADLINE_S = 90.0
LATE_S = 2.0
TOO_BUSY = ": the machine is too busy for this load, and data grow old before they reach the cluster"


class Progress:
    """Lines on standard error with the time since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        seconds = time.monotonic() - self._began
        print(f"[{seconds // 60:3.0f}:{seconds % 60:02.0f}] {line}", file=sys.stderr, flush=True)


def run(options: argparse.Namespace, folder: Path, say: Progress) -> tuple[dict[str, Any], list[Result]]:
    """The whole run; its figures and the results fault by fault."""
    devices = devices_for(options.slices_per_s, options.seed)
    stop_s = QUICK_STOP_S if options.quick else STOP_S
    say(f"starting a cluster for {devices} boxes")
    results: list[Result] = []
    cluster = Cluster(
        folder, dashboards=False, prepare=lambda e: fill_registry(e, devices, options.seed), say=lambda n: say(f"  {n}")
    )
    with cluster:
        gateways = [member.boxes for member in cluster.of("gateway")]
        with (
            LoadClient(folder, devices, options.seed, gateways) as load,
            EmbeddedRun(load.world, folder) as embedded,
        ):
            with Watch(cluster) as watch:
                since = load.world.start_ms
                if watch.wait_good(since, STEADY_DEADLINE_S + max(0, since - wall_ms()) / 1_000) is None:
                    raise ClusterError(f"no steady state before the first fault: {watch.last()}")
                say(f"steady: {watch.last()}")
                scenario = Scenario(cluster, load, watch, embedded, stop_s=stop_s, say=say)
                began, made = time.monotonic(), load.ask(do="status")["slices_made"]
                for name in scenario.order(1 if options.quick else ROUNDS, options.seed, options.only):
                    number = 1 + sum(result.fault == name for result in results)
                    results.append(scenario.run(name, number))
                    say(f"  {told(results[-1])}")
                status = load.ask(do="status")
                rate = (status["slices_made"] - made) / (time.monotonic() - began)
            end = finish(cluster, load, embedded, say)
    slices = {"slices_per_s": round(rate), "slices": status["slices_made"], "devices": devices}
    sent = {name: status[name] for name in ("answers", "moved", "withheld", "answer_ms", "late_ms")}
    return {"seed": options.seed, **slices, "fleet": sent, "faults": figures(results), "end": end}, results


def told(result: Result) -> str:
    """A fault's outcome in a line."""
    recovery, settled = ("never" if s is None else f"{s:.1f} s" for s in (result.recovery_s, result.settled_s))
    line = f"recovered {recovery}, books complete {settled}"
    if result.detail:
        line += ", " + ", ".join(f"{name} {value:g}" for name, value in result.detail.items())
    return line + "".join(f"\n        {text}" for text in result.differences)


def finish(cluster: Cluster, load: LoadClient, embedded: EmbeddedRun, say: Progress) -> dict[str, Any]:
    """No more traffic; compare everything with everything."""
    say("the load ends, boxes send what they hold")
    truth, intervals = load.finish()
    embedded.end(intervals)
    store = wait_for_store(cluster.engine.url)
    try:
        books, minutes, differences = wait_for_truth(store, truth)
        say(f"history against the truth: {len(differences)} differences in {len(minutes)} minutes")
        say("waiting for the embedded run of the same fleet")
        expected, embedded_differences = embedded.result()
        unequal = unequal_minutes(expected, minutes)
        say(f"history against the embedded run: {len(unequal)} differences in {len(expected)} minutes")
        say("waiting until the streams have closed the last minute")
        counts, unequal_streams = wait_for_streams(store, minutes)
        say(f"streams against history: {counts}")
    finally:
        store.close()
    ledger = {name: books[name] for name in ("requests", "slices", "devices", "balanced")}
    return {
        "ledger": ledger,
        "customer_minutes": len(minutes),
        "different_from_truth": differences,
        "different_from_embedded_run": unequal,
        "embedded_run_from_truth": embedded_differences,
        "streams": counts,
        "streams_different": unequal_streams,
    }


def held(found: dict[str, Any], results: list[Result]) -> bool:
    """Whether everything that is promised held."""
    end = found["end"]
    names = ("different_from_truth", "different_from_embedded_run", "embedded_run_from_truth", "streams_different")
    zeros = not any(end["ledger"][what][term] for what in ("requests", "slices") for term in BOOKS)
    compared = end["streams"]["minutes"] == end["customer_minutes"] > 0
    clean = all(r.clean and not r.differences for r in results)
    return clean and zeros and compared and not any(end[name] for name in names)


def report(found: dict[str, Any]) -> None:
    """The table, and the end of the run."""
    end = found["end"]
    print(text(found["faults"]))
    for row in found["faults"]:
        for difference in row["differences"]:
            print(f"{row['fault']}: {difference}")
    print(f"load: {found['slices_per_s']} slices/s from {found['devices']} boxes, {found['slices']} slices")
    late_s = found["fleet"]["late_ms"]["p95"] / 1_000
    print(f"boxes sent p95 {late_s:.1f} s later than they wanted to{TOO_BUSY if late_s > LATE_S else ''}")
    minutes, streams = end["customer_minutes"], end["streams"]
    compared = f"{streams['minutes']} of {minutes} customer minutes compared"
    for name, what, size in (
        ("different_from_truth", "history's minutes equal to the simulator's truth", f"{minutes} customer minutes"),
        ("different_from_embedded_run", "history's minutes equal to the embedded run", f"{minutes} customer minutes"),
        ("streams_different", "last revisions of quality.minutes equal to history", compared),
    ):
        print(f"{what}: {'NO' if end[name] else 'yes'} ({size})")
        for difference in end[name][:10]:
            print(f"  {difference}")


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="each fault once, everything stopped for 30 s only")
    parser.add_argument(
        "--only",
        action="append",
        metavar="WORDS",
        default=[],
        help="faults whose name has these words; may be repeated",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the fleet and of the order (%(default)s)")
    parser.add_argument("--slices-per-s", type=float, default=5_000.0, help="load (%(default)s)")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="data and logs go here and stay, instead of a temporary folder"
    )
    options = parser.parse_args()
    if options.keep is not None and options.keep.exists() and any(options.keep.iterdir()):
        parser.error(f"--keep: expected a new or empty folder, got {options.keep}")
    unknown = [words for words in options.only if not any(words in name for name in NAMES)]
    if unknown:
        parser.error(f"--only: expected words of one of {', '.join(NAMES)}; got {', '.join(unknown)}")
    end_on_sigterm()
    say = Progress()
    with tempfile.TemporaryDirectory(prefix="dipper-faults-") as temporary:
        folder = (options.keep or Path(temporary)).absolute()
        try:
            found, results = run(options, folder, say)
        except (ClusterError, BrokerError, StoreError) as error:
            print(f"faults: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    report(found)
    if not (options.quick or options.only):
        packages = ["chdb", "clickhouse-driver", "faust-streaming", "kafka-python", "numpy", "pyarrow"]
        write_result("faults", found, packages)
    return 0 if held(found, results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
