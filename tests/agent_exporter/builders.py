"""Builders: lines of both logs, a box with a clock under control, and reports read back from its spool."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

from agent_exporter.clock import Clock
from agent_exporter.collector import Collector
from agent_exporter.config import DeviceKey, LogSettings, Settings
from agent_exporter.lines import Defaults
from agent_exporter.sender import SenderStats
from agent_exporter.spool import Spool
from agent_exporter.vitals import Vitals
from contracts.decode import decode
from contracts.report import Report

T0 = 1_800_000_000_000  # on the 10 s grid
KEY = DeviceKey("box-1", "k1", bytes(range(32)))


def access(at: int, **overrides: Any) -> dict[str, Any]:
    """One line of the format `dipper`, a complete 200 of customer acme."""
    line: dict[str, Any] = {
        "msec": at / 1000,
        "status": "200",
        "method": "GET",
        "path": "/a",
        "request_time": 0.020,
        "bytes_sent": 1200,
        "body_bytes_sent": 1000,
        "request_completion": "OK",
        "sent_http_content_length": "1000",
        "upstream_status": "",
        "upstream_response_length": "",
        "upstream_cache_status": "",
        "server_customer": "acme",
        "server_service": "",
        "verified": "",
        "customer": "",
        "service": "",
        "app": "",
        "isp": "",
        "region": "",
        "rule": "",
    }
    return line | overrides


def task(ended: int, **overrides: Any) -> dict[str, Any]:
    """One line of a task log: a task that went well."""
    return {"at": ended, "app": "encoder", "customer": "acme", "duration_ms": 2500, "outcome": "ok"} | overrides


def encoded(line: dict[str, Any]) -> bytes:
    """A line as it stands in the log, without newline."""
    return json.dumps(line, separators=(",", ":")).encode()


def settings_for(root: Path, **overrides: Any) -> Settings:
    """Settings of a box whose only log is `root/access.log`."""
    log = LogSettings(root / "access.log", "nginx", Defaults(), "beginning")
    values: dict[str, Any] = {
        "server": "http://127.0.0.1:9",
        "key_file": root / "key",
        "state_dir": root / "state",
        "logs": (log,),
        "interval_s": 10,
    }
    return Settings(**values | overrides)


def drain(spool: Spool) -> list[Report]:
    """All waiting reports, settled as if delivered."""
    reports = []
    while (entry := spool.live() or spool.backlog()) is not None:
        body = spool.take(entry)
        if body is not None:
            reports.append(decode(gzip.decompress(body)))
            spool.settle(entry)
    return sorted(reports, key=lambda r: (r.boot, r.seq))


def served(reports: list[Report]) -> dict[str, int]:
    """Requests by customer over all reports."""
    result: dict[str, int] = {}
    for report in reports:
        for customer, requests in zip(
            report.slices.dimensions["customer"], report.slices.counts["requests"], strict=True
        ):
            result[customer] = result.get(customer, 0) + requests
    return result


class Box:
    """A box: `now` is its clock (ms); files get their times from it. `start` and `crash` the agent at will."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        self.now = T0
        self.settings = settings_for(root, **settings)
        self.log = self.settings.logs[0].path
        self.said: list[str] = []
        self.boots = 0
        self.start()

    def start(self) -> None:
        """Start the agent from what is on disk."""
        self.boots += 1
        self.spool = Spool(self.settings.state_dir / "spool", self.settings.spool_max_bytes)
        self.clock = Clock(lambda: self.now, *self.spool.state.get("clock", [0, None]))
        self.collector = Collector(
            self.settings,
            "box-1",
            f"boot-{self.boots}",
            self.spool,
            self.clock,
            Vitals("/", lambda: self.now, self.root / "no-such-root"),
            random=Random(7),
            log=self.said.append,
            sender_state=SenderStats().to_dict,
        )

    def crash(self) -> None:
        """End the agent as kill -9 does: nothing is written."""
        self.collector.close()
        self.spool.close()

    def write(self, *lines: dict[str, Any] | bytes, to: Path | None = None) -> None:
        """Append lines to the log, as nginx does."""
        path = to or self.log
        with path.open("ab") as f:
            for line in lines:
                f.write((line if isinstance(line, bytes) else encoded(line)) + b"\n")
        self.touch(path)

    def touch(self, path: Path) -> None:
        """Give a file the box's time."""
        os.utime(path, ns=(self.now * 1_000_000, self.now * 1_000_000))

    def tick(self, seconds: float = 10) -> bool:
        """Let time pass, then report the interval that ended last."""
        self.now += round(seconds * 1000)
        interval = self.settings.interval_s * 1000
        return self.collector.tick(self.now - self.now % interval)

    def rotate(self, *, create: bool = True) -> Path:
        """Rename .1 to .2 and so on, then the log to .1, as logrotate does; returns the renamed file."""
        self._shift()
        renamed = self.log.with_name(self.log.name + ".1")
        if self.log.exists():
            self.log.rename(renamed)
        if create:
            self.log.touch()
            self.touch(self.log)
        return renamed

    def copytruncate(self) -> None:
        """Copy the log to .1 and empty it, as logrotate does with `copytruncate`."""
        self._shift()
        if self.log.exists():
            copy = self.log.with_name(self.log.name + ".1")
            shutil.copyfile(self.log, copy)
            self.touch(copy)
            os.truncate(self.log, 0)
            self.touch(self.log)

    def _shift(self) -> None:
        for number in range(40, 0, -1):
            old = self.log.with_name(f"{self.log.name}.{number}")
            if old.exists():
                old.rename(self.log.with_name(f"{self.log.name}.{number + 1}"))
