"""A Kafka cluster of one or more combined broker and controller nodes (KRaft), each a process of its own."""

from __future__ import annotations

import base64
import contextlib
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from contracts.kafka import KafkaSettings
from tests.services.kafka.jars import HERE, BrokerError, jars, program

START_DEADLINE_S = 90
STOP_DEADLINE_S = 30
SERVER = "kafka.Kafka"
ARCHIVE = "classes.jsa"  # loaded classes as the JVM maps them: a start takes half the work
STARTED = b"Kafka Server started"
# Below Linux' range of ephemeral ports: while a node is down no outgoing connection can sit on its port.
PORTS = range(20_000, 32_000)


class Broker:
    """Nodes 1..`nodes` with data, configuration and server.log in `folder`/node-N. Ports and data survive stop, kill
    and restart. `port`: of node 1 (then 2, 3 follow), None takes free ones; controllers always take free ones.
    `properties`: further broker settings. `quick`: starts with less work, and does its own work with more: for tests.
    Methods without a node act on all. Raises BrokerError with the log's tail.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 1,
        *,
        port: int | None = None,
        heap_mb: int = 384,
        properties: dict[str, str] | None = None,
        quick: bool = False,
    ) -> None:
        self.folder = folder
        self.nodes = range(1, nodes + 1)
        self._heap_mb = heap_mb
        ports = free_ports(2 * nodes)
        self._ports = dict(zip(self.nodes, ports[:nodes] if port is None else range(port, port + nodes), strict=True))
        self._controllers = dict(zip(self.nodes, ports[nodes:], strict=True))
        self._properties = properties or {}
        self._quick = quick
        self._dump: Path | None = None  # where to write the archive of classes at the end
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._formatted = False

    @property
    def settings(self) -> KafkaSettings:
        """How to reach it, all nodes."""
        return KafkaSettings(tuple(f"127.0.0.1:{port}" for port in self._ports.values()))

    @property
    def environment(self) -> dict[str, str]:
        """The same as environment variables of a process."""
        return {"DIPPER_KAFKA": ",".join(self.settings.brokers)}

    def pid(self, node: int = 1) -> int:
        """Process id of a running node."""
        return self._processes[node].pid

    # --- life ---

    def start(self, node: int | None = None) -> None:
        """Start what is not running and wait until it serves."""
        if not self._formatted:
            if self._dump is None:
                prepare()
            self._format()
        chosen = [n for n in self._chosen(node) if not self._running(n)]
        marks = {n: self._log(n).stat().st_size if self._log(n).exists() else 0 for n in chosen}
        for n in chosen:
            self._processes[n] = self._launch(n)
        deadline = time.monotonic() + START_DEADLINE_S
        for n in chosen:
            self._await(n, marks[n], deadline)

    def stop(self, node: int | None = None) -> None:
        """End in order (SIGTERM); SIGKILL after a deadline: of several nodes the last ones find no quorum to leave."""
        chosen = [n for n in self._chosen(node) if self._running(n)]
        for n in chosen:
            self._processes[n].terminate()
        deadline = time.monotonic() + (STOP_DEADLINE_S if len(chosen) == 1 else STOP_DEADLINE_S / 6)
        for n in chosen:
            try:
                self._processes[n].wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._processes[n].kill()
                self._processes[n].wait()

    def kill(self, node: int | None = None) -> None:
        """SIGKILL, at once."""
        chosen = [n for n in self._chosen(node) if self._running(n)]
        for n in chosen:
            self._processes[n].send_signal(signal.SIGKILL)
        for n in chosen:
            self._processes[n].wait()

    def restart(self, node: int | None = None) -> None:
        """Stop what runs, then start on the same ports and data."""
        self.stop(node)
        self.start(node)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- one node ---

    def _chosen(self, node: int | None) -> Iterable[int]:
        return self.nodes if node is None else (node,)

    def _running(self, node: int) -> bool:
        return node in self._processes and self._processes[node].poll() is None

    def _home(self, node: int) -> Path:
        return self.folder / f"node-{node}"

    def _log(self, node: int) -> Path:
        return self._home(node) / "server.log"

    def _java(self, main: str, *arguments: str) -> list[str]:
        flags = [f"-Xmx{self._heap_mb}m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Djava.awt.headless=true"]
        folder = jars()
        if self._dump is None:
            flags += [f"-XX:SharedArchiveFile={folder / ARCHIVE}", "-Xshare:auto"]
        elif main == SERVER:
            flags.append(f"-XX:ArchiveClassesAtExit={self._dump}")
        if self._quick or main != SERVER:
            flags.append("-XX:TieredStopAtLevel=1")
        flags += [f"-Dlog4j2.configurationFile={HERE / 'log4j2.xml'}", "-cp", f"{folder}/*", main]
        return [program("java", "openjdk-17-jre-headless"), *flags, *arguments]

    def _format(self) -> None:
        """Write configurations; give new storage its cluster id."""
        running = []
        # A first byte of 0 is written "A": an id that begins with "-" would be taken for an option.
        cluster = base64.urlsafe_b64encode(bytes(1) + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        for node in self.nodes:
            home = self._home(node)
            home.mkdir(parents=True, exist_ok=True)
            file = home / "server.properties"
            file.write_text("".join(f"{key}={value}\n" for key, value in self._configuration(node).items()))
            if not (home / "data" / "meta.properties").exists():
                command = self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(file))
                running.append((node, self._run(command, home / "format.log")))
        for node, process in running:
            if process.wait(START_DEADLINE_S):
                raise BrokerError(f"Kafka's storage could not be formatted:\n{tail(self._home(node) / 'format.log')}")
        self._formatted = True

    def _launch(self, node: int) -> subprocess.Popen[bytes]:
        return self._run(self._java(SERVER, str(self._home(node) / "server.properties")), self._log(node))

    def _run(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            # A session of its own: Ctrl-C reaches whoever owns the broker, and that stops it last.
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    def _await(self, node: int, mark: int, deadline: float) -> None:
        """Until the node's log says that it serves."""
        while True:
            with self._log(node).open("rb") as file:
                file.seek(mark)
                if STARTED in file.read():
                    return
            if not self._running(node):
                raise BrokerError(f"Kafka node {node} ended while starting:\n{tail(self._log(node))}")
            if time.monotonic() > deadline:
                raise BrokerError(f"Kafka node {node} did not start in {START_DEADLINE_S} s:\n{tail(self._log(node))}")
            time.sleep(0.05)

    def _configuration(self, node: int) -> dict[str, str]:
        copies = str(min(len(self.nodes), 3))
        return {
            "process.roles": "broker,controller",
            "node.id": str(node),
            "controller.quorum.voters": ",".join(f"{n}@127.0.0.1:{p}" for n, p in self._controllers.items()),
            "listeners": f"CLIENTS://127.0.0.1:{self._ports[node]},CONTROLLER://127.0.0.1:{self._controllers[node]}",
            "advertised.listeners": f"CLIENTS://127.0.0.1:{self._ports[node]}",
            "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "CLIENTS",
            "log.dirs": str(self._home(node) / "data"),
            "auto.create.topics.enable": "false",
            "delete.topic.enable": "true",
            "num.network.threads": "2",
            "num.io.threads": "4",
            "offsets.topic.num.partitions": "8",
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.cleaner.threads": "1",
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
            # Simulated time must not meet a wall-clock retention in a test: look for old segments once a day.
            "log.retention.check.interval.ms": "86400000",
            # A node that was killed is noticed in seconds.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "replica.lag.time.max.ms": "5000",
            "controlled.shutdown.enable": "true",
            **self._properties,
        }


def prepare() -> Path:
    """Have the jars and the archive of their classes ready, once per machine; returns their folder. Raises
    BrokerError."""
    folder = jars()
    if not (folder / ARCHIVE).exists():
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".archive-") as scratch:
            broker = Broker(Path(scratch))
            broker._dump = Path(scratch) / ARCHIVE
            with broker:
                pass  # it is written when the broker ends
            if broker._dump.exists():
                broker._dump.rename(folder / ARCHIVE)
    return folder


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on, all different."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.sample(PORTS, len(PORTS)):
            if len(ports) == count:
                return ports
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    raise BrokerError(f"fewer than {count} free ports in {PORTS.start}..{PORTS.stop - 1} on 127.0.0.1")


def tail(log: Path) -> str:
    """The last lines of a log, with its path."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-20:]
    except OSError as error:
        return f"{log}: {os.strerror(error.errno or 0)}"
    return "\n".join([f"{log}:", *lines])
