"""`make cluster`: broker, engine, gateways, worker, sink, triage, health, feed, pages, a simulated fleet as processes;
one Ctrl-C ends all.

    python -m tools.cluster [--devices 300] [--seed 7] [--gateways 1] [--workers 1] [--no-fleet] [--keep DIR]

The same pages on the same simulated fleet as `make demo`, but from now on, without a past and without a scheduler that
obeys the feed, and through Kafka, Faust and the engine behind ClickHouse's native protocol (tests/services/clickhouse,
in place of a server). Everything listens on 127.0.0.1 only. Logs of all processes appear here, each line with its
process; with --keep they stay in DIR, as do the data. As in the demo the detector says something after ten minutes: the
simulated network has less past than a real one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Self, TextIO

from contracts.protocols import StoreError
from dipper import demo_levels
from dipper.clock import wall_clock
from dipper.demo_incidents import WARM_UP_MINUTES
from dipper.fleet import ILL_BOXES_PER_HOUR
from history import open_store
from simulator.settings import Settings
from simulator.world import build_world
from tests.e2e.cluster import Cluster, ClusterError, Member, end_on_sigterm, undisturbed
from tests.services.kafka import BrokerError

COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
LOOK_EVERY_S = 0.2
WATCH_EVERY_S = 1.0
NAME_WIDTH = 11
UP = "everything is up; stop with Ctrl-C"
OWN_HINT = "stop with Ctrl-C"  # each process says so when it is ready; here one Ctrl-C is for all
TROUBLE = re.compile(r"\b(ERROR|FATAL)\b")  # a lone broker warns of its own beginning and end


class Follower:
    """Copies what processes write into their log files to a stream, line by line with the name in front."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._colour = out.isatty() and not os.environ.get("NO_COLOR")
        self._files: dict[str, tuple[Path, bool]] = {}
        self._read: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)

    def add(self, name: str, log: Path, *, trouble_only: bool = False) -> None:
        """Follow a file, which may not exist yet; `trouble_only`: errors."""
        self._files = {**self._files, name: (log, trouble_only)}

    def say(self, line: str, name: str = "cluster") -> None:
        """A line of our own."""
        number = COLOURS[list(self._files).index(name) % len(COLOURS)] if name in self._files else 1
        label = f"{name:<{NAME_WIDTH}}"
        self._out.write(f"\x1b[{number}m{label}\x1b[0m {line}\n" if self._colour else f"{label} {line}\n")
        self._out.flush()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            self._look()

    def _look(self) -> None:
        for name, (log, trouble_only) in self._files.items():
            with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
                file.seek(self._read.get(name, 0))
                whole, newline, _ = file.read().rpartition(b"\n")
                self._read[name] = self._read.get(name, 0) + len(whole) + len(newline)
                for line in whole.decode(errors="replace").splitlines():
                    if line and line.strip() != OWN_HINT and (not trouble_only or TROUBLE.search(line)):
                        self.say(line, name)


def fleet_of(cluster: Cluster, options: argparse.Namespace) -> Member:
    """The simulated fleet as a member that has no health of its own."""
    command = ["fleet", "--devices", str(options.devices), "--customers", str(options.customers)]
    command += ["--seed", str(options.seed), "--fault-rate", str(options.fault_rate), "--minutes", str(24 * 60)]
    command += ["--ill-boxes", str(ILL_BOXES_PER_HOUR)]
    for gateway in cluster.of("gateway"):
        command += ["--gateway", gateway.boxes]
    return Member("fleet", command, cluster.folder, cluster.environment)


def promise(cluster: Cluster, options: argparse.Namespace) -> None:
    """Service levels of the fleet's customers, as in the demo."""
    world = build_world(options.seed, options.devices, options.customers)
    store = open_store(cluster.engine.url)
    try:
        demo_levels.promise(store, world.customers, wall_clock())
    finally:
        store.close()


def demo_policy(folder: Path) -> Path:
    """A file with what a demo's policy says differently."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "policy.toml"
    file.write_text(f"[detector]\nwarm_up_minutes = {WARM_UP_MINUTES}\n", encoding="utf-8")
    return file


def addresses(cluster: Cluster) -> list[str]:
    """Where everything is."""
    lines = [f"pages       {cluster.members['dashboards'].url}"]
    lines += [f"boxes       {member.boxes}/v1/telemetry  ({member.name})" for member in cluster.of("gateway")]
    lines.append(f"feed        {cluster.members['feed-1'].boxes}/v1/health/devices")
    lines += [f"metrics     {member.url}/metrics  ({member.name})" for member in cluster.members.values()]
    lines.append(f"kafka       {','.join(cluster.broker.settings.brokers)}")
    lines.append(f"folder      {cluster.folder}")
    return lines


def serve(cluster: Cluster, follower: Follower, fleet: Member | None) -> None:
    """Until Ctrl-C. A process that ends by itself is said so once, with its exit code; the others go on."""
    gone: set[str] = set()
    while True:
        for member in (*cluster.wanted(), *([fleet] if fleet else [])):
            if not member.running and member.name not in gone:
                gone.add(member.name)
                follower.say(f"ended by itself, exit code {member.exit_code}", member.name)
        time.sleep(WATCH_EVERY_S)


def run(options: argparse.Namespace, folder: Path, follower: Follower) -> None:
    """Start, show, serve."""
    follower.add("broker", folder / "kafka" / "node-1" / "server.log", trouble_only=True)
    follower.add("engine", folder / "clickhouse" / "server.log")

    def starting(name: str) -> None:
        if name not in ("broker", "engine"):
            follower.add(name, folder / f"{name}.log")
        follower.say("starting", name)

    with Cluster(
        folder,
        gateways=options.gateways,
        workers=options.workers,
        jobs=True,
        settings={"DIPPER_POLICY": str(demo_policy(folder))},
        say=starting,
    ) as cluster:
        fleet = None
        try:
            if options.fleet:
                promise(cluster, options)
                fleet = fleet_of(cluster, options)
                starting(fleet.name)
                fleet.launch()
            for line in addresses(cluster):
                follower.say(line)
            follower.say(UP)
            serve(cluster, follower, fleet)
        finally:
            follower.say("stopping: fleet, gateways, workers, triage and health, feed, sink and pages, engine, broker")
            if fleet is not None:
                with undisturbed():
                    fleet.stop()


def main() -> int:
    """Exit code 0 after Ctrl-C, 1 with a sentence when it could not be started."""
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m tools.cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", type=int, default=default.devices, help="boxes (%(default)s)")
    parser.add_argument("--customers", type=int, default=default.customers, help="customers (%(default)s)")
    parser.add_argument("--seed", type=int, default=default.seed, help="same seed, same fleet (%(default)s)")
    parser.add_argument(
        "--fault-rate",
        type=float,
        default=default.faults_per_hour,
        metavar="PER_HOUR",
        help="of the network (%(default)s)",
    )
    parser.add_argument("--gateways", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--no-fleet", dest="fleet", action="store_false", help="without a simulated fleet")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="data and logs go here and stay")
    options = parser.parse_args()
    end_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="dipper-cluster-") as temporary, Follower(sys.stderr) as follower:
        try:
            run(options, (options.keep or Path(temporary)).absolute(), follower)
        except KeyboardInterrupt:
            return 0
        except (ClusterError, BrokerError, StoreError, RuntimeError) as error:
            follower.say(str(error))
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
