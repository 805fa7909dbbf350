"""A frozen report of version 1. It must be readable for ever, and today's agent must still say the same."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

from agent_exporter.config import LogSettings
from agent_exporter.lines import Defaults
from contracts.decode import decode
from contracts.report import Report
from tests.agent_exporter.builders import T0, Box, access, drain, task

GOLDEN = Path(__file__).with_name("golden") / "report_v1.json.gz"


def made_today(root: Path) -> Report:
    """The input that the frozen report was made from."""
    logs = (
        LogSettings(root / "access.log", "nginx", Defaults(), "beginning"),
        LogSettings(root / "tasks.log", "tasks", Defaults(), "beginning"),
    )
    box = Box(root, logs=logs)
    signed = {"server_customer": "", "verified": "1", "customer": "blue", "service": "vod", "app": "edge"}
    signed |= {"isp": "telecom", "region": "east", "rule": "r17-v3"}
    large = {"body_bytes_sent": 1_000_000, "bytes_sent": 1_000_300, "sent_http_content_length": "1000000"}
    box.write(
        access(T0, upstream_cache_status="HIT"),
        access(T0 + 1, status="502", request_time=1.5),
        access(T0 + 2, **signed, **large, request_time=0.8),
        access(T0 + 3, **signed, **large | {"body_bytes_sent": 500_000}),
        access(T0 + 4, status="504", request_time=60.0),
        access(T0 + 5, status="444"),
        access(T0 + 6, status="304"),
        b"no line at all",
    )
    beacon = {"at": T0 + 8, "customer": "blue", "app": "player", "service": "vod", "sessions": 3}
    beacon |= {"stalled_sessions": 1, "play_ms": 29_000, "stall_ms": 700}
    box.write(task(T0 + 7), beacon, to=logs[1].path)
    box.tick()
    [report] = drain(box.spool)
    return report


def test_frozen_report_is_read() -> None:
    report = decode(gzip.decompress(GOLDEN.read_bytes()))
    assert (report.device, report.boot, report.seq, report.start, report.end) == ("box-1", "boot-1", 1, T0, T0 + 10_000)
    assert (report.totals.requests, report.totals.dropped_requests) == (9, {"line_malformed": 1})
    rows = {
        (customer, service): {name: values[i] for name, values in report.slices.counts.items()}
        for i, (customer, service, app) in enumerate(
            zip(*(report.slices.dimensions[n] for n in ("customer", "service", "app")), strict=True)
        )
        if app != "player"
    }
    assert rows["acme", "web"]["requests"] == 5
    assert [rows["acme", "web"][f"f_{name}"] for name in ("server", "timeout", "reset", "incomplete")] == [1, 1, 1, 0]
    assert [rows["blue", "vod"][name] for name in ("requests", "s2xx", "f_incomplete", "bytes")] == [2, 2, 1, 2_000_600]
    assert rows["acme", "compute"]["requests"] == 1
    assert sum(report.slices.counts["sessions"]) == 3


def test_todays_agent_says_the_same(tmp_path: Path) -> None:
    frozen = decode(gzip.decompress(GOLDEN.read_bytes()))
    # Vitals and the agent's own version are the machine's and the day's.
    assert replace(made_today(tmp_path), agent=frozen.agent, vitals=frozen.vitals) == frozen
