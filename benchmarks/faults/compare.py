"""The end of a run: everything is stored, and equal to the simulator's truth, to the embedded run, to the streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from benchmarks.faults.client import ROOT, World
from benchmarks.faults.load import MOST_MINUTES
from contracts.columns import COUNT_NAMES
from contracts.protocols import Store
from contracts.times import ALLOWED_LATENESS_MS, DAY_MS, MINUTE_MS, WATERMARK_DELAY_MS, rfc3339
from history.ledger import ledger
from history.query_minutes import minute_counts
from simulator.sender import wall_ms
from simulator.truth import compare_ledger, compare_minutes

DRAIN_DEADLINE_S = 300.0
LOOK_EVERY_S = 3.0
STREAMS_DEADLINE_MS = 60_000
EMBEDDED_DEADLINE_S = 3 * 3600.0
MOST_NAMED = 20
# From a minute's start until its last revision is in history: it ends, closes, is emitted, and is stored.
CLOSES_MS = MINUTE_MS + WATERMARK_DELAY_MS + ALLOWED_LATENESS_MS + 30_000

Minutes = dict[tuple[str, str, int], dict[str, int]]

_STREAM = f"""SELECT customer, service, minute, late_requests, {", ".join(COUNT_NAMES)} FROM stream_minutes FINAL
ORDER BY customer, service, minute"""


def wait_for_truth(store: Store, truth: Mapping[str, Any]) -> tuple[dict[str, Any], Minutes, list[str]]:
    """The ledger and history's minutes once they equal the truth, or as they stand at the deadline; what differs."""
    end = time.monotonic() + DRAIN_DEADLINE_S
    while True:
        books = ledger(store, wall_ms()).to_json()
        minutes = minute_counts(store, 0, wall_ms() + DAY_MS)
        _, differences = compare_ledger(truth["ledger"], books)
        _, unequal = compare_minutes(truth["minutes"], minutes)
        differences += unequal
        if not books["balanced"]:
            differences.append("the ledger is not balanced")
        if not differences or time.monotonic() > end:
            return books, minutes, differences
        time.sleep(LOOK_EVERY_S)


class EmbeddedRun:
    """The same fleet through the embedded pipeline, undisturbed, as fast as it goes, in a process of its own. It works
    only while allowed to, so that it takes nothing from a cluster that is being measured."""

    def __init__(self, world: World, folder: Path) -> None:
        self._out = folder / "embedded.json"
        self._log = folder / "embedded.log"
        command = [sys.executable, "-m", "benchmarks.faults.compare", *world.arguments(), str(self._out)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log)

    def allow(self, intervals: int) -> None:
        """Let it work on intervals before this one."""
        self._tell({"upto": intervals})

    def pause(self) -> None:
        """No further interval is begun."""
        self._tell({"upto": 0})

    def end(self, intervals: int) -> None:
        """So many intervals are all there are."""
        self._tell({"upto": intervals, "end": intervals})

    def _tell(self, command: dict[str, int]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `result` says why it ended
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()

    def result(self) -> tuple[Minutes, list[str]]:
        """Its minutes, and how they differ from the simulator's own count."""
        if self._process.wait(EMBEDDED_DEADLINE_S) not in (0, 1) or not self._out.exists():
            return {}, [f"the embedded run failed: {self._log.read_text(errors='replace')[-2_000:]}"]
        document = json.loads(self._out.read_text())
        return {(c, s, minute): counts for c, s, minute, counts in document["minutes"]}, document["differences"]

    def close(self) -> None:
        """End it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def unequal_minutes(embedded: Minutes, cluster: Minutes) -> list[str]:
    """Differences of two histories, of both ways."""
    _, differences = compare_minutes(embedded, cluster)
    return [text.replace(" generated", " embedded").replace(" in history", " in the cluster") for text in differences]


def wait_for_streams(store: Store, minutes: Minutes) -> tuple[dict[str, int], list[str]]:
    """`stream_differences` of all minutes, once the youngest has closed and they equal history, or as they stand at the
    deadline after that. Gateways must still run: their heartbeats move the watermarks of idle partitions."""
    closed_at = max((minute for _, _, minute in minutes), default=0) + CLOSES_MS
    deadline_ms = max(closed_at, wall_ms()) + STREAMS_DEADLINE_MS
    while True:
        now = wall_ms()
        if now >= closed_at:
            counts, differences = stream_differences(store, minutes, now)
            if not differences or now > deadline_ms:
                return counts, differences
        time.sleep(LOOK_EVERY_S)


def stream_differences(store: Store, minutes: Minutes, now: int) -> tuple[dict[str, int], list[str]]:
    """The streams' last revisions against history, of minutes that have closed: equal where nothing was late; where
    something was, what is missing is at most what they said was late (repeated late reports count again). Counts, and
    sentences."""
    rows = store.query(_STREAM)
    told: Minutes = {}
    for i, key in enumerate(zip(rows["customer"], rows["service"], rows["minute"], strict=True)):
        told[key] = {name: rows[name][i] for name in (*COUNT_NAMES, "late_requests")}
    closed = {key for key in minutes.keys() | told.keys() if key[2] + CLOSES_MS <= now}
    nothing = dict.fromkeys((*COUNT_NAMES, "late_requests"), 0)
    differences = []
    late = 0
    for key in sorted(closed):
        stream, history = told.get(key, nothing), minutes.get(key, nothing)
        late += stream["late_requests"] > 0
        if not _same(stream, history):
            customer, service, minute = key
            differences.append(
                f"{customer} {service} {rfc3339(minute)}: the stream has {stream['requests']} requests and"
                f" {stream['late_requests']} late, history {history['requests']}"
            )
    counts = {
        "minutes": len(closed & minutes.keys()),
        "not_closed_yet": len(minutes.keys() - closed),
        "with_late_requests": late,
    }
    return counts | {"unequal": len(differences)}, differences[:MOST_NAMED]


def _same(stream: Mapping[str, int], history: Mapping[str, int]) -> bool:
    if stream["late_requests"]:
        return 0 <= history["requests"] - stream["requests"] <= stream["late_requests"]
    return all(stream[name] == history[name] for name in COUNT_NAMES)


class Orders:
    """What standard input allows: lines of {"upto": N}, and in the end {"upto": N, "end": N}."""

    def __init__(self) -> None:
        self._upto = 0
        self._end: int | None = None
        self._changed = threading.Condition()

    def listen(self) -> None:
        """Take them up until standard input closes, which ends the run."""
        for line in sys.stdin:
            command = json.loads(line)
            with self._changed:
                self._upto, self._end = command["upto"], command.get("end")
                self._changed.notify()
        with self._changed:
            self._end = self._end or 0
            self._changed.notify()

    def wait(self, interval: int) -> bool:
        """Until an interval may be begun; False when there is none."""
        with self._changed:
            self._changed.wait_for(lambda: interval < self._upto or self._end is not None)
            return self._end is None or interval < self._end

    async def go_on(self, interval: int) -> bool:
        """As the simulation asks."""
        return await asyncio.to_thread(self.wait, interval)


def main() -> int:
    """The embedded run: `python -m benchmarks.faults.compare --devices .. OUT`, orders on standard input."""
    import argparse

    from benchmarks.soak_load import settings_of
    from dipper.demo_once import run_once
    from dipper.settings import load_policy

    parser = argparse.ArgumentParser(description="The fleet through the embedded pipeline; OUT gets its minutes.")
    for name in ("devices", "customers", "seed", "start-ms"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("out", type=Path)
    a = parser.parse_args()
    orders = Orders()
    threading.Thread(target=orders.listen, name="orders", daemon=True).start()
    settings = settings_of(a.devices, a.customers, a.seed, a.start_ms, MOST_MINUTES)
    with tempfile.TemporaryDirectory(prefix="embedded-", dir=a.out.parent) as folder:
        outcome = run_once(settings, load_policy(), Path(folder), orders.go_on)
    document = {
        "minutes": [[*key, counts] for key, counts in outcome.minutes.items()],
        "differences": outcome.differences,
    }
    a.out.write_text(json.dumps(document))
    return 0 if outcome.clean else 1


if __name__ == "__main__":
    raise SystemExit(main())
