"""One ordinary report by hand, as a JSON document that tests change in one place."""

from __future__ import annotations

import json
from typing import Any

START = 1_767_225_600_000  # 2026-01-01T00:00:00Z


def make_document(**overrides: Any) -> dict[str, Any]:
    """A report of version 1 with two slices: a video row and a compute row without throughput."""
    document: dict[str, Any] = {
        "v": 1,
        "device": "box-1",
        "boot": "b0",
        "seq": 7,
        "start": START,
        "end": START + 10_000,
        "oldest_spooled_seq": 5,
        "model": "m1",
        "firmware": "1.2.3",
        "agent": "0.1.0",
        "totals": {
            "requests": 100,
            "slices": 20,
            "dropped_requests": {"spool_full": 10},
            "dropped_slices": {"spool_full": 2},
            "dropped_reports": {"spool_full": 1},
        },
        "earlier_boots": [
            {"boot": "a9", "oldest_spooled_seq": None, "dropped_reports": 1, "dropped_requests": 4, "dropped_slices": 2}
        ],
        "vitals": {"cpu_ratio": 0.25, "uptime_s": 12},
        "slices": {
            "customer": ["acme", "lab"],
            "service": ["video", "compute"],
            "app": ["player", "render"],
            "client_isp": ["telecom", "unknown"],
            "client_region": ["hubei", "unknown"],
            "sched_rule": ["near@3", "batch@1"],
            "requests": [5, 2],
            "s2xx": [3, 0],
            "s3xx": [0, 0],
            "s4xx": [1, 0],
            "s5xx": [1, 0],
            "f_server": [1, 0],
            "f_timeout": [0, 1],
            "f_reset": [0, 0],
            "f_incomplete": [1, 0],
            "bytes": [5000, 0],
            "cache_hits": [4, 0],
            "sessions": [2, 0],
            "stalled_sessions": [1, 0],
            "play_ms": [20_000, 0],
            "stall_ms": [300, 0],
            "latency": {"lengths": [2, 1], "cells": [3, 40, 9], "counts": [4, 1, 2]},
            "throughput": {"lengths": [1, 0], "cells": [60], "counts": [5]},
        },
        "exemplars": {
            "at": [START + 9],
            "customer": ["acme"],
            "service": ["video"],
            "client_isp": ["telecom"],
            "client_region": ["hubei"],
            "sched_rule": ["near@3"],
            "path_hash": ["0123456789abcdef"],
            "status": [502],
            "latency_ms": [31],
            "failure": ["f_server"],
        },
    }
    document.update(overrides)
    return document


def to_bytes(document: object) -> bytes:
    """Compact JSON, UTF-8."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def changed(path: str, value: Any) -> dict[str, Any]:
    """The ordinary report with one value replaced; `path` such as `slices.requests.0`."""
    document = make_document()
    at: Any = document
    *parents, last = (int(p) if p.isdigit() else p for p in path.split("."))
    for parent in parents:
        at = at[parent]
    at[last] = value
    return document


def without(path: str) -> dict[str, Any]:
    """The ordinary report without one field."""
    document = make_document()
    at: Any = document
    *parents, last = path.split(".")
    for parent in parents:
        at = at[parent]
    del at[last]
    return document
