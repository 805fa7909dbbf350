"""The running agent: paces the ticks, and puts collector, spool, sender and metrics together."""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from agent_exporter import __version__
from agent_exporter.clock import Clock
from agent_exporter.collector import Collector
from agent_exporter.config import GATEWAY, KAFKA, DeviceKey, Settings, load_key
from agent_exporter.errors import ConfigError
from agent_exporter.metrics import Metric, MetricsServer
from agent_exporter.sender import Sender
from agent_exporter.spool import Spool
from agent_exporter.transport import open_transport
from agent_exporter.vitals import Vitals

GRACE_MS = 250  # nginx writes a line a moment after its time
MAX_WAIT_S = 1.0  # clocks are set; look at them at least this often
# After a pause, this many missed intervals get a report of their own, also when idle. A longer gap stays silent but for
# intervals that have lines: whether the box was idle or switched off is not known.
MAX_MISSED_INTERVALS = 30
DRAIN_S = 5.0  # at the end, for what was just spooled
SAME_MESSAGE_S = 600.0


def system_ms() -> int:
    """The box's clock, ms UTC."""
    return time.time_ns() // 1_000_000


class Pacer:
    """Decides which intervals are due. `interval_ms` divides the grid, so ends are multiples of it."""

    def __init__(self, interval_ms: int, now: int) -> None:
        self._interval_ms = interval_ms
        self._grace_ms = min(GRACE_MS, interval_ms // 4)
        self.next_end = now - now % interval_ms + interval_ms

    def due(self, now: int) -> list[int]:
        """Ends of the intervals to report now, ascending. Follows the clock when it is set."""
        interval = self._interval_ms
        behind = (now - self._grace_ms - self.next_end) // interval
        if behind > MAX_MISSED_INTERVALS or self.next_end - now > 2 * interval:
            self.next_end = now - now % interval
        ends = []
        while self.next_end + self._grace_ms <= now:
            ends.append(self.next_end)
            self.next_end += interval
        return ends

    def wait_s(self, now: int) -> float:
        """Seconds until the next look."""
        return min(MAX_WAIT_S, max(0.01, (self.next_end + self._grace_ms - now) / 1000))


class Log:
    """Sentences to stderr, where systemd's journal picks them up; the same one at most every ten minutes."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._said: dict[str, float] = {}

    def __call__(self, message: str) -> None:
        now_s = self._monotonic_s()
        if now_s - self._said.get(message, -SAME_MESSAGE_S) < SAME_MESSAGE_S:
            return
        if len(self._said) > 100:
            self._said.clear()
        self._said[message] = now_s
        print(f"dipper-agent: {message}", file=sys.stderr, flush=True)


class Agent:
    """One start of the agent. `run` returns when `stop` is set."""

    def __init__(self, settings: Settings, key: DeviceKey, *, random: Random, log: Callable[[str], None]) -> None:
        self._settings = settings
        self._log = log
        self.stop = threading.Event()
        self._stop_sending = threading.Event()
        self.spool = open_spool(settings)
        correction_ms, offset_ms = self.spool.state.get("clock", [0, None])
        self.clock = Clock(system_ms, correction_ms, offset_ms)
        self.boot = secrets.token_hex(8)
        if self.spool.damaged:
            log("spool: damaged records were found and skipped; whole reports among them are declared as spool_corrupt")
        self.sender = Sender(
            settings,
            key,
            self.spool,
            self.clock,
            open_transport(settings, key.device, os.environ),
            monotonic_s=time.monotonic,
            random=random,
            log=log,
            reload_key=lambda: _key_or_none(settings.key_file),
        )
        self.collector = Collector(
            settings,
            key.device,
            self.boot,
            self.spool,
            self.clock,
            Vitals(settings.cache_path, lambda: time.monotonic() * 1000),
            random=random,
            log=log,
            sender_state=self.sender.stats.to_dict,
        )
        self._device = key.device

    def run(self) -> None:
        """Collect and send until stopped; then take what is in the logs, spool it, and try to deliver it."""
        settings = self._settings
        metrics = MetricsServer(settings.metrics_port, self.metrics) if settings.metrics_port else None
        thread = threading.Thread(target=self.sender.run, args=(self._stop_sending,), name="sender", daemon=True)
        thread.start()
        self._log(
            f"ready: version={__version__} device={self._device} boot={self.boot} "
            f"server={settings.server if settings.send_to == GATEWAY else KAFKA} interval_s={settings.interval_s} "
            f"logs={len(settings.logs)} waiting={self.spool.waiting()}"
        )
        interval_ms = settings.interval_s * 1000
        pacer = Pacer(interval_ms, self.clock.now())
        while not self.stop.is_set():
            self._tick_due(pacer.due(self.clock.now()))
            self.stop.wait(pacer.wait_s(self.clock.now()))
        now = self.clock.now()
        self.collector.tick(now - now % interval_ms + interval_ms)
        self._drain()
        self._stop_sending.set()
        thread.join(timeout=DRAIN_S)
        self.collector.checkpoint()
        self.collector.close()
        self.spool.close()
        if metrics is not None:
            metrics.close()
        self._log(f"stopped: waiting={self.spool.waiting()}")

    def _tick_due(self, ends: list[int]) -> None:
        for end in ends:
            # Vitals are differences to the last reading; only the newest interval can have them.
            self.collector.tick(end, with_vitals=end == ends[-1])

    def _drain(self) -> None:
        self.sender.hurry()
        deadline = time.monotonic() + DRAIN_S
        while self.spool.waiting() and time.monotonic() < deadline and not self.sender.is_blocked:
            self._stop_sending.wait(0.02)

    def metrics(self) -> list[Metric]:
        """The agent's figures."""
        counters, stats, spool = self.collector.counters, self.sender.stats, self.spool
        dropped = {c: float(n) for c, n in counters.dropped_requests.items()}
        dropped.update((cause, float(d.requests)) for cause, d in spool.dropped().items())
        last = stats.last_delivered_at
        ago_s = (self.clock.system() - last) / 1000 if last is not None else None
        found = [
            Metric("dipper_agent_lines", "counter", "Log lines read.", {"": counters.lines}),
            Metric("dipper_agent_requests", "counter", "Requests seen, dropped included.", {"": counters.requests}),
            Metric("dipper_agent_dropped_requests", "counter", "Requests declared dropped.", dropped, "cause"),
            Metric("dipper_agent_folded", "counter", "Events with a value folded into other.", {"": counters.folded}),
            Metric("dipper_agent_lines_ahead", "counter", "Lines ahead of the clock.", {"": counters.ahead}),
            Metric("dipper_agent_spool_reports", "gauge", "Reports that wait.", {"": spool.waiting()}),
            Metric("dipper_agent_spool_bytes", "gauge", "Spool on disk.", {"": spool.size_bytes}),
            Metric("dipper_agent_spool_written_bytes", "counter", "Written to the spool.", {"": spool.written_bytes}),
            Metric("dipper_agent_answers", "counter", "Attempts by answer.", dict(stats.answers), "status"),
            Metric("dipper_agent_delivered_reports", "counter", "Reports delivered.", {"": stats.delivered}),
            Metric("dipper_agent_let_go_reports", "counter", "Reports the server refused.", {"": stats.let_go}),
            Metric("dipper_agent_sent_bytes", "counter", "Bodies delivered, compressed.", {"": stats.sent_bytes}),
            Metric("dipper_agent_clock_correction_ms", "gauge", "Added to the clock.", {"": self.clock.correction_ms}),
        ]
        if ago_s is not None:
            found.append(Metric("dipper_agent_delivered_ago_seconds", "gauge", "Since the last delivery.", {"": ago_s}))
        return found


def open_spool(settings: Settings) -> Spool:
    """The spool of a configuration. Raises ConfigError when its directory cannot be used, or is used already."""
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        # Held until the process ends, however it ends.
        lock = os.open(settings.state_dir / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"state_dir: {settings.state_dir} is in use by another agent") from None
    except OSError as error:
        raise ConfigError(f"state_dir: {settings.state_dir} cannot be used: {error}") from None
    try:
        return Spool(settings.state_dir / "spool", settings.spool_max_bytes)
    except OSError as error:
        raise ConfigError(f"state_dir: {settings.state_dir} cannot be used: {error}") from None


def _key_or_none(path: Path) -> DeviceKey | None:
    try:
        return load_key(path)
    except ConfigError:
        return None


def run(settings: Settings, key: DeviceKey) -> None:
    """Run until SIGTERM or SIGINT."""
    agent = Agent(settings, key, random=Random(), log=Log())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop.set())
    agent.run()
