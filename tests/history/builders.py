"""Builders for history's tests: a log in memory, a fleet that counts its own truth, a store in a folder."""

from __future__ import annotations

import json
from concurrent.futures import Future

import pyarrow as pa

from contracts import topics
from contracts.arrow import KIND_HEADER, batch, to_bytes
from contracts.columns import COUNT_NAMES, REJECTED, REPORTS, SLICES
from contracts.protocols import Record, StoredRecord
from contracts.topics import partition_of

T0 = 1_700_000_040_000 // 60_000 * 60_000 + 3 * 86_400_000
T0 -= T0 % 86_400_000
MINUTE = 60_000
BOX = {
    "device_isp": "unicom",
    "device_region": "hebei",
    "nat_type": "full_cone",
    "cohort": "stable",
    "model": "m1",
    "firmware": "2.3.1",
}


class MemoryLog:
    """contracts.protocols.Log in memory, for tests that need no durability."""

    atomic = True

    def __init__(self, partitions=3):
        self._partitions = partitions
        self._records = {}

    def _of(self, topic):
        return self._records.setdefault(topic, [[] for _ in range(self.partitions(topic))])

    def partitions(self, topic):
        return self._partitions

    def submit(self, records):
        places = []
        for r in records:
            p = partition_of(r.key, self._partitions) if r.partition is None else r.partition
            rows = self._of(r.topic)[p]
            rows.append(StoredRecord(r.topic, p, len(rows), r.key, r.value, r.timestamp_ms, dict(r.headers)))
            places.append((p, len(rows) - 1))
        future = Future()
        future.set_result(places)
        return future

    def reader(self, start):
        return MemoryReader(self, dict(start))

    def start_offsets(self, topic):
        return [0] * self.partitions(topic)

    def end_offsets(self, topic):
        return [len(rows) for rows in self._of(topic)]

    def offsets_for_time(self, topic, time_ms):
        rows = self._of(topic)
        return [next((r.offset for r in part if r.timestamp_ms >= time_ms), len(part)) for part in rows]

    def close(self):
        pass


class MemoryReader:
    def __init__(self, log, at):
        self._log = log
        self._at = at

    def poll(self, max_records, timeout_s):
        records = []
        for (topic, p), offset in self._at.items():
            got = self._log._of(topic)[p][offset : offset + max_records - len(records)]
            self._at[topic, p] += len(got)
            records += got
        return records

    def seek(self, topic, partition, offset):
        self._at[topic, partition] = offset

    def positions(self):
        return dict(self._at)

    def close(self):
        pass


def make_slice(**overrides):
    """Values of one slice row but for the report's own; counts default to 10 good requests."""
    values = {
        "customer": "acme",
        "service": "video",
        "app": "cdn",
        "client_isp": "telecom",
        "client_region": "beijing",
        "sched_rule": "near@1",
        **dict.fromkeys(COUNT_NAMES, 0),
        "requests": 10,
        "s2xx": 10,
        "latency": {40: 10},
        "throughput": {},
    }
    unknown = set(overrides) - set(values)
    assert not unknown, unknown
    values.update(overrides)
    if "requests" in overrides and "latency" not in overrides:
        values["latency"] = {40: overrides["requests"]} if overrides["requests"] else {}
    if "requests" in overrides and not {"s2xx", "s3xx", "s4xx", "s5xx"} & set(overrides):
        values["s2xx"] = overrides["requests"]
    return values


class Box:
    """A box that keeps the books of its boot: every report carries cumulative totals."""

    def __init__(self, device="box-1", boot="boot-1", **attributes):
        self.device, self.boot = device, boot
        self.attributes = {**BOX, **attributes}
        self.seq = 0
        self.requests = self.slices = 0
        self.dropped = {"requests": 0, "slices": 0, "reports": 0, "spool_requests": 0, "spool_slices": 0}
        self.earlier_boots = []

    def report(self, start, rows=(), *, length=10_000, in_drops=0, oldest=None, received_after=1_500, refused=()):
        """The next report: (header, slice rows). `in_drops`: requests seen but in no slice. `refused`: row numbers
        the gateway refuses."""
        self.seq += 1
        rows = list(rows)
        carried = sum(r["requests"] for r in rows)
        self.requests += carried + in_drops
        self.slices += len(rows)
        self.dropped["requests"] += in_drops
        header = {
            "device": self.device,
            "boot": self.boot,
            "seq": self.seq,
            "start": start,
            "end": start + length,
            "received_at": start + length + received_after,
            "v": 1,
            "sent_at": start + length + received_after,
            "clock_offset_ms": 0,
            "shift_ms": 0,
            "oldest_spooled_seq": self.seq if oldest is None else oldest,
            "agent": "0.1.0",
            **self.attributes,
            "requests": carried,
            "slices": len(rows),
            "rejected_requests": sum(rows[i]["requests"] for i in refused),
            "rejected_slices": len(refused),
            "total_requests": self.requests,
            "total_slices": self.slices,
            "dropped_requests": self.dropped["requests"],
            "dropped_slices": self.dropped["slices"],
            "dropped_reports": self.dropped["reports"],
            "spool_dropped_requests": self.dropped["spool_requests"],
            "spool_dropped_slices": self.dropped["spool_slices"],
            "dropped_by_cause": "{}",
            "earlier_boots": json.dumps(self.earlier_boots),
            "digest": f"{self.device}{self.boot}{self.seq}",
        }
        return header, [{**r, "row": i} for i, r in enumerate(rows) if i not in refused]

    def declare_spool_drop(self, report):
        """The spool lost a report that will never arrive."""
        header, _ = report
        self.dropped["requests"] += header["requests"]
        self.dropped["spool_requests"] += header["requests"]
        self.dropped["slices"] += header["slices"]
        self.dropped["spool_slices"] += header["slices"]
        self.dropped["reports"] += 1


def slice_values(report):
    """Columns of telemetry.slices of one report."""
    header, rows = report
    same = ("device", "boot", "seq", "start", "end", "received_at", *BOX)
    values = {name: [header[name]] * len(rows) for name in same}
    for name in ("row", "customer", "service", "app", "client_isp", "client_region", "sched_rule", *COUNT_NAMES):
        values[name] = [r[name] for r in rows]
    for name in ("latency", "throughput"):
        values[f"{name}_cell"] = [sorted(r[name]) for r in rows]
        values[f"{name}_count"] = [[r[name][c] for c in sorted(r[name])] for r in rows]
    return values


def slice_batch(reports):
    """Record batch of telemetry.slices of reports."""
    columns = [slice_values(r) for r in reports]
    return batch(SLICES, {c.name: [x for v in columns for x in v[c.name]] for c in SLICES}, pa)


def header_batch(reports):
    """Record batch of telemetry.reports of reports."""
    return batch(REPORTS, {c.name: [header[c.name] for header, _ in reports] for c in REPORTS}, pa)


def rejected_batch(**values):
    """One row of telemetry.rejected."""
    row = {
        "id": "r1",
        "device": "box-1",
        "boot": "boot-1",
        "seq": 1,
        "received_at": T0,
        "sent_at": T0,
        "reason": "bad_slices",
        "detail": "x",
        "rows": "[]",
        "requests": 0,
        "slices": 0,
        "body": b"",
        "source": "gateway",
        "state": "kept",
    } | values
    return batch(REJECTED, {name: [value] for name, value in row.items()}, pa)


def shifted(report, by_ms, received_by_ms=7_000):
    """The same report as another gateway would enrich it: other correction, other receipt."""
    header, rows = report
    moved = {"start": header["start"] + by_ms, "end": header["end"] + by_ms}
    return {**header, **moved, "received_at": header["received_at"] + received_by_ms}, rows


def send(log, *reports, now=None):
    """Append reports as the gateway does: slices per customer, then headers per device."""
    records = []
    for report in reports:
        header, rows = report
        for customer in sorted({r["customer"] for r in rows}):
            part = (header, [r for r in rows if r["customer"] == customer])
            records.append(
                Record(topics.SLICES.name, customer.encode(), to_bytes(slice_batch([part]), pa), header["received_at"])
            )
        message = to_bytes(header_batch([report]), pa)
        records.append(Record(topics.REPORTS.name, header["device"].encode(), message, header["received_at"]))
    log.submit(records).result(10)


def send_batch(log, topic, key, record_batch, at, kind=None):
    """Append one message of any table."""
    headers = {} if kind is None else {KIND_HEADER: kind}
    log.submit([Record(topic.name, key.encode(), to_bytes(record_batch, pa), at, headers=headers)]).result(10)


def random_rows(random, customers=("acme", "beta", "calc")):
    """Zero to four slices with histograms that add up."""
    rows = []
    for _ in range(random.randint(0, 4)):
        customer = random.choice(customers)
        requests = random.randint(1, 30)
        failed = random.randint(0, requests // 4)
        latency = {}
        for _ in range(requests):
            cell = min(129, max(0, int(random.gauss(40, 6))))
            latency[cell] = latency.get(cell, 0) + 1
        rows.append(
            make_slice(
                customer=customer,
                service="compute" if customer == "calc" else random.choice(("video", "live")),
                client_isp=random.choice(("telecom", "unicom")),
                sched_rule=random.choice(("near@1", "far@2")),
                requests=requests,
                s2xx=requests - failed,
                s5xx=failed,
                f_server=failed,
                bytes=requests * 1000,
                latency=latency,
                throughput={random.randint(5, 9): requests},
            )
        )
    return rows


def random_fleet(random, boxes=5, minutes=6, start=T0):
    """Reports of some boxes over some minutes, by time; some boxes fall silent, drop inside reports or start again."""
    reports = []
    for i in range(boxes):
        name = f"box-{i}"
        box = Box(name, f"{name}-boot-1", device_isp=random.choice(("telecom", "unicom")))
        silent_from = random.randint(2, minutes * 6) if i == 1 else minutes * 6
        for k in range(minutes * 6):
            if i == 2 and k == 13:
                box = Box(name, f"{name}-boot-2")
            if k < silent_from:
                drops = random.randint(1, 5) if random.random() < 0.1 else 0
                reports.append(box.report(start + k * 10_000, random_rows(random), in_drops=drops))
    reports.sort(key=lambda r: r[0]["received_at"])
    return reports
