"""Small logs and what they hold."""

from contracts.protocols import Record
from ingest.log import EmbeddedLog

SLICES, REPORTS, INCIDENTS = "telemetry.slices", "telemetry.reports", "incidents"
DEADLINE_S = 20


def open_log(path, **overrides):
    return EmbeddedLog(path, **{"group_commit_ms": 0, "min_free_bytes": 0, **overrides})


def record(value=b"v", *, topic=SLICES, key=b"k", at=1_000, partition=0):
    return Record(topic, key, value, at, partition)


def append(log, *records):
    return log.submit(list(records)).result(DEADLINE_S)


def read(log, *topics):
    """(topic, partition, offset, value) of every record that is kept, in the order of the log."""
    start = {(t, p): o for t in topics or (SLICES, REPORTS) for p, o in enumerate(log.start_offsets(t))}
    reader = log.reader(start)
    found = []
    while records := reader.poll(1_000, 0):
        found += [(r.topic, r.partition, r.offset, r.value) for r in records]
    reader.close()
    return found


def write_calls(log, calls):
    """Submit calls, each of several records over two topics; returns what each call stored."""
    stored = []
    for call in range(calls):
        records = [record(b"%d/s%d" % (call, i), partition=i % 2) for i in range(3)]
        records.append(record(b"%d/r" % call, topic=REPORTS))
        places = append(log, *records)
        stored.append([(r.topic, p, o, r.value) for r, (p, o) in zip(records, places, strict=True)])
    return stored
