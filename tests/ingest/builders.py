"""Reports, a registry in memory, and a gateway that runs without sockets and without wall time."""

import asyncio
import gzip
import itertools

import pyarrow as pa

from contracts import arrow, auth
from contracts.columns import COUNT_NAMES, REJECTED, REPORTS, SLICE_DIMENSIONS, SLICES, TABLES
from contracts.entities import Customer, DeviceAttributes
from contracts.errors import ContractError
from contracts.protocols import DeviceKey
from contracts.report import Histograms, Report, Slices, Totals, encode
from ingest.gateway import Gateway, GatewaySettings
from ingest.heartbeats import is_heartbeat
from ingest.http import call
from ingest.log import EmbeddedLog

NOW = 1_700_000_005_000
START = 1_699_999_990_000
KEY = bytes(range(32))
OPERATOR_TOKEN = "operator-token"
TABLE_OF = {"telemetry.reports": REPORTS, "telemetry.slices": SLICES, "telemetry.rejected": REJECTED}


class MemoryRegistry:
    """contracts.protocols.Registry and what the gateway asks beside it, in dictionaries."""

    def __init__(self, devices=("d-1",), customers=("acme", "bolt")):
        self.device_keys = {d: [DeviceKey("k1", KEY)] for d in devices}
        self.rows = {d: [DeviceAttributes(0, "isp-a", "north", "full-cone", "c1", 30.0)] for d in devices}
        self.known = {c: Customer(c, c.title()) for c in customers}
        self.tokens = {"token-1": "d-new"}
        self.changes = 0

    def keys(self, device):
        return self.device_keys.get(device, ())

    def attributes(self, device, at_ms):
        rows = self.rows.get(device)
        if not rows:
            return None
        return max((r for r in rows if r.valid_from <= at_ms), key=lambda r: r.valid_from, default=rows[0])

    def customer(self, customer_id):
        return self.known.get(customer_id)

    def customers(self):
        return tuple(self.known.values())

    def rules(self):
        return ()

    def version(self):
        return self.changes

    def enroll(self, device, token, now):
        if self.tokens.get(token) != device:
            raise ContractError("bad_token", "token", "an unused token", "another")
        del self.tokens[token]
        key = DeviceKey("k1", b"\x07" * 32)
        self.device_keys[device] = [key]
        return key

    def check_api_token(self, token, scope):
        return "ops" if token == OPERATOR_TOKEN and scope == "changes:write" else None


def make_slices(*requests, customer="acme", **overrides):
    """One row per number of requests; `customer`: of all rows or one per row; `overrides`: columns."""
    rows = len(requests)
    dimensions = {n: [f"{n}-1"] * rows for n in SLICE_DIMENSIONS} | {
        "customer": [customer] * rows if isinstance(customer, str) else customer
    }
    counts = {n: [0] * rows for n in COUNT_NAMES}
    counts |= {"requests": list(requests), "s2xx": list(requests), "bytes": [r * 1_000 for r in requests]}
    histograms = {
        "latency": Histograms([1] * rows, [40] * rows, list(requests)),
        "throughput": Histograms([1] * rows, [80] * rows, list(requests)),
    }
    for name, values in overrides.items():
        home = dimensions if name in dimensions else counts if name in counts else histograms
        assert name in home
        home[name] = values
    return Slices(dimensions, counts, histograms)


def make_report(seq=1, *requests, **overrides):
    """A valid report whose totals assume that every earlier seq carried the same."""
    slices = overrides.pop("slices", None)
    if slices is None:
        slices = make_slices(*(requests or (3, 5)))
    carried = sum(slices.counts["requests"])
    fields = {
        "device": "d-1",
        "boot": "boot-1",
        "seq": seq,
        "start": START,
        "end": START + 10_000,
        "oldest_spooled_seq": seq,
        "model": "m1",
        "firmware": "fw-1.0",
        "agent": "0.1.0",
        "totals": Totals(carried * seq, len(slices) * seq),
        "vitals": {"load1": 0.5},
        "slices": slices,
    }
    return Report(**{**fields, **overrides})


def body_of(report):
    return gzip.compress(encode(report), mtime=0)


def signed(body, *, device="d-1", boot="boot-1", seq=1, sent_at=NOW, key=KEY, **extra):
    headers = auth.headers_for(key, device, boot, seq, sent_at, body)
    return {**headers, "content-type": "application/json", "content-encoding": "gzip", **extra}


class House:
    """A gateway on a log in a folder, driven by hand. Not thread-safe."""

    def __init__(self, folder, registry=None, now=NOW, **settings):
        self.time = now
        self.registry = registry or MemoryRegistry()
        self.log = EmbeddedLog(folder / "log", group_commit_ms=0, min_free_bytes=0)
        self.settings = GatewaySettings(**{"manual": True, "requests_burst": 1e6, "bytes_burst": 1e9, **settings})
        self.gateway = Gateway(self.log, self.registry, self.settings, lambda: self.time)
        self.app = self.gateway  # what requests are given to

    def run(self, coroutine):
        async def main():
            await self.gateway.start()
            return await coroutine

        return asyncio.run(main())

    async def request(self, method, path, headers=None, body=b""):
        """Send one request, flushing until it is answered."""
        task = asyncio.ensure_future(call(self.app, method, path, headers, body))
        for _ in itertools.count():
            await asyncio.sleep(0)
            if task.done():
                return task.result()
            await self.gateway.flush()
            await asyncio.sleep(0.001)
        raise AssertionError("unreachable")

    async def post_all(self, *pairs):
        """Send several signed bodies at once and flush once they wait; returns the answers in order."""
        tasks = [asyncio.ensure_future(call(self.gateway, "POST", "/v1/telemetry", h, b)) for h, b in pairs]
        while not all(t.done() for t in tasks):
            await asyncio.sleep(0)
            await self.gateway.flush()
        return [t.result() for t in tasks]

    def post(self, body, headers=None, path="/v1/telemetry"):
        return self.run(self.request("POST", path, signed(body) if headers is None else headers, body))

    def send(self, report, **signing):
        body = body_of(report)
        names = {"device": report.device, "boot": report.boot, "seq": report.seq}
        return self.post(body, signed(body, **{**names, **signing}))

    def records(self, topic):
        reader = self.log.reader({(topic, p): o for p, o in enumerate(self.log.start_offsets(topic))})
        found = []
        while got := reader.poll(1_000, 0):
            found += got
        reader.close()
        return found

    def rows(self, topic, table=None):
        """Rows of a telemetry topic as dicts, heartbeats skipped."""
        found = []
        for record in self.records(topic):
            kind = record.headers.get("kind")
            if is_heartbeat(record) or (table is not None and kind != table):
                continue
            columns = TABLES[table] if table else TABLE_OF[topic]
            found += arrow.from_bytes(columns, record.value, pa).to_pylist()
        return found

    def close(self):
        asyncio.run(self.gateway.stop())
        self.log.close()
