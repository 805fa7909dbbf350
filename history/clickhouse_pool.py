"""Connections to the hosts of one history: kept, shared between threads, and moved to another host when one is away."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from contracts.protocols import StoreUnavailable
from history.clickhouse_connection import NativeConnection
from history.clickhouse_url import Servers
from history.errors import ReplicaAway

_T = TypeVar("_T")
_AVOID_S = 5.0


class Hosts:
    """Which host to try first: the one that served last. One that failed is left alone for a few seconds (with jitter,
    so that a fleet of readers does not come back in step), unless none is left."""

    def __init__(self, servers: Servers, clock: Callable[[], float] = time.monotonic) -> None:
        self._hosts = list(servers.hosts)
        self._away_until = dict.fromkeys(servers.hosts, 0.0)
        self._clock = clock
        self._lock = threading.Lock()

    def in_order(self) -> list[tuple[str, int]]:
        """All hosts, those that should be up first."""
        with self._lock:
            now = self._clock()
            return sorted(self._hosts, key=lambda host: self._away_until[host] > now)

    def served(self, host: tuple[str, int]) -> None:
        """A host answered: stay with it."""
        with self._lock:
            self._away_until[host] = 0.0
            self._hosts.sort(key=lambda other: other != host)

    def failed(self, host: tuple[str, int]) -> None:
        """A host did not."""
        with self._lock:
            self._away_until[host] = self._clock() + _AVOID_S * random.uniform(0.8, 1.2)


class Pool:
    """At most `size` connections in use at a time; a caller waits for one up to `wait_s`."""

    def __init__(self, servers: Servers, hosts: Hosts, size: int, wait_s: float) -> None:
        self._servers = servers
        self._hosts = hosts
        self._size = size
        self._wait_s = wait_s
        self._places = threading.BoundedSemaphore(size)
        self._idle: list[NativeConnection] = []
        self._lock = threading.Lock()
        self._closed = False

    def run(self, work: Callable[[NativeConnection], _T], *, repeatable: bool) -> _T:
        """Do something on a connection. When a host is away the next one is asked: after everything that was
        certainly not run, and, if it is `repeatable`, also after what may have been. Raises what the last host said."""
        if not self._places.acquire(timeout=self._wait_s):
            raise StoreUnavailable(f"history: all {self._size} connections are busy; ask again later")
        try:
            return self._run(work, repeatable=repeatable)
        finally:
            self._places.release()

    def _run(self, work: Callable[[NativeConnection], _T], *, repeatable: bool) -> _T:
        said: list[ReplicaAway] = []
        for host in self._hosts.in_order():
            try:
                with self._connection(host) as connection:
                    result = work(connection)
            except ReplicaAway as error:
                self._hosts.failed(host)
                self._forget(host)
                said.append(error)
                if error.sent and not repeatable:
                    break
            else:
                self._hosts.served(host)
                return result
        raise ReplicaAway("; ".join(dict.fromkeys(str(e) for e in said)), sent=said[-1].sent)

    @contextlib.contextmanager
    def _connection(self, host: tuple[str, int]) -> Iterator[NativeConnection]:
        connection = self._kept(host) or NativeConnection(self._servers, host)
        try:
            yield connection
        finally:
            with self._lock:
                keep = connection.connected and not self._closed
                if keep:
                    self._idle.append(connection)
            if not keep:
                connection.close()

    def _kept(self, host: tuple[str, int]) -> NativeConnection | None:
        """An idle connection that still answers."""
        while True:
            with self._lock:
                if self._closed:
                    raise StoreUnavailable("history: the store is closed")
                kept = [idle for idle in self._idle if idle.at == host]
                if not kept:
                    return None
                self._idle.remove(kept[-1])
            if kept[-1].alive():
                return kept[-1]

    def _forget(self, host: tuple[str, int]) -> None:
        with self._lock:
            gone = [idle for idle in self._idle if idle.at == host]
            self._idle = [idle for idle in self._idle if idle.at != host]
        for connection in gone:
            connection.close()

    def close(self) -> None:
        """Close idle connections; those in use are closed when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
