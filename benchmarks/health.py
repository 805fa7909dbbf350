"""Speed of the health job and of the scheduler's feed at the size of a large fleet.

    python -m benchmarks.health --seed 1 [--boxes 100000] [--minutes 6]

One process, one core for the scores: evidence of every box, placement of six customers per box, judging, records. A box
that is made ill must be the only one that is drained, or nothing is written. Then the feed over the same records:
bodies made anew (no cache), a delta, and subscribers over sockets of this machine, read by the same process that serves
them. Writes results/health.json and prints it.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pyarrow as pa
import uvicorn

from benchmarks.common import write_result
from contracts.arrow import batch
from contracts.columns import DEVICE_EVIDENCE
from contracts.health import BUDGET, DRAIN, Score, score_from_json
from contracts.times import MINUTE_MS
from feed.app import Feed, FeedSettings
from feed.book import Book, Entry, entry_of
from feed.render import ARROW, body, compressed
from simulator.asgi import call
from streams.health import HealthOperator

GOAL_SCORE_S, GOAL_MEMORY_MB, GOAL_SNAPSHOT_MS, GOAL_DELTA_MS, SUBSCRIBERS = 5.0, 500, 300, 20, 200
T0 = 1_767_600_000_000 // MINUTE_MS * MINUTE_MS
CUSTOMERS_PER_BOX, CUSTOMERS = 6, 40
E = 0.005
ILL = 7


def coded(codes: Any, prefix: str, n: int) -> Any:
    names = pa.array([f"{prefix}-{i}" for i in range(n)])
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), names)


class Fleet:
    """Boxes and their minutes."""

    def __init__(self, rng: np.random.Generator, boxes: int) -> None:
        self.rng, self.n = rng, boxes
        self.box = np.arange(boxes)
        self.attributes = {
            name: coded(rng.integers(0, k, boxes), name, k)
            for name, k in (
                ("model", 5),
                ("firmware", 12),
                ("device_isp", 4),
                ("device_region", 31),
                ("nat_type", 4),
                ("cohort", 3),
            )
        }
        self.devices = coded(self.box, "box", boxes)
        self.customers = rng.integers(0, CUSTOMERS, (CUSTOMERS_PER_BOX, boxes))

    def minute(self, operator: HealthOperator, at: int) -> None:
        """Evidence and placement of a minute."""
        requests = self.rng.poisson(60, self.n)
        failures = self.rng.binomial(requests, E)
        failures[ILL] = requests[ILL] // 3
        values = {
            "minute": np.full(self.n, T0 + at * MINUTE_MS), "device": self.devices, "part": np.zeros(self.n, np.int64),
            "revision": np.ones(self.n, np.int64), "requests": requests, "failures": failures,
            "expected_failures": requests * E, **self.attributes,
        }  # fmt: skip
        operator.evidence(batch(DEVICE_EVIDENCE, values, pa))
        codes = np.array([operator.placement.customers.of(f"c{i}") for i in range(CUSTOMERS)])
        for row in self.customers:
            operator.placement.add(self.box, codes[row], requests // CUSTOMERS_PER_BOX)


def score(fleet: Fleet, minutes: int) -> tuple[dict[str, Any], list[Entry]]:
    """Time each minute from evidence to records; the last state of every box as entries of the feed."""
    operator = HealthOperator()
    took, published = [], []
    newest: dict[str, bytes] = {}
    for at in range(minutes):
        began = time.process_time()
        fleet.minute(operator, at)
        records = operator.advance(T0 + (at + 1) * MINUTE_MS + 25_000)
        took.append(time.process_time() - began)
        published.append(len(records))
        newest.update((r.key.decode(), r.value) for r in records if r.headers["kind"] != BUDGET)
    entries = [entry_of(score_from_json(data), data) for data in newest.values()]
    drained = [e.score.device for e in entries if e.score.state == DRAIN]
    if drained != [f"box-{ILL}"]:
        raise SystemExit(f"expected box-{ILL} alone to be drained, got {drained[:10]}")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "minute_s_first": round(took[0], 2),
        "minute_s_max_after_first": round(max(took[1:]), 2),
        "published": published,
        "peak_memory_mb": round(peak_mb),
    }, entries


def best_ms(what: Callable[[], object], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        what()
        times.append(time.perf_counter() - began)
    return round(1000 * statistics.median(times), 1)


class Anybody:
    """Lets every token in."""

    def check_api_token(self, token: str, scope: str) -> str | None:
        return token + scope


def snapshots(entries: list[Entry]) -> dict[str, Any]:
    """Time what an answer takes to make, without what the cache would save."""
    book = Book()
    book.apply(entries)
    version = book.version
    seen = sorted(e.number for e in book.entries())[-1_000]
    full = body(list(book.entries()), version, 0, "application/json", "full", b"")
    if gzip.decompress(compressed(full)) != full:
        raise SystemExit("a snapshot differs after gzip")
    return {
        "json_full_ms": best_ms(lambda: body(list(book.entries()), version, 0, "application/json", "full", b"")),
        "json_brief_ms": best_ms(lambda: body(list(book.entries()), version, 0, "application/json", "brief", b"")),
        "json_brief_gzip_ms": best_ms(
            lambda: compressed(body(list(book.entries()), version, 0, "application/json", "brief", b""))
        ),
        "arrow_ms": best_ms(lambda: body(list(book.entries()), version, 0, ARROW, "full", b"")),
        "delta_of_1000_ms": best_ms(lambda: body(book.since(seen)[0], version, 0, "application/json", "full", b"")),
        "json_full_mb": round(len(full) / 1e6, 1),
        **asyncio.run(over_http(book)),
    }


SNAPSHOT = "/v1/health/devices"
CHANGED_AT_ONCE = 500  # as the follower applies them


async def asked(feed: Feed, path: str = SNAPSHOT) -> float:
    """Milliseconds of one request through the application, tokens and headers included."""
    began = time.perf_counter()
    headers = {"authorization": "Bearer x", "accept-encoding": "gzip"}
    status, _, body = await call(feed, "GET", path, headers)
    if status != 200 or len(body) < 1_000:
        raise SystemExit(f"expected a snapshot, got {status}")
    return 1000 * (time.perf_counter() - began)


async def over_http(book: Book) -> dict[str, Any]:
    """Snapshots through the application: made for the request, made ready before, and asked for in turns while a
    minute's third of all boxes changes."""
    feed = Feed(book, Anybody(), lambda: time.time_ns() // 1_000_000, lambda: True, FeedSettings(requests_burst=1e6))
    brief = f"{SNAPSHOT}?view=brief"
    made = [await asked(feed) for _ in range(1)] + [await asked(feed, brief) for _ in range(1)]
    ready = [await asked(feed, brief) for _ in range(20)]
    keeping = asyncio.create_task(feed.snapshots.keep())
    await asyncio.sleep(0)
    changes = [entry_of(score, score.to_json()) for score in renewed(book)]

    async def change() -> None:
        for begin in range(0, len(changes), CHANGED_AT_ONCE):
            book.apply(changes[begin : begin + CHANGED_AT_ONCE])
            feed.wake()
            await asyncio.sleep(0)

    changing = asyncio.create_task(change())
    under_load: list[float] = []
    while not changing.done() or len(under_load) < 20:
        under_load.append(await asked(feed, brief if len(under_load) % 2 else SNAPSHOT))
        await asyncio.sleep(0.02)
    keeping.cancel()
    await asyncio.gather(keeping, changing, return_exceptions=True)
    return {
        "http_gzip_full_made_ms": round(made[0], 1),
        "http_gzip_brief_made_ms": round(made[1], 1),
        "http_gzip_ready_ms": round(statistics.median(ready), 1),
        "http_gzip_while_changing_ms_p50": round(statistics.median(under_load), 1),
        "http_gzip_while_changing_ms_max": round(max(under_load), 1),
        "changed_meanwhile": len(changes),
    }


def renewed(book: Book) -> list[Score]:
    """A third of all boxes, written again."""
    scores = [e.score for e in list(book.entries())[::3]]
    newest = max(e.score.version for e in book.entries())
    return [replace(score, version=newest + 1 + i) for i, score in enumerate(scores)]


async def subscribers(entries: list[Entry], count: int) -> dict[str, Any]:
    """All subscribers get a minute's third of all boxes; the time until the last one has it."""
    book = Book()
    feed = Feed(book, Anybody(), lambda: T0, lambda: True, FeedSettings(requests_burst=1e6))
    config = uvicorn.Config(
        feed, port=0, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    rows = entries[: len(entries) // 30]
    last = rows[-1].score.device.encode()

    async def subscribe() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        writer.write(b"GET /v1/health/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\n\r\n")
        await reader.readuntil(b": version")
        return reader, writer

    async def until_last(reader: asyncio.StreamReader) -> int:
        size = 0
        while data := await reader.read(1 << 18):
            size += len(data)
            if b'"' + last + b'"' in data:
                return size
        raise SystemExit("a stream ended early")

    open_ = [await subscribe() for _ in range(count)]
    began = time.perf_counter()
    book.apply(rows)
    feed.wake()
    sizes = await asyncio.gather(*(until_last(reader) for reader, _ in open_))
    took = time.perf_counter() - began
    for _, writer in open_:
        writer.close()
    feed.streams.close()
    server.should_exit = True
    await serving
    return {
        "subscribers": count,
        "boxes_told": len(rows),
        "seconds_to_all": round(took, 2),
        "mb": round(sum(sizes) / 1e6),
    }


def main() -> int:
    """Run and write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.health", description=__doc__)
    parser.add_argument("--boxes", type=int, default=100_000)
    parser.add_argument("--minutes", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    scored, entries = score(Fleet(np.random.default_rng(arguments.seed), arguments.boxes), arguments.minutes)
    figures = {
        "boxes": arguments.boxes,
        "seed": arguments.seed,
        "scores": {**scored, "goal_s": GOAL_SCORE_S, "goal_memory_mb": GOAL_MEMORY_MB},
        "feed": {**snapshots(entries), "goal_snapshot_ms": GOAL_SNAPSHOT_MS, "goal_delta_ms": GOAL_DELTA_MS},
        "stream": asyncio.run(subscribers(entries, SUBSCRIBERS)),
    }
    write_result("health", figures, ("numpy", "pyarrow", "uvicorn"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
