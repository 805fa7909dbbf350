"""One worker on one core, Kafka to minutes, beside bytewax, Quix Streams and plain Faust on the same topic.

    python -m benchmarks.streams --seed 1 [--quick]

Each peer runs twice: row by row, as its documentation teaches, and with our decoder and kernel as its step, so that
engine and batching are told apart. Row by row it works through a twentieth of the fleet, the rate is per row. A result
that differs from the truth by one count ends the command. What each run includes: README.md. Writes
results/streams.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import write_result
from benchmarks.streams.backlog import Fleet, Message, Size
from benchmarks.streams.truth import Truth
from contracts.protocols import Record
from contracts.topics import DEVICE_EVIDENCE, QUALITY_CUBE, QUALITY_MEMORY, QUALITY_MINUTES, REJECTED, REPORTS, SLICES
from ingest.log.kafka import KafkaLog
from tests.services.kafka import Broker
from tests.services.kafka.topics import create_topics

ROOT = Path(__file__).parent.parent.parent
PEERS = ROOT / ".venv-peers" / "bin" / "python"
GOAL_ROWS_PER_S = 1_000_000
LONGEST_RUN_S = 300
OUTPUTS = tuple(t.name for t in (QUALITY_MINUTES, QUALITY_CUBE, DEVICE_EVIDENCE, QUALITY_MEMORY, REJECTED))


@dataclass(frozen=True, slots=True)
class Contestant:
    """One line of the table. `program`: benchmarks.streams.run_*; `short`: works through the short topic."""

    name: str
    program: str
    mode: str
    short: bool = False
    repeats: int = 3
    peers: bool = True


CONTESTANTS = (
    Contestant("dipper worker: minutes, cube, evidence, coverage", "run_ours", "worker", peers=False),
    Contestant("kernel alone, decoded rows, all dimensions", "run_ours", "kernel", peers=False),
    Contestant("plain loop, our reader, decoder and kernel", "run_ours", "loop", peers=False),
    Contestant("bytewax, row by row", "run_bytewax", "rows", short=True, repeats=1),
    Contestant("bytewax, our decoder and kernel", "run_bytewax", "batches"),
    Contestant("Quix Streams, row by row", "run_quixstreams", "rows", short=True, repeats=1),
    Contestant("Quix Streams, our decoder and kernel", "run_quixstreams", "batches", repeats=1),
    Contestant("Faust, row by row", "run_faust", "rows", short=True, repeats=1, peers=False),
    Contestant("Faust, our decoder and kernel", "run_faust", "batches", peers=False),
)


@dataclass(frozen=True, slots=True)
class Topic:
    """A backlog on Kafka and what must come of it."""

    prefix: str
    messages: int
    truth: Truth


def fill(broker: Broker, prefix: str, size: Size, seed: int) -> Topic:
    """Write a backlog."""
    _create(broker, [prefix + SLICES.name, prefix + REPORTS.name])
    truth, written = Truth(), 0
    with KafkaLog(broker.settings, client_id="bench-fill", prefix=prefix) as log:
        for part in Fleet(size, seed).messages():
            log.submit([_record(message) for message in part]).result()
            slices = [message.value for message in part if message.topic == SLICES.name]
            truth.add(value for value in slices if value)
            written += len(slices)
    return Topic(prefix, written, truth)


def _create(broker: Broker, names: Sequence[str]) -> None:
    # Event time lies years back: by age the broker would delete all of it.
    create_topics(broker.settings, dict.fromkeys(names, 1), retention_ms="-1")


def _record(message: Message) -> Record:
    return Record(message.topic, b"", message.value, message.timestamp_ms, message.partition, message.headers)


def run(contestant: Contestant, topic: Topic, broker: Broker, core: int, number: int) -> dict[str, Any]:
    """One timed run in a process of its own; proves its result. Raises SystemExit."""
    name = f"{contestant.program}-{contestant.mode}-{number}".replace("_", "-")
    if contestant.mode == "worker":
        _create(broker, [f"{topic.prefix}{name}.{output}" for output in OUTPUTS])
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        told = {
            "brokers": broker.settings.brokers[0],
            "topic": topic.prefix + SLICES.name,
            "prefix": topic.prefix,
            "messages": topic.messages,
            "mode": contestant.mode,
            "run": name,
            "folder": folder,
            "out": out,
            "core": core,
        }
        python = str(PEERS) if contestant.peers else sys.executable
        command = [python, "-m", f"benchmarks.streams.{contestant.program}"]
        command += [text for option, value in told.items() for text in (f"--{option}", str(value))]
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=_environment(),
                capture_output=True,
                text=True,
                timeout=LONGEST_RUN_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SystemExit(f"{contestant.name}: not done after {LONGEST_RUN_S} s") from None
        if done.returncode or not out.exists():
            raise SystemExit(f"{contestant.name}: failed\n{done.stderr[-4_000:]}")
        result: dict[str, Any] = json.loads(out.read_text())
    prove(contestant.name, result.pop("windows"), topic.truth.windows())
    return result


def _environment() -> dict[str, str]:
    # One core: libraries that count the machine's cores would start threads that only disturb each other.
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def prove(name: str, got: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raises SystemExit unless all minutes are equal."""
    if set(got) != set(expected):
        missing, extra = sorted(set(expected) - set(got)), sorted(set(got) - set(expected))
        raise SystemExit(
            f"{name}: {len(missing)} minutes missing {missing[:2]}, {len(extra)} that are none {extra[:2]}"
        )
    for key, state in expected.items():
        if got[key] != state:
            raise SystemExit(f"{name}: {key}: expected {state[:3]}, got {got[key][:3]}, or another histogram")


def measure(broker: Broker, core: int, full: Topic, short: Topic, repeats: int) -> list[dict[str, Any]]:
    """All contestants in turn."""
    lines = []
    for contestant in CONTESTANTS:
        topic = short if contestant.short else full
        times = [run(contestant, topic, broker, core, n) for n in range(min(repeats, contestant.repeats))]
        rows = topic.truth.rows
        wall_s, cpu_s = median(t["wall_s"] for t in times), median(t["cpu_s"] for t in times)
        line = {
            "name": contestant.name,
            "rows": rows,
            "runs": len(times),
            "rows_per_s": round(rows / wall_s),
            "cpu_s_per_million_rows": round(cpu_s / rows * 1e6, 3),
        }
        print(f"  {line['name']:<50} {line['rows_per_s']:>10,} rows/s", file=sys.stderr, flush=True)
        lines.append(line)
    return lines


def table(lines: Sequence[dict[str, Any]]) -> str:
    """For a README."""
    head = ("| what | slices/s | CPU s per million | rows |", "| --- | ---: | ---: | ---: |")
    body = [f"| {x['name']} | {x['rows_per_s']:,} | {x['cpu_s_per_million_rows']:.2f} | {x['rows']:,} |" for x in lines]
    return "\n".join([*head, *body])


def peer_versions() -> dict[str, str]:
    """Versions of what .venv-peers holds."""
    names = ("bytewax", "quixstreams", "confluent-kafka", "numpy", "pyarrow")
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names!r}}}))"
    found: dict[str, str] = json.loads(subprocess.check_output([str(PEERS), "-c", code], text=True))
    return found


def main() -> int:
    """Fill the topics, run everyone, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a smaller backlog, each once")
    arguments = parser.parse_args()
    if not PEERS.exists():
        raise SystemExit(f"{PEERS} is missing: run tools/setup.sh peers")
    *others, core = sorted(os.sched_getaffinity(0))
    if not others:
        raise SystemExit("two cores are needed: one for the worker, one for the broker")
    os.sched_setaffinity(0, set(others))  # the broker inherits it
    size = Size(minutes=2) if arguments.quick else Size()
    short = replace(size, boxes=size.boxes // (60 if arguments.quick else 20), minutes=3)
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder)) as broker:
        full = fill(broker, "full.", size, arguments.seed)
        few = fill(broker, "short.", short, arguments.seed)
        lines = measure(broker, core, full, few, repeats=1 if arguments.quick else 3)
    figures = {
        "seed": arguments.seed,
        "quick": arguments.quick,
        "boxes": size.boxes,
        "slices_per_report": size.slices,
        "minutes": size.minutes,
        "proven_equal": True,
        "runs": lines,
        "goal_rows_per_s": GOAL_ROWS_PER_S,
        "goal_met": lines[0]["rows_per_s"] >= GOAL_ROWS_PER_S,
        "peers": peer_versions(),
    }
    write_result("streams", figures, ("numpy", "pyarrow", "kafka-python", "faust-streaming", "aiokafka"))
    print(table(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
