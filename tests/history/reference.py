"""Slow, plain truth of rollups from the reports that were sent, each identity once. Standard library only."""

from collections import Counter, defaultdict

from contracts.columns import COUNT_NAMES, FAILURE_NAMES
from tests.streams import coverage_reference

MINUTE = 60_000


def minutes(reports):
    """{(minute, customer, service): (counts, latency)} of first-come identities."""
    sums = defaultdict(lambda: (Counter(), Counter()))
    for header, rows in first_come(reports):
        minute = header["start"] // MINUTE * MINUTE
        for row in rows:
            counts, latency = sums[minute, row["customer"], row["service"]]
            for name in COUNT_NAMES:
                counts[name] += row[name]
            latency.update(row["latency"])
    return dict(sums)


def coverage(reports, targets):
    """{(minute, customer): coverage} by the streams' slow reference."""
    spans, requests, drops = defaultdict(list), defaultdict(Counter), []
    for header, rows in first_come(reports):
        minute = header["start"] // MINUTE * MINUTE
        spans[header["device"], minute].append((header["start"], header["end"]))
        for row in rows:
            requests[header["device"], minute][row["customer"]] += row["requests"]
        dropped = header["dropped_requests"] - header["spool_dropped_requests"]
        drops.append((header["device"], header["boot"], header["seq"], header["start"], dropped))
    measured = [
        (device, minute, coverage_reference.covered_share(spans[device, minute], minute), requests[device, minute])
        for device, minute in spans
    ]
    declared = coverage_reference.declared_drops(drops)
    found = {}
    for target in targets:
        for customer, value in coverage_reference.coverage(target, measured, declared).items():
            found[target, customer] = value
    return found


def first_come(reports):
    seen = set()
    for header, rows in reports:
        identity = (header["device"], header["boot"], header["seq"])
        if identity not in seen:
            seen.add(identity)
            yield header, rows


def failures(counts):
    return sum(counts[name] for name in FAILURE_NAMES)
