"""The parent's side of benchmarks/faults/load.py: starts the fleet's process and gives it commands."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from benchmarks.soak import boxes_for
from benchmarks.soak_load import settings_of
from contracts.times import DEFAULT_INTERVAL_MS
from dipper import settings
from dipper.fleet import register
from dipper.registries import opened_registry
from history.ledger import Ledger
from simulator.sender import wall_ms
from simulator.settings import build_fleet
from tests.e2e.cluster import ClusterError

ROOT = Path(__file__).parent.parent.parent
CUSTOMERS = 20
LEAD_MS = 15_000  # the fleet builds its world meanwhile
ANSWER_DEADLINE_S = 60.0
FINISH_DEADLINE_S = 300.0


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """What names the fleet: the same numbers make the same traffic, here and in the embedded run."""

    devices: int
    seed: int
    start_ms: int
    customers: int = CUSTOMERS

    def arguments(self) -> list[str]:
        """As a command line."""
        return [
            *("--devices", str(self.devices), "--customers", str(self.customers)),
            *("--seed", str(self.seed), "--start-ms", str(self.start_ms)),
        ]


def devices_for(slices_per_s: float, seed: int) -> int:
    """How many boxes make at least so many slices per second; a little more, because traffic breathes."""
    return round(1.03 * boxes_for(slices_per_s, seed))


def fill_registry(environment: Mapping[str, str], devices: int, seed: int) -> None:
    """Register the world's boxes, customers and rules with a cluster, as its operators would before boxes come."""
    now = wall_ms() // DEFAULT_INTERVAL_MS * DEFAULT_INTERVAL_MS
    world = build_fleet(settings_of(devices, CUSTOMERS, seed, now, 1.0)).world
    with opened_registry(settings.from_environment(environment), "load") as registry:
        register(registry, world, now)


class LoadClient:
    """The fleet's process. Raises ClusterError with the end of its output when it is gone."""

    def __init__(self, folder: Path, devices: int, seed: int, gateways: Sequence[str]) -> None:
        start = (wall_ms() + LEAD_MS) // DEFAULT_INTERVAL_MS * DEFAULT_INTERVAL_MS
        self.world = World(devices, seed, start)
        self.log = folder / "load.log"
        self._folder = folder
        self._lock = threading.Lock()
        command = [sys.executable, "-m", "benchmarks.faults.load", *self.world.arguments(), *gateways]
        with self.log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def ask(self, **command: Any) -> Any:
        """Give a command and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            try:
                self._process.stdin.write(json.dumps(command).encode() + b"\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            except BrokenPipeError:
                line = b""
        if not line:
            raise ClusterError(f"the fleet ended:\n{self.log.read_text(errors='replace')[-3_000:]}")
        return json.loads(line)

    def mark(self) -> None:
        """From now on `differences` misses everything that is acknowledged by now and not in history."""
        self.ask(do="mark")

    def differences(self, ledger: Ledger) -> list[str]:
        """How a ledger differs from what boxes counted: sentences, the first of them."""
        boots = self._folder / "boots.json"
        boots.write_text(
            json.dumps(
                [
                    {"device": boot.device, "boot": boot.boot, "last_seq": boot.last_seq}
                    | {what: dataclasses.asdict(getattr(boot, what)) for what in ("requests", "slices")}
                    for boot in ledger.boots
                ]
            )
        )
        answer = self.ask(do="compare", boots=str(boots))
        found: list[str] = answer["differences"]
        if answer["count"] > len(found):
            found.append(f"and {answer['count'] - len(found)} more")
        return found

    def finish(self) -> tuple[dict[str, Any], int]:
        """End the traffic, wait until boxes hold nothing; the whole truth, and how many intervals there were."""
        out = self._folder / "truth.json"
        deadline = time.monotonic() + FINISH_DEADLINE_S
        while (answer := self.ask(do="finish", out=str(out)))["unsent"]:
            if time.monotonic() > deadline:
                held = answer["unsent"]
                raise ClusterError(f"boxes still hold {held} reports {FINISH_DEADLINE_S:.0f} s after the end")
            time.sleep(1.0)
        truth = json.loads(out.read_text())
        truth["minutes"] = {(c, s, minute): counts for c, s, minute, counts in truth["minutes"]}
        return truth, answer["intervals"]

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
