"""A cluster of real processes on loopback: broker, engine behind the native protocol, gateways, workers, sink, pages.

Every process gets its settings from environment variables alone, as compose.yaml gives them. Ports, data and logs stay
the same when a process is killed and started again. Children run in sessions of their own: Ctrl-C reaches whoever owns
the cluster, who stops them in order.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from tests.e2e.processes import ROOT, python
from tests.services.clickhouse import NativeServer
from tests.services.kafka import Broker
from tests.services.kafka.broker import free_ports

READY_DEADLINE_S = 120.0
STOP_DEADLINE_S = 60.0
COMMAND_DEADLINE_S = 120.0
ANSWER_TIMEOUT_S = 5.0
POLL_S = 0.1
HOST = "127.0.0.1"
JOBS = ("triage", "health", "feed")
_SAMPLE = re.compile(r"^(\w+)(\{[^}]*\})? (\S+)$", re.MULTILINE)


class ClusterError(Exception):
    """A process did not do what it should: a sentence, and the end of its log."""


class Member:
    """One `dipper` process with a listener for /metrics, /healthz and /readyz. `health`, `public`: its ports."""

    def __init__(self, name: str, command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.health, self.public = free_ports(2)
        self._command = python("-m", "dipper", *command)
        given = {"DIPPER_HOST": HOST, "DIPPER_PORT": str(self.health), "DIPPER_DATA": str(folder / name)}
        if command[0] in ("gateway", "feed"):
            given["DIPPER_PUBLIC"] = f"{HOST}:{self.public}"
        self._environment = {**clean_environment(), "PYTHONUNBUFFERED": "1", **environment, **given}
        self._child: subprocess.Popen[bytes] | None = None
        self.wanted = False  # should run: it was started and not asked to end

    @property
    def url(self) -> str:
        """Where health, metrics and local doors are."""
        return f"http://{HOST}:{self.health}"

    @property
    def boxes(self) -> str:
        """Where boxes post, of a gateway; where schedulers ask, of a feed."""
        return f"http://{HOST}:{self.public}"

    @property
    def pid(self) -> int:
        """Process id of the last start."""
        assert self._child is not None, f"{self.name} was never started"
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._child is not None and self._child.poll() is None

    def launch(self) -> None:
        """Start, without waiting."""
        assert not self.running, f"{self.name} runs already"
        self.wanted = True
        with self.log.open("ab") as out:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=ROOT,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start and wait until it is ready."""
        self.launch()
        self.wait_ready()

    def ready(self) -> bool:
        """Whether /readyz says yes."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=ANSWER_TIMEOUT_S) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def wait_ready(self, deadline_s: float = READY_DEADLINE_S) -> None:
        """Until it is ready. Raises ClusterError when it ends before, or at the deadline."""
        end = time.monotonic() + deadline_s
        while not self.ready():
            if not self.running:
                raise ClusterError(f"{self.name} ended while starting, exit code {self.exit_code}:\n{self.tail()}")
            if time.monotonic() > end:
                raise ClusterError(f"{self.name} was not ready within {deadline_s:.0f} s:\n{self.tail()}")
            time.sleep(POLL_S)

    def metrics(self) -> dict[str, float]:
        """Samples of /metrics by name with labels as written; empty while it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.url}/metrics", timeout=ANSWER_TIMEOUT_S) as answer:
                text = answer.read().decode()
        except (OSError, urllib.error.URLError):
            return {}
        return {name + labels: float(value) for name, labels, value in _SAMPLE.findall(text)}

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        assert self._child is not None, f"{self.name} was never started"
        self._child.kill()
        self._child.wait()

    def terminate(self) -> None:
        """SIGTERM, once, without waiting."""
        if self.running and self.wanted:
            assert self._child is not None
            self._child.send_signal(signal.SIGTERM)
        self.wanted = False

    def stop(self, deadline_s: float = STOP_DEADLINE_S) -> int | None:
        """SIGTERM and its exit code; None when it never ran. Killed at the deadline, which is a ClusterError."""
        if self._child is None:
            return None
        self.terminate()
        try:
            return self._child.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ClusterError(f"{self.name} did not stop within {deadline_s:.0f} s:\n{self.tail()}") from None

    @property
    def exit_code(self) -> int | None:
        """Of the last process, None while it runs."""
        return None if self._child is None else self._child.poll()

    def tail(self, lines: int = 30) -> str:
        """The end of its log, with the path."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join([f"{self.log}:", *text.splitlines()[-lines:]])


class Cluster:
    """Everything of one deployment below `folder`, for use in a `with` block, which stops it whatever happens.

    `jobs`: with detection, health scores and the feed, which ask for a core of their own. `settings`: more environment
    of all processes. `prepare(environment)` is called once topics exist and before any process of Dipper runs: to fill
    the registry.
    `exit_codes`: of the processes that `stop` ended, by name.
    """

    def __init__(
        self,
        folder: Path,
        *,
        gateways: int = 2,
        workers: int = 1,
        dashboards: bool = True,
        jobs: bool = False,
        partitions: int = 6,
        settings: Mapping[str, str] | None = None,
        prepare: Callable[[Mapping[str, str]], None] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.broker = Broker(folder / "kafka")
        self.engine = NativeServer(folder / "clickhouse")
        self.exit_codes: dict[str, int | None] = {}
        self.partitions = partitions
        self._prepare = prepare
        self._say = say
        self._settings = dict(settings or {})
        self._sizes = {"gateway": gateways, "worker": workers, **dict.fromkeys(JOBS, int(jobs))}
        self._sizes["dashboards"] = int(dashboards)
        self.members: dict[str, Member] = {}

    # --- who is there ---

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs to reach this cluster."""
        return {
            **self.broker.environment,
            "DIPPER_STORE": self.engine.url,
            "DIPPER_DATA": str(self.folder / "command"),
            **self._settings,
        }

    def of(self, kind: str) -> list[Member]:
        """Members of a kind (gateway, worker, sink, triage ..), running or not, in the order they were added."""
        return [member for name, member in self.members.items() if name.rstrip("-0123456789") == kind]

    def wanted(self) -> list[Member]:
        """Members that should run now, dead ones included."""
        return [member for member in self.members.values() if member.wanted]

    def add(self, kind: str) -> Member:
        """One more member of a kind, not started yet."""
        number = len(self.of(kind)) + 1
        name = kind if kind in ("sink", "dashboards") else f"{kind}-{number}"
        member = Member(name, [kind], self.folder, self.environment)
        self.members[name] = member
        return member

    # --- life ---

    def start(self) -> None:
        """Start everything, upstream last, and wait until all are ready."""
        self._say("broker")
        self.broker.start()
        self._say("engine")
        self.engine.start()
        self.run("topics", "apply", "--partitions", str(self.partitions), as_json=False)
        if self._prepare is not None:
            self._prepare(self.environment)
        self.add("sink")
        for kind, size in self._sizes.items():
            for _ in range(size):
                self.add(kind)
        self.start_members()

    def start_members(self, members: Iterable[Member] | None = None) -> None:
        """Start the given members, all without; pages last, because the sink makes the tables they read."""
        chosen = sorted(self.members.values() if members is None else members, key=lambda m: m.name == "dashboards")
        for member in chosen:
            self._say(member.name)
            if member.name == "dashboards":
                for other in chosen[:-1]:
                    other.wait_ready()
            member.launch()
        for member in chosen:
            member.wait_ready()

    def stop_members(self) -> None:
        """Stop in the order of the flow, so that what was accepted upstream is worked off downstream. Raises the first
        ClusterError after all were stopped."""
        failures = []
        for kinds in (("gateway",), ("worker",), ("triage", "health"), ("feed", "dashboards", "sink")):
            chosen = [m for m in self.members.values() if m.name.rstrip("-0123456789") in kinds]
            for member in chosen:
                member.terminate()
            for member in chosen:
                try:
                    self.exit_codes[member.name] = member.stop()
                except ClusterError as error:
                    failures.append(error)
        if failures:
            raise failures[0]

    def stop(self) -> None:
        """Stop everything, broker and engine last."""
        try:
            self.stop_members()
        finally:
            try:
                self.engine.stop()
            finally:
                self.broker.stop()

    def kill(self) -> None:
        """SIGKILL to whatever runs."""
        for member in self.members.values():
            if member.running:
                member.kill()
        self.engine.kill()
        self.broker.kill()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            with undisturbed():
                self.kill()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with undisturbed():
            try:
                self.stop()
            except Exception:
                self.kill()
                if kind is None:  # else another failure is on its way and must not be hidden by one while stopping
                    raise

    # --- commands ---

    def run(self, *arguments: str, as_json: bool = True) -> Any:
        """`dipper ARGUMENTS` on this cluster, to its end: its parsed `--json` output, or its text. Raises ClusterError
        on another exit code than 0."""
        command = python("-m", "dipper", *arguments, *(["--json"] if as_json else []))
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                cwd=ROOT,
                timeout=COMMAND_DEADLINE_S,
                env={**clean_environment(), **self.environment},
            )
        except subprocess.TimeoutExpired:
            raise ClusterError(f"dipper {' '.join(arguments)}: no end within {COMMAND_DEADLINE_S:.0f} s") from None
        if done.returncode != 0:
            output = (done.stdout + done.stderr)[-3_000:]
            raise ClusterError(f"dipper {' '.join(arguments)}: exit code {done.returncode}:\n{output}")
        return json.loads(done.stdout) if as_json else done.stdout


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of another deployment."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DIPPER_")}


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """A second Ctrl-C, or a SIGTERM after it, must not leave processes behind. Only where signals can be set at all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def end_on_sigterm() -> None:
    """Make SIGTERM end this process as Ctrl-C does, through `with` blocks; and SIGINT too, where a shell that started
    it in the background has it ignored."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
