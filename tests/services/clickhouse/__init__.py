"""A ClickHouse server for tests, as a process of its own: the native protocol in front of the embedded engine."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

_ROOT = Path(__file__).parents[3]


PORTS = range(20_000, 32_000)  # below Linux' ephemeral ones: while it is down, no outgoing connection sits on its port


class NativeServer:
    """A server on a free loopback port. `kill` and `start` again (or `restart`): same port, same data. `cert`, `key`:
    PEM files to speak TLS with; the client then needs `&ca=..` besides `.url`.

    The process ends with the one that started it. Its own output is in `server.log` of the folder."""

    def __init__(
        self, folder: Path, *, database: str = "dipper", cert: Path | None = None, key: Path | None = None
    ) -> None:
        self.folder = folder
        self.url = ""
        self.port = _free_port()
        self._password = secrets.token_hex(12)
        self._options = ["--database", database]
        if cert is not None:
            self._options += ["--cert", str(cert), "--key", str(key)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process, None when none runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> Self:
        """Start and wait until it takes connections. Raises RuntimeError with its last words."""
        if self._process is not None:
            return self
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.services.clickhouse", "--while-stdin", "--folder"]
        command += [str(self.folder / "data"), "--port", str(self.port), *self._options]
        log = self.folder / "server.log"
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                cwd=_ROOT,
                env={**os.environ, "CLICKHOUSE_PASSWORD": self._password},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,  # Ctrl-C reaches whoever owns the server, and that stops it last
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode().strip()
        if not line:
            self.kill()
            raise RuntimeError(f"clickhouse test server did not start: {log.read_text()[-2000:]}")
        self.url = line
        self.port = int(line.rpartition("@")[2].partition(":")[2].partition("/")[0])
        return self

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._end(kill=False)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        self._end(kill=True)

    def restart(self) -> None:
        """Stop it if it runs; start on the same port with the same data."""
        self.stop()
        self.start()

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill() if kill else process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _free_port() -> int:
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"no free port in {PORTS.start}..{PORTS.stop - 1} on 127.0.0.1")
