"""`dipper-agent check`: would the agent work as configured? Each answer names what to mend."""

from __future__ import annotations

import gzip
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from agent_exporter import __version__
from agent_exporter.clock import BLAMED_ABOVE_MS
from agent_exporter.config import KAFKA, DeviceKey, LogSettings, Settings
from agent_exporter.errors import AgentError, LineError
from agent_exporter.lines import PARSERS
from agent_exporter.sender import TELEMETRY_PATH
from agent_exporter.transport import open_transport
from contracts.auth import SERVER_TIME_HEADER, VERSIONS_HEADER, headers_for
from contracts.report import VERSION, Report, Totals, encode

SAMPLE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    detail: str


def check(settings: Settings, key: DeviceKey, system_ms: Callable[[], int]) -> list[Finding]:
    """Look at everything: logs, state directory, and the server with this key."""
    findings = [_check_log(log) for log in settings.logs]
    findings.append(_check_state_dir(settings))
    findings.append(_check_server(settings, key, system_ms))
    return findings


def _check_log(log: LogSettings) -> Finding:
    """Read the last lines as the agent would."""
    what = f"log {log.path}"
    try:
        with log.path.open("rb") as f:
            size = f.seek(0, os.SEEK_END)
            start = max(0, size - SAMPLE_BYTES)
            f.seek(start)
            lines = f.read(SAMPLE_BYTES).split(b"\n")[1 if start else 0 : -1]
    except FileNotFoundError:
        return Finding(what, log.path.parent.is_dir(), "does not exist yet")
    except OSError as error:
        return Finding(what, False, f"cannot be read: {error.strerror}")
    problem, customers = "", set()
    good = 0
    for line in lines:
        try:
            customers.add(PARSERS[log.kind](line, log.defaults).key[0])
            good += 1
        except LineError as error:
            problem = str(error)
    if problem:
        return Finding(what, False, f"{len(lines) - good} of the last {len(lines)} lines do not parse: {problem}")
    return Finding(what, True, f"last {good} lines parse; customers: {', '.join(sorted(customers)[:10]) or 'none'}")


def _check_state_dir(settings: Settings) -> Finding:
    probe = settings.state_dir / f".check-{secrets.token_hex(4)}"
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        return Finding("state_dir", False, f"{settings.state_dir} cannot be written: {error.strerror}")
    stat = os.statvfs(settings.state_dir)
    free = stat.f_bavail * stat.f_frsize
    enough = free > settings.spool_max_bytes
    return Finding(
        "state_dir", enough, f"{free // 2**20} MiB free, the spool may take {settings.spool_max_bytes // 2**20}"
    )


def _check_server(settings: Settings, key: DeviceKey, system_ms: Callable[[], int]) -> Finding:
    """Send a whole, signed, idle report under a boot id of its own: nothing less proves that reports get through."""
    boot = f"check-{secrets.token_hex(6)}"
    now = system_ms()
    interval_ms = settings.interval_s * 1000
    end = now - now % interval_ms
    report = Report(
        key.device, boot, 1, end - interval_ms, end, 1, settings.model, settings.firmware, __version__, Totals()
    )
    body = gzip.compress(encode(report), mtime=0)
    headers = headers_for(key.key, key.device, boot, 1, now, body) | {"Content-Encoding": "gzip"}
    what = "Kafka" if settings.send_to == KAFKA else f"server {settings.server}"
    try:
        transport = open_transport(settings, key.device, os.environ)
        try:
            answer = transport.post(TELEMETRY_PATH, body, lambda: headers)
        finally:
            transport.close()
    except AgentError as error:
        return Finding(what, False, str(error))
    server_ms = answer.headers.get(SERVER_TIME_HEADER, "")
    offset_ms = int(server_ms) - now if server_ms.isascii() and server_ms.isdigit() else None
    clock = "" if offset_ms is None else f"; server's clock minus this one: {offset_ms} ms"
    versions = [v.strip() for v in answer.headers.get(VERSIONS_HEADER, str(VERSION)).split(",")]
    if str(VERSION) not in versions:
        return Finding(what, False, f"reads report versions {versions}, this agent writes {VERSION}: update the agent")
    if 200 <= answer.status < 300:
        return Finding(what, True, f"took an idle report of {key.device} ({answer.status}){clock}")
    if answer.status == 401 and offset_ms is not None and abs(offset_ms) >= BLAMED_ABOVE_MS:
        return Finding(what, True, f"answers; the agent will correct this clock, which is off{clock}")
    if answer.status == 401:
        return Finding(what, False, f"refuses the key {key.key_id} of {key.device}: enroll again{clock}")
    text = answer.body[:200].decode("utf-8", "replace")
    return Finding(what, False, f"expected 2xx, got {answer.status}: {text}{clock}")
