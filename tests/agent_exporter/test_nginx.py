"""The shipped nginx configuration in a real nginx: what it logs is what the agent's rules expect."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import agent_exporter
from agent_exporter.lines import Defaults, Event, nginx_line
from agent_exporter.signing import signed_query

NGINX = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)
SHIPPED = Path(agent_exporter.__file__).with_name("nginx")
SECRET = "s3cret"
PROMISED = 400_000


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def upstream(connection: socket.socket) -> None:
    """An origin that misbehaves as the path asks."""
    with connection:
        request = connection.recv(65_536).decode()
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Length: {PROMISED}\r\nCache-Control: max-age=60\r\nConnection: close\r\n\r\n"
        )
        try:
            if "/hang" in request:
                time.sleep(2)
            elif "/break" in request:
                connection.sendall(head.encode() + b"x" * (PROMISED // 2))
            elif "/stall" in request:
                connection.sendall(head.encode() + b"x" * 1000)
                time.sleep(2)
            elif "/drip" in request:
                connection.sendall(head.encode() + b"x" * 1000)
                for _ in range(20):
                    time.sleep(0.05)
                    connection.sendall(b"x" * 1000)
            else:
                connection.sendall(head.encode() + b"x" * PROMISED)
        except OSError:
            return  # nginx has hung up


class Nginx:
    """nginx with the shipped files before the misbehaving origin."""

    def __init__(self, root: Path) -> None:
        assert NGINX is not None, "nginx is needed: apt-get install nginx-light"
        self.root = root
        self.log = root / "dipper.log"
        self.port, dead = free_port(), free_port()
        self.origin = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        server = SHIPPED.joinpath("dipper-server.conf").read_text().replace("/var/log/nginx/dipper.log", str(self.log))
        (root / "dipper-server.conf").write_text(server)
        (root / "www").mkdir()
        (root / "www" / "file").write_bytes(b"f" * 5_000_000)
        (root / "www" / "50x.html").write_text("sorry")
        origin = f"http://127.0.0.1:{self.origin.getsockname()[1]}"
        # The workers of a master that runs as root give up their rights, and could not read the test's files.
        user = "user root;" if os.geteuid() == 0 else ""
        config = f"""
        {user} pid {root}/pid; error_log {root}/error.log; daemon off; worker_processes 1;
        events {{}}
        http {{
          include {SHIPPED}/dipper-log.conf;
          proxy_cache_path {root}/cache keys_zone=z:1m;
          client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
          uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
          server {{
            listen 127.0.0.1:{self.port};
            set $dipper_secret "{SECRET}";
            include {root}/dipper-server.conf;
            root {root}/www; error_page 502 504 /50x.html;
            proxy_read_timeout 500ms; client_header_timeout 300ms; client_body_timeout 300ms;
            location /origin/ {{ proxy_pass {origin}; }}
            location /cached/ {{ proxy_pass {origin}; proxy_cache z; }}
            location /dead/ {{ proxy_pass http://127.0.0.1:{dead}; }}
            location /close {{ return 444; }}
            location /empty {{ return 204; }}
          }}
          server {{
            listen 127.0.0.1:{self.port}; server_name blue.example;
            set $dipper_secret "{SECRET}"; set $dipper_customer blue; set $dipper_service live;
            include {root}/dipper-server.conf;
            root {root}/www;
          }}
        }}"""
        (root / "nginx.conf").write_text(config)
        assert NGINX is not None
        self.process = subprocess.Popen([NGINX, "-p", str(root), "-c", str(root / "nginx.conf")])
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.origin.accept()
            except OSError:
                return
            threading.Thread(target=upstream, args=(connection,), daemon=True).start()

    def get(self, path: str, *, method: str = "GET", leave_after: int | None = None, headers: str = "") -> Event:
        """One request; the event that the agent makes of its log line. `leave_after`: hang up after so many bytes."""
        before = self.lines()
        host = "" if "Host:" in headers else "Host: x\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as client:
            client.sendall(f"{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n".encode("latin-1"))
            got = 0
            while leave_after is None or got < leave_after:
                block = client.recv(4096)
                if not block:
                    break
                got += len(block)
        wait_until(lambda: len(self.lines()) > len(before))
        return nginx_line(self.lines()[-1], Defaults())

    def lines(self) -> list[bytes]:
        return self.log.read_bytes().splitlines() if self.log.exists() else []

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.origin.close()


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    started = Nginx(tmp_path_factory.mktemp("nginx"))
    yield started
    started.close()


@pytest.mark.parametrize(
    ("path", "status", "failure"),
    [
        ("/file", 200, ""),
        ("/origin/whole", 200, ""),
        ("/origin/break", 200, "f_incomplete"),
        ("/origin/stall", 200, "f_incomplete"),
        ("/cached/break", 200, "f_incomplete"),
        ("/origin/hang", 504, "f_timeout"),
        ("/dead/x", 502, "f_server"),
        ("/close", 444, "f_reset"),
        ("/empty", 204, ""),
        ("/nowhere", 404, ""),
    ],
)
def test_answer_is_classified(nginx: Nginx, path: str, status: int, failure: str) -> None:
    event = nginx.get(path)
    assert (event.status, event.failure) == (status, failure)


@pytest.mark.parametrize("path", ["/origin/whole", "/origin/drip", "/cached/drip", "/file"])
def test_client_that_leaves_in_the_middle_is_not_our_failure(nginx: Nginx, path: str) -> None:
    event = nginx.get(path, leave_after=500)
    assert (event.status, event.failure) == (200, "")


def test_client_that_leaves_before_the_answer_is_a_499(nginx: Nginx) -> None:
    event = nginx.get("/origin/hang", leave_after=0)
    assert (event.status, event.failure) == (499, "")


def test_head_promises_nothing(nginx: Nginx) -> None:
    event = nginx.get("/file", method="HEAD")
    assert (event.status, event.failure) == (200, "")


def test_part_of_a_file_is_complete(nginx: Nginx) -> None:
    event = nginx.get("/file", headers="Range: bytes=100-199\r\n")
    assert (event.status, event.failure) == (206, "")


def test_slow_client_is_not_our_failure(nginx: Nginx) -> None:
    event = nginx.get("/origin/whole", method="POST", headers="Content-Length: 5\r\n")
    assert (event.status, event.failure) == (408, "")


def test_second_answer_comes_from_the_cache(nginx: Nginx) -> None:
    hits = [nginx.get("/cached/whole").cache_hit for _ in range(2)]
    assert hits == [False, True]


def test_large_transfer_has_a_throughput(nginx: Nginx) -> None:
    events = [nginx.get("/origin/whole") for _ in range(5)]
    measured = [e for e in events if e.latency_ms > 0]
    assert all(e.throughput_kb_per_s == pytest.approx(PROMISED / e.latency_ms) for e in measured)


DIMENSIONS = {"customer": "acme", "service": "vod", "app": "edge", "isp": "telecom", "region": "hua dong", "rule": "r1"}


def test_signed_parameters_are_verified(nginx: Nginx) -> None:
    query = signed_query(SECRET, "/file", int(time.time()) + 60, **DIMENSIONS)
    assert nginx.get(f"/file?{query}").key == ("acme", "vod", "edge", "telecom", "hua dong", "r1")


def test_signed_parameters_survive_an_error_page(nginx: Nginx) -> None:
    query = signed_query(SECRET, "/dead/x", int(time.time()) + 60, **DIMENSIONS)
    event = nginx.get(f"/dead/x?{query}")
    assert (event.status, event.path) == (502, "/dead/x")
    assert event.key[0] == "acme"


@pytest.mark.parametrize("fraud", ["other path", "other value", "moved value", "expired", "other secret"])
def test_forged_parameters_are_not_believed(nginx: Nginx, fraud: str) -> None:
    later = int(time.time()) + 60
    query = signed_query(SECRET, "/file", later, **DIMENSIONS)
    if fraud == "other path":
        query = signed_query(SECRET, "/else", later, **DIMENSIONS)
    elif fraud == "other value":
        query = query.replace("acme", "blue")
    elif fraud == "moved value":
        query = query.replace("dp_customer=acme&dp_service=vod", "dp_customer=acmevod")
    elif fraud == "expired":
        query = signed_query(SECRET, "/file", later - 120, **DIMENSIONS)
    else:
        query = signed_query("guess", "/file", later, **DIMENSIONS)
    assert nginx.get(f"/file?{query}").key == ("unknown", "web", "nginx", "unknown", "unknown", "unknown")


def test_server_block_names_its_customer(nginx: Nginx) -> None:
    event = nginx.get("/file", headers="Host: blue.example\r\n")
    assert event.key[:2] == ("blue", "live")


def test_strange_bytes_in_a_path_keep_the_line_readable(nginx: Nginx) -> None:
    event = nginx.get("/%ff%22%5c%0a")
    assert event.status == 404


def test_nginx_writes_into_the_renamed_file_until_it_reopens(nginx: Nginx) -> None:
    """The behaviour that the agent's lingering on renamed files rests on."""
    renamed = nginx.log.rename(nginx.log.with_name("dipper.log.1"))
    size = renamed.stat().st_size
    with socket.create_connection(("127.0.0.1", nginx.port), timeout=10) as client:
        client.sendall(b"GET /empty HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.recv(100)
    wait_until(lambda: renamed.stat().st_size > size)
    nginx.process.send_signal(signal.SIGUSR1)
    wait_until(nginx.log.exists)
    size = renamed.stat().st_size
    assert nginx.get("/empty").status == 204
    assert renamed.stat().st_size == size
