"""Device reports per second through the gateway on one core: HTTP, authentication, validation, durable append.

    python -m benchmarks.gateway --seed 1 [--reports 30000] [--devices 1000] [--slices 10] [--http h11] [--kafka]

A uvicorn server with the SQLite registry and the embedded log runs in a process of its own, held to one core with all
its threads; the load generator has another core. Each device has one keep-alive connection and sends its next report
when the last was answered, as fast as that goes. Bodies are made, compressed and signed before the clock starts.
Afterwards the log is read back: every report that was answered `stored` must be there, slice by slice, or there is no
result. `server_cpu_us_per_report` counts the server's CPU time between first request and last answer: on a machine
that others use too it says more than `reports_per_s`. With `--kafka` the log is a real broker of one node, which shares
the load generator's core; the broker's work is not the gateway's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import multiprocessing
import os
import random
import resource
import socket
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow as pa
import uvicorn

from benchmarks.common import write_result
from contracts import arrow, auth
from contracts.columns import COUNT_NAMES, SLICE_DIMENSIONS, SLICES
from contracts.entities import Customer, DeviceAttributes
from contracts.kafka import KafkaSettings
from contracts.protocols import Log
from contracts.report import Histograms, Report, Slices, Totals, encode
from contracts.times import GRID_MS
from ingest.gateway import Gateway, GatewaySettings
from ingest.heartbeats import is_heartbeat
from ingest.log import EmbeddedLog
from ingest.log.kafka import KafkaLog
from ingest.log.kafka_topics import TopicPlan, apply
from ingest.registry import SqliteRegistry
from ingest.tuning import tune_gc

GOAL_PER_S = 2_500
SERVER_CORE, LOAD_CORE = 0, 1
CUSTOMERS = 20
TOPIC = "telemetry.slices"
GOAL_KAFKA_PER_S = 2_000
SEGMENTS = ("*.seg", f"{TOPIC}-*/*.log")  # of the embedded log (all topics), of Kafka
PARTITIONS = 4  # as the embedded log has


def wall_ms() -> int:
    """Now, ms UTC."""
    return time.time_ns() // 1_000_000


def histogram(draw: random.Random, requests: list[int]) -> Histograms:
    """A few neighbouring cells per row, as a row of 10 s of traffic has them."""
    lengths, cells, counts = [], [], []
    for total in requests:
        size = min(total, draw.randint(4, 9))
        lengths.append(size)
        cells += sorted(draw.sample(range(30, 80), size))
        counts += [1 + total - size, *[1] * (size - 1)]
    return Histograms(lengths, cells, counts)


def make_slices(draw: random.Random, rows: int) -> Slices:
    """Rows with skewed traffic and a few failures."""
    requests = [min(400, 1 + int(draw.paretovariate(1.2) * 4)) for _ in range(rows)]
    failed = [draw.random() < 0.2 for _ in range(rows)]
    counts = {n: [0] * rows for n in COUNT_NAMES}
    counts["requests"] = requests
    counts["s5xx"] = counts["f_server"] = [int(f) for f in failed]
    counts["s2xx"] = [r - f for r, f in zip(requests, failed, strict=True)]
    counts["bytes"] = [r * draw.randint(10_000, 2_000_000) for r in requests]
    counts["cache_hits"] = [r * 9 // 10 for r in requests]
    dimensions = {n: [f"{n}-{draw.randrange(12)}" for _ in range(rows)] for n in SLICE_DIMENSIONS}
    dimensions["customer"] = [f"customer-{draw.randrange(CUSTOMERS)}" for _ in range(rows)]
    return Slices(dimensions, counts, {"latency": histogram(draw, requests), "throughput": histogram(draw, requests)})


def make_requests(seed: int, device: str, key: bytes, count: int, rows: int, now: int) -> list[bytes]:
    """HTTP requests of consecutive reports of one device, ready to send."""
    draw = random.Random(f"{seed}/{device}")
    start = now - now % GRID_MS - GRID_MS * (count + 1)
    requests, carried = [], 0
    for seq in range(1, count + 1):
        slices = make_slices(draw, rows)
        carried += sum(slices.counts["requests"])
        at = start + seq * GRID_MS
        vitals = {"cpu_ratio": 0.2, "load1": 0.5, "memory_used_ratio": 0.6, "temperature_c": 51.0, "uptime_s": 1e5}
        report = Report(
            device, "boot-1", seq, at, at + GRID_MS, seq, "m1", "fw-1", "0.1.0", Totals(carried, rows * seq),
            vitals=vitals, slices=slices,
        )  # fmt: skip
        body = gzip.compress(encode(report), 6, mtime=0)
        headers = auth.headers_for(key, device, "boot-1", seq, now, body)
        lines = ["POST /v1/telemetry HTTP/1.1", "host: gateway", "content-type: application/json"]
        lines += ["content-encoding: gzip", f"content-length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
        requests.append("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    return requests


def open_log(folder: Path, kafka: KafkaSettings | None) -> EmbeddedLog | KafkaLog:
    """The log of this run."""
    return EmbeddedLog(folder / "log", partitions=PARTITIONS) if kafka is None else KafkaLog(kafka, client_id="bench")


def serve(
    folder: Path, http: str, loop: str, sock: socket.socket, control: Connection, kafka: KafkaSettings | None
) -> None:
    """The server process: until told to stop; then reports its CPU time and memory."""
    os.sched_setaffinity(0, {SERVER_CORE})
    registry = SqliteRegistry(folder / "registry.sqlite")
    log = open_log(folder, kafka)
    settings = GatewaySettings(requests_per_s=1e6, requests_burst=1e6, bytes_per_s=1e9, follow=kafka is not None)
    gateway = Gateway(log, registry, settings, wall_ms)
    config = uvicorn.Config(gateway, access_log=False, log_config=None, http=http, loop=loop, lifespan="on")  # type: ignore[arg-type]
    server = uvicorn.Server(config)

    def obey() -> None:
        control.recv()
        began = cpu_s()
        control.send(None)
        control.recv()
        control.send(
            {"cpu_s": cpu_s() - began, "rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}
        )
        server.should_exit = True

    async def main() -> None:
        tune_gc()
        obeying = asyncio.get_running_loop().run_in_executor(None, obey)
        await server.serve(sockets=[sock])
        await obeying

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(main())
    log.close()
    registry.close()


def cpu_s() -> float:
    """CPU time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Device(asyncio.Protocol):
    """Sends the next request when the last was answered."""

    def __init__(self, requests: list[bytes], done: asyncio.Future[None], answers: dict[bytes, int],
                 seconds: list[float]) -> None:  # fmt: skip
        self.requests = iter(requests)
        self.done, self.answers, self.seconds = done, answers, seconds
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.following()

    def following(self) -> None:
        """Send the next request, or end."""
        request = next(self.requests, None)
        if request is None:
            self.transport.close()
            self.done.set_result(None)
            return
        self.began = time.perf_counter()
        self.transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.received.endswith(b"}"):
            return  # head and body may come apart; every body is a JSON object
        data, self.received = self.received, b""
        self.seconds.append(time.perf_counter() - self.began)
        status = data[9:12] if b'"stored"' in data else b"not stored: " + data[9:12]
        self.answers[status] = self.answers.get(status, 0) + 1
        self.following()


async def drive(port: int, requests: list[list[bytes]]) -> tuple[float, dict[bytes, int], list[float]]:
    """Seconds, answers by status, seconds per answer."""
    loop = asyncio.get_running_loop()
    answers: dict[bytes, int] = {}
    seconds: list[float] = []
    ends = [loop.create_future() for _ in requests]
    began = time.perf_counter()
    for mine, end in zip(requests, ends, strict=True):
        await loop.create_connection(lambda m=mine, e=end: Device(m, e, answers, seconds), "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*ends)
    return time.perf_counter() - began, answers, seconds


def prepare(folder: Path, devices: int) -> dict[str, bytes]:
    """A registry with a fleet; returns keys."""
    now = wall_ms()
    with SqliteRegistry(folder / "registry.sqlite") as registry:
        registry.upsert_customers([Customer(f"customer-{i}", f"Customer {i}") for i in range(CUSTOMERS)])
        fleet = [
            (f"d-{i:05d}", DeviceAttributes(0, f"isp-{i % 5}", f"region-{i % 9}", "full-cone", "stable", 40.0))
            for i in range(devices)
        ]
        return {d: k.secret for d, k in registry.bulk_add_devices(fleet, now).items()}


def stored_rows(log: Log) -> int:
    """Slices of the log."""
    rows = 0
    ends = {(TOPIC, p): end for p, end in enumerate(log.end_offsets(TOPIC))}
    reader = log.reader(dict.fromkeys(ends, 0))
    while any(reader.positions()[place] < end for place, end in ends.items()):
        records = reader.poll(100, 1)
        rows += sum(arrow.from_bytes(SLICES, r.value, pa).num_rows for r in records if not is_heartbeat(r))
    reader.close()
    return rows


@contextlib.contextmanager
def kafka_for(folder: Path, wanted: bool) -> Iterator[KafkaSettings | None]:
    """A broker with the declared topics, or None."""
    if not wanted:
        yield None
        return
    from tests.services.kafka import Broker

    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {LOAD_CORE})  # its processes inherit it
    with Broker(folder / "log") as broker:
        os.sched_setaffinity(0, cores)
        apply(broker.settings, TopicPlan(partitions=PARTITIONS))
        yield broker.settings


def measure(folder: Path, arguments: argparse.Namespace, kafka: KafkaSettings | None) -> dict[str, object]:
    """One run."""
    keys = prepare(folder, arguments.devices)
    each = arguments.reports // arguments.devices
    now = wall_ms()
    requests = [make_requests(arguments.seed, d, k, each, arguments.slices, now) for d, k in keys.items()]
    count = each * len(keys)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(folder, arguments.http, arguments.loop, sock, theirs, kafka)
    )
    server.start()
    try:
        wait_for(sock.getsockname()[1], server)
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {LOAD_CORE})
        ours.send("begin")
        ours.recv()
        seconds, answers, each_s = asyncio.run(drive(sock.getsockname()[1], requests))
        os.sched_setaffinity(0, cores)
        ours.send("end")
        usage = ours.recv()
        server.join(30)
    finally:
        server.kill()
        sock.close()
    assert answers == {b"200": count}, f"expected {count} times 200 stored, got {answers}"
    with open_log(folder, kafka) as log:
        rows = stored_rows(log)
    size = sum(file.stat().st_size for kind in SEGMENTS for file in (folder / "log").rglob(kind))
    assert rows == count * arguments.slices, f"expected {count * arguments.slices} slices in the log, found {rows}"
    each_s.sort()
    return {
        "reports_per_s": round(count / seconds),
        "goal_per_s": GOAL_PER_S if kafka is None else GOAL_KAFKA_PER_S,
        "log": "embedded" if kafka is None else "kafka",
        "slices_per_report": arguments.slices,
        "reports": count,
        "connections": len(keys),
        "body_bytes_mean": round(sum(len(r) for m in requests for r in m) / count),
        "answer_ms": {"p50": round(each_s[count // 2] * 1e3, 1), "p99": round(each_s[count * 99 // 100] * 1e3, 1)},
        "server_cpu_s": round(usage["cpu_s"], 2),
        "server_cpu_us_per_report": round(usage["cpu_s"] / count * 1e6),
        "server_rss_mib": usage["rss_mib"],
        "log_bytes_per_slice": round(size / rows, 1),
        "http": arguments.http,
        "loop": arguments.loop,
        "seed": arguments.seed,
    }


def wait_for(port: int, server: multiprocessing.process.BaseProcess) -> None:
    """Until the server accepts; it must not die first."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.is_alive():
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server did not come up")


def main() -> None:
    """Run and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reports", type=int, default=30_000)
    parser.add_argument("--devices", type=int, default=1_000)
    parser.add_argument("--slices", type=int, default=10)
    parser.add_argument("--http", choices=["h11", "httptools"], default="h11")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--kafka", action="store_true", help="append to a Kafka broker instead of the embedded log")
    arguments = parser.parse_args()
    name = "gateway-kafka" if arguments.kafka else "gateway"
    packages = ["uvicorn", "h11", "msgspec", "numpy", "pyarrow", *(["kafka-python"] if arguments.kafka else [])]
    with tempfile.TemporaryDirectory() as folder, kafka_for(Path(folder), arguments.kafka) as kafka:
        figures = measure(Path(folder), arguments, kafka)
    write_result(name, figures, packages)


if __name__ == "__main__":
    main()
