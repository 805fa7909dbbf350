"""The scheduler's client: a local copy of the scores that a placement asks without waiting for anybody.

    feed = HealthClient("https://dipper.example", token)
    feed.start()
    share = feed.share(device)    # 0 < share <= 1, from a dictionary

A thread takes a snapshot, follows the stream, and comes back with a snapshot when it is told to. Whatever happens to
it, look-ups go on: scores fade to neutral after their expiry, and without a feed every box gets its usual share. Needs
the standard library only.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from contracts.health import DRAIN, FADE_MS, FULL_SHARE, NEUTRAL, REDUCE, SERVE, faded

logger = logging.getLogger(__name__)

TIMEOUT_S = 40.0  # the feed says something every 15 s
FADE_EVERY_S = 1.0
FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 30.0
MOST_BODY_BYTES = 512 * 1024 * 1024
MOST_LINE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Known:
    """A box as the feed last told it."""

    value: float
    state: str
    share: float
    version: int
    expires_at: int


class ClientError(Exception):
    """The feed cannot be used as told: a wrong address, a token that is not accepted. Not retriable by waiting."""


class Behind(Exception):
    """The feed does not know our version: a snapshot is due."""


class Copy:
    """The local copy. Look-ups take no lock: they read a dictionary of plain numbers that another thread replaces item
    by item. `apply`, `replace` and `fade` belong to one thread."""

    def __init__(self) -> None:
        self.version = 0
        self._known: dict[str, Known] = {}
        self._shares: dict[str, float] = {}
        self._fading: set[str] = set()
        self.share = self._shares.get  # bound once: share(device, 1.0) is one call into C

    def __len__(self) -> int:
        return len(self._known)

    def known(self, device: str) -> Known | None:
        """What was last told of a box, expired or not."""
        return self._known.get(device)

    def replace(self, version: int, rows: Iterator[Mapping[str, Any]], now: int) -> None:
        """Take a snapshot: boxes that are not in it are forgotten."""
        fresh = {str(row["device"]): _known(row) for row in rows}
        for device in [d for d in self._known if d not in fresh]:
            del self._known[device]
            self._shares.pop(device, None)
            self._fading.discard(device)
        for device, known in fresh.items():
            self._take(device, known, now)
        self.version = version

    def apply(self, version: int, rows: Iterator[Mapping[str, Any]], now: int) -> None:
        """Take changes; a row that is not newer than what is known changes nothing."""
        for row in rows:
            device, new = str(row["device"]), _known(row)
            old = self._known.get(device)
            if old is None or new.version > old.version:
                self._take(device, new, now)
        self.version = max(self.version, version)

    def fade(self, now: int) -> int:
        """Let what has expired fade; returns how many scores are no longer what the feed told."""
        for device, known in self._known.items():
            late = now - known.expires_at
            if late <= 0:
                continue
            if late < FADE_MS or self._shares.get(device) != FULL_SHARE:
                self._shares[device] = faded(known.share, FULL_SHARE, known.expires_at, now)
            self._fading.add(device)
        return len(self._fading)

    def value(self, device: str, now: int) -> float:
        """The value, faded if need be; NEUTRAL for a box nobody told of."""
        known = self._known.get(device)
        return NEUTRAL if known is None else faded(known.value, NEUTRAL, known.expires_at, now)

    def _take(self, device: str, known: Known, now: int) -> None:
        self._known[device] = known
        self._shares[device] = faded(known.share, FULL_SHARE, known.expires_at, now)
        self._fading.discard(device)


def _known(row: Mapping[str, Any]) -> Known:
    value, share, state = float(row["value"]), float(row["share"]), str(row["state"])
    if not (0.0 <= value <= 1.0 and 0.0 <= share <= 1.0 and state in (SERVE, REDUCE, DRAIN)):
        raise ValueError(f"score of {row['device']!r}: expected value and share 0 to 1 and a state, got {row!r:.200}")
    return Known(value, state, share, int(row["version"]), int(row["expires_at"]))


class HealthClient:
    """See the module's text. `url`: where the feed is, http or https; `context`: for https, the system's roots by
    default. `clock`: ms UTC. `start` and `stop` the thread; `share`, `value`, `state` never wait and never raise."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        context: ssl.SSLContext | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ClientError(f"url: expected http://HOST or https://HOST, got {url!r}")
        self.copy = Copy()
        self.error = ""
        self.connected = False
        self._parts = parts
        self._headers = {"authorization": f"Bearer {token}"}
        self._context = context
        self._clock = clock
        self._stopping = threading.Event()
        self._filled = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    # --- what placements ask ---

    def share(self, device: str) -> float:
        """Part of its usual traffic the box should get now."""
        return self.copy.share(device, FULL_SHARE)

    def value(self, device: str) -> float:
        """Its value now, 0..1."""
        return self.copy.value(device, self._clock())

    def state(self, device: str) -> str:
        """serve, reduce or drain; serve for an expired score and for a box nobody told of."""
        known = self.copy.known(device)
        return SERVE if known is None or self._clock() > known.expires_at else known.state

    # --- life ---

    def start(self) -> None:
        """Begin to follow."""
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._follow, name="health-feed", daemon=True),
                threading.Thread(target=self._fade, name="health-fade", daemon=True),
            ]
            for thread in self._threads:
                thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the first snapshot; False: it has not come."""
        return self._filled.wait(timeout_s)

    def stop(self) -> None:
        """Stop following; the copy stays and fades no more."""
        self._stopping.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):  # it may be closed already
                connection.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5.0)

    def _fade(self) -> None:
        while not self._stopping.wait(FADE_EVERY_S):
            with self._lock:
                self.copy.fade(self._clock())

    def _follow(self) -> None:
        chance = random.Random()
        failures, snapshot_due = 0, True
        while not self._stopping.is_set():
            try:
                if snapshot_due:
                    self._snapshot()
                    snapshot_due = False
                for _ in self._events():
                    failures = 0
            except Behind:
                snapshot_due = True
            except Exception as error:  # whatever a broken answer raises: this thread is the only one that asks again
                if not self._stopping.is_set():
                    self.error = f"{type(error).__name__}: {error}"
                    logger.warning("health feed: %s (will retry)", self.error)
            self.connected = False
            failures += 1
            most = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(failures - 1, 6))
            self._stopping.wait(chance.uniform(0, most))

    def _snapshot(self) -> None:
        response = self._get("/v1/health/devices?view=brief", {"accept-encoding": "gzip"})
        body = response.read(MOST_BODY_BYTES)
        told = response.getheader("content-length")
        if told is not None and len(body) != int(told):  # read() with a limit is silent about an early end
            raise ConnectionError(f"snapshot: expected {told} bytes, got {len(body)}")
        if response.getheader("content-encoding") == "gzip":
            body = gzip.decompress(body)
        document = json.loads(body)
        with self._lock:
            self.copy.replace(int(document["version"]), iter(document["devices"]), self._clock())
        self._filled.set()

    def _events(self) -> Iterator[None]:
        """Apply events until the stream ends."""
        response = self._get(f"/v1/health/stream?view=brief&since={self.copy.version}", {"accept": "text/event-stream"})
        self.connected, self.error = True, ""
        data: list[bytes] = []
        while line := response.readline(MOST_LINE_BYTES + 1):
            if len(line) > MOST_LINE_BYTES:
                raise ValueError(f"stream: expected lines of at most {MOST_LINE_BYTES} bytes")
            line = line.rstrip(b"\r\n")
            if line.startswith(b"data:"):
                data.append(line[5:].lstrip(b" "))
            elif not line and data:
                document = json.loads(b"\n".join(data))
                data = []
                with self._lock:
                    self.copy.apply(int(document["version"]), iter(document["devices"]), self._clock())
                yield
        raise ConnectionError("the stream ended")

    def _get(self, path: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        if self._connection is not None:
            self._connection.close()
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            context = self._context or ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
        else:
            self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        self._connection.request("GET", self._parts.path.rstrip("/") + path, headers={**self._headers, **headers})
        response = self._connection.getresponse()
        if response.status == 410:
            raise Behind
        if response.status != 200:
            raise ClientError(f"{path}: expected 200, got {response.status}: {response.read(500)!r}")
        return response
