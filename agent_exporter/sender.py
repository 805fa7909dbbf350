"""Sends what the spool holds: the newest interval first, the backlog behind it at a bounded rate."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from agent_exporter.clock import Clock
from agent_exporter.config import DeviceKey, Settings
from agent_exporter.entries import Entry
from agent_exporter.errors import SendError
from agent_exporter.spool import Spool
from agent_exporter.transport import Answer, Poster
from contracts.auth import SERVER_TIME_HEADER, VERSIONS_HEADER, headers_for
from contracts.report import VERSION

TELEMETRY_PATH = "/v1/telemetry"
LET_GO = (400, 409, 413, 422)  # the server has counted the report as rejected
BACKOFF_BASE_S = 1.0
MAX_RETRY_AFTER_S = 3600.0
IDLE_S = 0.5  # how long a new report may go unnoticed


@dataclass(slots=True)
class SenderStats:
    """What became of the attempts, since the agent's start."""

    answers: dict[str, int] = field(default_factory=dict)  # status, or `none` without an answer -> attempts
    delivered: int = 0
    let_go: int = 0
    sent_bytes: int = 0  # bodies of delivered reports
    last_delivered_at: int | None = None  # system clock, ms
    last_error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """What `status` shows."""
        return {
            "answers": self.answers.copy(),
            "delivered": self.delivered,
            "let_go": self.let_go,
            "sent_bytes": self.sent_bytes,
            "last_delivered_at": self.last_delivered_at,
            "last_error": self.last_error,
        }


class Sender:
    """Takes one step at a time, so that tests need no thread. `monotonic_s` paces, `clock` stamps; `reload_key` is
    asked after a refused signature, because keys are rotated."""

    def __init__(
        self,
        settings: Settings,
        key: DeviceKey,
        spool: Spool,
        clock: Clock,
        transport: Poster,
        *,
        monotonic_s: Callable[[], float],
        random: Random,
        log: Callable[[str], None],
        reload_key: Callable[[], DeviceKey | None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._key = key
        self._spool = spool
        self._clock = clock
        self._transport = transport
        self._monotonic_s = monotonic_s
        self._random = random
        self._log = log
        self._reload_key = reload_key
        # The same phase in every interval: a fleet's sends are spread, a box's stay evenly spaced.
        self._phase_s = random.uniform(0, settings.spread * settings.interval_s)
        self._live_due: tuple[Entry, float] | None = None
        self._failures = 0
        self._blocked_until_s = 0.0
        self._backlog_from_s = 0.0
        self._hurry = False
        self._unread_version = False
        self.stats = SenderStats()

    def hurry(self) -> None:
        """The agent stops: what is there goes out without spreading."""
        self._hurry = True

    @property
    def is_blocked(self) -> bool:
        """Whether a failed attempt makes the next one wait."""
        return self._monotonic_s() < self._blocked_until_s

    def step(self) -> float:
        """At most one attempt. Returns the seconds until there may be something to do."""
        now_s = self._monotonic_s()
        if now_s < self._blocked_until_s:
            return self._blocked_until_s - now_s
        entry, wait_s = self._next(now_s)
        if entry is None:
            return wait_s
        body = self._spool.take(entry)
        if body is None:
            return 0.0
        try:
            self._attempt(entry, body)
        finally:
            if entry.in_flight:
                self._spool.release(entry)
        return 0.0

    def _next(self, now_s: float) -> tuple[Entry | None, float]:
        """The report to send now, or how long to wait."""
        live = self._spool.live()
        wait_s = IDLE_S
        if live is not None:
            if self._live_due is None or self._live_due[0] is not live:
                self._live_due = (live, now_s + self._phase_s)
            if now_s >= self._live_due[1] or self._hurry:
                return live, 0.0
            wait_s = self._live_due[1] - now_s
        backlog = self._spool.backlog()
        if backlog is None:
            return None, min(wait_s, IDLE_S)
        if now_s >= self._backlog_from_s:
            self._backlog_from_s = now_s + 1 / self._settings.backlog_reports_per_s
            return backlog, 0.0
        return None, min(wait_s, self._backlog_from_s - now_s, IDLE_S)

    def _attempt(self, entry: Entry, body: bytes) -> None:
        shift = self._clock.correction_ms - entry.correction_ms
        if shift and not entry.maybe_delivered:
            body = shifted(body, shift)
        sent, key = self._clock.system(), self._key

        def headers() -> dict[str, str]:
            nonlocal sent
            sent = self._clock.system()
            at = sent + self._clock.correction_ms
            signed = headers_for(key.key, key.device, entry.boot, entry.seq, at, body)
            return {**signed, "Content-Encoding": "gzip"}

        try:
            answer = self._transport.post(TELEMETRY_PATH, body, headers)
        except SendError as error:
            entry.maybe_delivered = True
            self._count("none")
            self._fail(str(error), 0.0)
            return
        self._count(str(answer.status))
        server_ms = answer.headers.get(SERVER_TIME_HEADER, "")
        if server_ms.isascii() and server_ms.isdigit():
            self._clock.learn(int(server_ms), sent, self._clock.system())
        self._heed_versions(answer)
        self._judge(entry, body, answer)

    def _judge(self, entry: Entry, body: bytes, answer: Answer) -> None:
        status = answer.status
        if 200 <= status < 300:
            self._spool.settle(entry)
            self.stats.delivered += 1
            self.stats.sent_bytes += len(body)
            self.stats.last_delivered_at = self._clock.system()
            self._succeed()
        elif status in LET_GO:
            self._spool.settle(entry)
            self.stats.let_go += 1
            self.stats.last_error = f"{status}: {_reason(answer)}"
            self._log(f"server refused report {entry.boot}/{entry.seq} for good: {self.stats.last_error}")
            self._succeed()
        elif status == 401 and (self._clock.correct() or self._new_key()):
            self._log(
                f"server refused the signature; trying again with clock correction {self._clock.correction_ms} ms"
            )
        else:
            if status >= 500:
                entry.maybe_delivered = True
            self._fail(f"{status}: {_reason(answer)}", _retry_after_s(answer))

    def _new_key(self) -> bool:
        key = self._reload_key()
        if key is None or key == self._key:
            return False
        self._key = key
        return True

    def _heed_versions(self, answer: Answer) -> None:
        versions = answer.headers.get(VERSIONS_HEADER)
        unread = versions is not None and str(VERSION) not in [v.strip() for v in versions.split(",")]
        if unread and not self._unread_version:
            self._log(f"server reads report versions {versions}, this agent writes {VERSION}: update the agent")
        self._unread_version = unread

    def _count(self, outcome: str) -> None:
        self.stats.answers[outcome] = self.stats.answers.get(outcome, 0) + 1

    def _succeed(self) -> None:
        if self._failures:
            self._log(f"server answers again after {self._failures} failed attempts")
        self._failures = 0

    def _fail(self, message: str, at_least_s: float) -> None:
        """Exponential back-off with full jitter; the server's Retry-After is the least."""
        ceiling = min(self._settings.backoff_max_s, BACKOFF_BASE_S * 2.0 ** min(self._failures, 30))
        self._blocked_until_s = self._monotonic_s() + max(at_least_s, self._random.uniform(0, ceiling))
        if self._failures == 0:
            self._log(f"cannot deliver, reports are kept: {message}")
        self._failures += 1
        self.stats.last_error = message

    def run(self, stop: threading.Event) -> None:
        """Step until told to stop; for a thread of its own."""
        while not stop.is_set():
            wait_s = self.step()
            if wait_s > 0:
                stop.wait(min(wait_s, IDLE_S))
        self._transport.close()


def shifted(body: bytes, shift_ms: int) -> bytes:
    """A report whose times are moved, for one made before the clock was known to be wrong."""
    document = json.loads(gzip.decompress(body))
    document["start"] += shift_ms
    document["end"] += shift_ms
    if document["exemplars"]:
        document["exemplars"]["at"] = [max(0, at + shift_ms) for at in document["exemplars"]["at"]]
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    return gzip.compress(text, mtime=0)


def _retry_after_s(answer: Answer) -> float:
    """Retry-After in seconds; a date, or nothing, is 0."""
    value = answer.headers.get("retry-after", "")
    return min(float(value), MAX_RETRY_AFTER_S) if value.isascii() and value.isdigit() else 0.0


def _reason(answer: Answer) -> str:
    """The detail of a problem body (RFC 9457), or the beginning of whatever came."""
    try:
        document = json.loads(answer.body)
        return str(document.get("detail") or document.get("title"))[:200]
    except (ValueError, AttributeError):
        return answer.body[:100].decode("utf-8", "replace")
