"""A real nginx that serves files and fails on purpose, its origin, and an independent count of its log."""

import json
import math
import os
import shutil
import signal
import socket
import struct
import threading
import time
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from agent_exporter.signing import signed_query
from tests.e2e.processes import Process, accepts, free_port, until

NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
CONF = Path(__file__).parent.parent.parent / "agent_exporter" / "nginx"
SECRET = "only-for-this-run"
ORIGIN_TIMEOUT_S = 1
BIG_BYTES = 8 << 20

# Path -> what the documented mapping says of it: (response class, failure class or None). Written by hand from
# docs/agent.md, not computed by the agent's code.
OUTCOMES = {
    "/small.bin": ("s2xx", None),
    "/medium.bin": ("s2xx", None),
    "/missing.bin": ("s4xx", None),
    "/moved": ("s3xx", None),
    "/origin/500": ("s5xx", "f_server"),
    "/origin/503": ("s5xx", "f_server"),
    "/origin/slow": ("s2xx", None),
    "/origin/hang": ("s5xx", "f_timeout"),
    "/origin/broken": ("s2xx", "f_incomplete"),
    "/slammed": ("s4xx", "f_reset"),  # 444: the connection is closed without an answer
    "/big.bin": ("s2xx", None),  # aborted by the client: not ours
}


class Origin:
    """A customer's origin that fails on purpose."""

    def __init__(self):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                kind = self.path.partition("?")[0].rsplit("/", 1)[-1]
                if kind.isdigit():
                    self.answer(int(kind), b"sorry\n")
                elif kind == "slow":
                    time.sleep(0.15)
                    self.answer(200, b"late\n")
                elif kind == "hang":
                    time.sleep(ORIGIN_TIMEOUT_S + 0.5)
                else:
                    self.answer(200, b"x" * 500, promised=5000)

            def answer(self, status, body, promised=None):
                self.send_response(status)
                self.send_header("Content-Length", str(promised or len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, address):
                """A client that left is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class Site:
    """nginx on a free port, logging to `folder`/access.log in the shipped format, with signed URLs."""

    def __init__(self, folder, customers):
        assert NGINX, "nginx is needed: apt-get install nginx-light"
        self.folder = folder
        self.customers = customers
        self.log = folder / "access.log"
        self.port = free_port()
        self.origin = Origin()
        root = folder / "www"
        root.mkdir()
        for name, size in (("small.bin", 2_000), ("medium.bin", 300_000), ("big.bin", BIG_BYTES)):
            (root / name).write_bytes(os.urandom(1 << 10) * (size >> 10) + b"e" * (size & 1023))
        for name in ("dipper-log.conf", "dipper-server.conf"):
            text = (CONF / name).read_text().replace("/var/log/nginx/dipper.log", str(self.log))
            (folder / name).write_text(text)
        (folder / "nginx.conf").write_text(self._configuration(root))
        self.process = Process([NGINX, "-p", folder, "-c", folder / "nginx.conf"], folder / "nginx.out").start()
        until(lambda: accepts(self.port), 20, f"nginx listens:\n{self.process.tail()}")

    def _configuration(self, root):
        user = "user root;" if os.geteuid() == 0 else ""
        f = self.folder
        return f"""
{user}
daemon off;
worker_processes 2;
pid {f}/nginx.pid;
error_log {f}/error.log crit;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {f}/t1; proxy_temp_path {f}/t2; fastcgi_temp_path {f}/t3;
    uwsgi_temp_path {f}/t4; scgi_temp_path {f}/t5;
    include {f}/dipper-log.conf;
    server {{
        listen 127.0.0.1:{self.port};
        root {root};
        set $dipper_secret "{SECRET}";
        include {f}/dipper-server.conf;
        location /origin/ {{
            proxy_pass http://127.0.0.1:{self.origin.port};
            proxy_read_timeout {ORIGIN_TIMEOUT_S}s;
            proxy_next_upstream off;
            proxy_buffering off;
        }}
        location = /moved {{ return 302 /small.bin; }}
        location = /slammed {{ return 444; }}
        location = /big.bin {{ limit_rate 200k; }}
    }}
}}
"""

    def url(self, customer, path, *, region="hebei"):
        """Path and signed query for a customer; an empty customer leaves the URL unsigned."""
        if not customer:
            return path
        expires_s = int(time.time()) + 3600
        query = signed_query(
            SECRET, path, expires_s, customer=customer, service="vod", isp="unicom", region=region, rule="nearest@3"
        )
        return f"{path}?{query}"

    def rotate(self, number=1):
        """What logrotate does: rename, then tell nginx to reopen."""
        self.log.rename(self.log.with_name(f"access.log.{number}"))
        self.process.child.send_signal(signal.SIGUSR1)
        until(self.log.exists, 10, "nginx opened a new log")

    def lines(self):
        """Every line nginx wrote, rotated files included, parsed."""
        files = sorted(self.folder.glob("access.log*"))
        return [json.loads(line) for f in files for line in f.read_bytes().splitlines()]

    def close(self):
        self.process.stop()
        self.origin.close()


def abort_transfers(port, url, times):
    """Clients that leave in the middle of a big answer, with a reset."""
    for _ in range(times):
        with socket.create_connection(("127.0.0.1", port), 10) as s:
            s.sendall(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert s.recv(1000).startswith(b"HTTP/1.1 200")
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Count:
    """Requests, response classes, failures and latencies of one customer, from nginx's own lines."""

    def __init__(self):
        self.counts = Counter()
        self.seconds = []

    def add(self, line):
        path = line["path"]
        response_class, failure = OUTCOMES[path]
        status = int(line["status"])
        if status == 499 or (response_class == "s2xx" and line["request_completion"] != "OK"):
            failure = None  # the client went away, as some do when the load ends
            response_class = f"s{status // 100}xx"
        assert response_class == f"s{status // 100}xx", f"{path} answered {status}"
        self.counts["requests"] += 1
        self.counts[response_class] += 1
        if failure:
            self.counts[failure] += 1
        self.counts["bytes"] += line["bytes_sent"]
        self.seconds.append(line["request_time"])

    def latency_ms(self, q):
        """Nearest-rank quantile of the logged times."""
        return sorted(self.seconds)[max(1, math.ceil(q * len(self.seconds))) - 1] * 1000


def count_by_customer(lines):
    """Count per customer that nginx verified; the rest under `unknown`."""
    counts = defaultdict(Count)
    for line in lines:
        verified = line["verified"] == "1" and line["customer"]
        counts[line["customer"] if verified else "unknown"].add(line)
    return counts


LUA = """
local paths = {{ {paths} }}
local at = 0
function request()
  at = at + 1
  return wrk.format("GET", paths[(at - 1) % #paths + 1])
end
function delay() return {delay_ms} end
"""


class Load:
    """wrk on a mix of signed URLs of every outcome for every customer."""

    def __init__(self, site, seconds, connections=8, delay_ms=25):
        mix = ["/small.bin"] * 12 + ["/medium.bin"] * 4 + ["/missing.bin", "/moved", "/origin/500", "/origin/503"]
        mix += ["/origin/slow"] * 3 + ["/origin/broken", "/slammed"]
        urls = [site.url(c, path) for path in mix for c in site.customers] + [site.url("", "/small.bin")] * 2
        urls.append(site.url(site.customers[0], "/origin/hang"))
        script = site.folder / "load.lua"
        script.write_text(LUA.format(paths=", ".join(f'"{u}"' for u in urls), delay_ms=delay_ms))
        wrk = shutil.which("wrk")
        assert wrk, "wrk is needed: apt-get install wrk"
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s", script]
        self.process = Process([*command, f"http://127.0.0.1:{site.port}/"], site.folder / "wrk.out").start()
        self.deadline_s = seconds + 30

    def wait(self):
        """Until wrk is done."""
        assert self.process.child.wait(self.deadline_s) == 0, self.process.tail()
