"""What the agent costs a box at 200 log lines a second, with Debian's mtail on the same log beside it.

    python -m benchmarks.agent [--seconds 62] [--lines-per-s 200] [--slices 20] [--seed 7]

A writer appends lines in the format `dipper` (four customers, five ISPs: 20 slices) to one file. The agent (10 s
intervals, sending to a sink on loopback) and mtail (counters per customer, status and ISP, a latency histogram; 10 s
polling) follow it in the same run. CPU seconds come from /proc/PID/stat over the measured time, RSS is the highest
of one look a second. There is a result only if both counted every line.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.common import write_result
from contracts.decode import decode

ROOT = Path(__file__).resolve().parents[1]
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
WARM_UP_S = 3.0

MTAIL_PROGRAM = r"""
counter requests by customer, isp, status
counter bytes by customer, isp
histogram latency_seconds by customer, isp buckets 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60
/"status":"(?P<status>\d+)".*"request_time":(?P<seconds>[\d.]+),"bytes_sent":(?P<size>\d+).*/ +
/"server_customer":"(?P<customer>[^"]*)".*"isp":"(?P<isp>[^"]*)"/ {
  requests[$customer][$isp][$status]++
  bytes[$customer][$isp] += $size
  latency_seconds[$customer][$isp] = $seconds
}
"""
LIMITS = {"share_of_a_core": 0.02, "peak_rss_mb": 32, "wire_bytes_per_full_report": 4096}


def line(rng: random.Random, slices: int) -> bytes:
    """One line of log format `dipper`, now; `slices` combinations of customer and ISP."""
    combination = rng.randrange(slices)
    body = int(rng.lognormvariate(12.5, 1))
    document = {
        "msec": round(time.time(), 3),
        "status": "200" if rng.random() > 0.01 else "502",
        "method": "GET",
        "path": f"/video/{rng.randrange(10**6)}/seg-{rng.randrange(1000)}.ts",
        "request_time": round(rng.lognormvariate(-3, 1), 3),
        "bytes_sent": body + 300,
        "body_bytes_sent": body,
        "request_completion": "OK",
        "sent_http_content_length": str(body),
        "upstream_status": "",
        "upstream_response_length": "",
        "upstream_cache_status": "HIT",
        "server_customer": f"customer-{combination % 4}",
        "server_service": "vod",
        "verified": "1",
        "customer": "",
        "service": "",
        "app": "edge",
        "isp": f"isp-{combination // 4}",
        "region": "east",
        "rule": "rule-17.v3",
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


class Sink:
    """Takes reports on loopback and keeps their bodies."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.send_header("dipper-server-time", str(time.time_ns() // 1_000_000))
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Watched:
    """CPU seconds and highest RSS of a process, threads included."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak_rss_bytes = 0
        self.start_cpu_s = self.cpu_s()
        self.started = time.monotonic()

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def look(self) -> None:
        for row in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if row.startswith("VmRSS:"):
                self.peak_rss_bytes = max(self.peak_rss_bytes, int(row.split()[1]) * 1024)

    def result(self) -> dict[str, float]:
        cpu_s, wall_s = self.cpu_s() - self.start_cpu_s, time.monotonic() - self.started
        return {
            "cpu_s": round(cpu_s, 3),
            "wall_s": round(wall_s, 1),
            "share_of_a_core": round(cpu_s / wall_s, 5),
            "peak_rss_mb": round(self.peak_rss_bytes / 1e6, 1),
        }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.contextmanager
def process(command: list[str], cwd: Path, err: Path) -> Iterator[subprocess.Popen[bytes]]:
    with err.open("wb") as stream:
        started = subprocess.Popen(command, cwd=cwd, stdout=stream, stderr=stream)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(20)


def agent_command(root: Path, log: Path, port: int) -> list[str]:
    (root / "key").write_text(json.dumps({"device": "box-1", "key_id": "k", "key": "00" * 32}))
    config = root / "agent.toml"
    config.write_text(
        f'server = "http://127.0.0.1:{port}"\nkey_file = "{root}/key"\nstate_dir = "{root}/state"\n'
        f'[[log]]\nkind = "nginx"\npath = "{log}"\n'
    )
    return [sys.executable, "-m", "agent_exporter", "run", "--config", str(config)]


def mtail_command(root: Path, log: Path, port: int) -> list[str]:
    (root / "programs").mkdir()
    (root / "programs" / "dipper.mtail").write_text(MTAIL_PROGRAM)
    polling = ["--poll_interval", "10s", "--poll_log_interval", "10s"]
    where = ["--address", "127.0.0.1", "--port", str(port), "--log_dir", str(root)]
    return ["mtail", "--progs", str(root / "programs"), "--logs", str(log), *where, *polling]


def mtail_count(port: int, expected: int) -> int:
    """Lines that mtail counted; it may need one more poll to see the last."""
    deadline = time.monotonic() + 15
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
            rows = response.read().decode().splitlines()
        count = sum(int(row.rpartition(" ")[2]) for row in rows if row.startswith("requests{"))
        if count >= expected or time.monotonic() > deadline:
            return count
        time.sleep(0.5)


def measure(seconds: float, lines_per_s: int, slices: int, seed: int, root: Path) -> dict[str, Any]:
    rng = random.Random(seed)
    log = root / "dipper.log"
    log.touch()
    sink, mtail_port = Sink(), free_port()
    commands = {"agent": agent_command(root, log, sink.port), "mtail": mtail_command(root, log, mtail_port)}
    with contextlib.ExitStack() as stack:
        started = {n: stack.enter_context(process(c, ROOT, root / f"{n}.err")) for n, c in commands.items()}
        time.sleep(WARM_UP_S)  # start-up is not the steady state
        watched = {name: Watched(one.pid) for name, one in started.items()}
        written = write_lines(log, rng, seconds, lines_per_s, slices, list(watched.values()))
        results: dict[str, Any] = {name: one.result() for name, one in watched.items()}
        results["mtail"]["lines_counted"] = mtail_count(mtail_port, written)
        spool_bytes = sum(p.stat().st_size for p in (root / "state" / "spool").iterdir())
    # The agent has stopped by now, and delivered what was left.
    reports = [(len(body), decode(gzip.decompress(body))) for body in sink.bodies]
    full = [size for size, report in reports if len(report.slices) >= slices and report.vitals]
    results["agent"] |= {
        "lines_counted": sum(sum(report.slices.counts["requests"]) for _, report in reports),
        "reports": len(reports),
        "wire_bytes_per_full_report": max(full),
        "spool_bytes_on_disk": spool_bytes,
    }
    for name, result in results.items():
        if result["lines_counted"] != written:
            raise SystemExit(f"{name} counted {result['lines_counted']} of {written} lines: no result")
    return results | {"lines_written": written}


def write_lines(
    log: Path, rng: random.Random, seconds: float, lines_per_s: int, slices: int, watched: list[Watched]
) -> int:
    """Append lines at the rate, in steps of 50 ms, and look at the processes once a second."""
    begin, written, looked = time.monotonic(), 0, 0.0
    with log.open("ab", buffering=0) as f:
        while (elapsed := time.monotonic() - begin) < seconds:
            due = int(elapsed * lines_per_s) - written
            f.write(b"".join(line(rng, slices) for _ in range(due)))
            written += due
            if elapsed - looked >= 1:
                looked = elapsed
                for one in watched:
                    one.look()
            time.sleep(0.05)
    return written


def mtail_version() -> str:
    shown = subprocess.run(["mtail", "--version"], capture_output=True, text=True, check=True).stdout
    return shown.partition(" git")[0]


def main() -> int:
    parser = argparse.ArgumentParser(description="Cost of the agent, with mtail beside it.")
    parser.add_argument("--seconds", type=float, default=62.0)
    parser.add_argument("--lines-per-s", type=int, default=200)
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    if not shutil.which("mtail"):
        raise SystemExit("benchmarks.agent: needs mtail beside it; Debian: apt-get install mtail")
    with tempfile.TemporaryDirectory() as root:
        results = measure(arguments.seconds, arguments.lines_per_s, arguments.slices, arguments.seed, Path(root))
    agent = results["agent"]
    met = all(agent[name] <= limit for name, limit in LIMITS.items())
    figures = results | {"settings": vars(arguments), "mtail_version": mtail_version(), "limits": LIMITS, "met": met}
    write_result("agent", figures, [])
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
