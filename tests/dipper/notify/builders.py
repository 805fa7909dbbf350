"""Receivers that really listen, and incidents to tell them of."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from contracts.incidents import (
    END,
    MUTE,
    RETURN,
    SYSTEM,
    UNMUTE,
    Action,
    Incident,
    Sentence,
    SeriesEvidence,
    Severity,
    apply,
    incident_to_json,
)
from contracts.protocols import Record
from contracts.topics import INCIDENTS
from dipper.notify.settings import WEBHOOK, Receiver
from dipper.notify.targets import target

T0 = 1_800_000_000_000
MINUTE = 60_000
SECRET = b"a secret of twenty-six chars"


def incident(name="inc-1", level="high", customers=("acme",), *, kind="quality", at=T0, **fields):
    said = {"customers": customers, "measures": ("failures",), "factor": 4.1, "since": at - 3 * MINUTE}
    series = tuple(
        SeriesEvidence(c, f"{c}-vod", "failures", at - 3 * MINUTE, at, 50.0, 900.0, 9.0, 20.0, 1e-9, 1e-4)
        for c in customers
    )
    made = Incident(
        name, kind, "open", at - 3 * MINUTE, at, at, Sentence("quality.unexplained", said), Severity(level),
        customers=customers, services=tuple(f"{c}-vod" for c in customers), measures=("failures",), series=series,
    )  # fmt: skip
    return replace(made, **fields)


def done(known, verb, at, author=SYSTEM, **fields):
    """An incident after an action."""
    return apply(known, Action(f"{verb}-{known.version}", known.id, verb, author, at, **fields))


def ended(known, at):
    return done(known, END, at)


def back(known, at):
    return done(known, RETURN, at)


def muted(known, at, until):
    return done(known, MUTE, at, "ana", until=until)


def unmuted(known, at):
    return done(known, UNMUTE, at)


def grown(known, level):
    return replace(known, severity=Severity(level), version=known.version + 1)


def write(log, *incidents, at=T0):
    """As the triage job does."""
    log.submit(
        [Record(INCIDENTS.name, i.id.encode(), json.dumps(incident_to_json(i)).encode(), at, 0) for i in incidents]
    )


def receiver(url="http://127.0.0.1:9/hook", name="ops", kind=WEBHOOK, **fields):
    where = target("url", url, frozenset({"127.0.0.1"}), loopback=True, secret=False)
    given = {"group_by": "kind", "group_wait_ms": 0, "group_interval_ms": 0, "repeat_interval_ms": 0, **fields}
    return Receiver(name, kind, where, **given)


@dataclass
class Got:
    """A request as it came."""

    path: str
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Listener:
    """A receiver. `answers`: (status, headers, body) for the next requests, in order; afterwards 200."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    answers: list = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def keys(self):
        return [g.headers["idempotency-key"] for g in self.got]

    def events(self):
        """(event, incident, state) of every message once, in order of first arrival."""
        seen, found = set(), []
        for got in self.got:
            if got.headers["idempotency-key"] not in seen:
                seen.add(got.headers["idempotency-key"])
                found += [(e["event"], e["incident"]["id"], e["incident"]["state"]) for e in got.json["events"]]
        return found


@contextlib.contextmanager
def listening(tls=None):
    """A real HTTP server on 127.0.0.1; with a context, over TLS."""
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            with listener.arrived:
                listener.got.append(Got(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                status, headers, said = listener.answers.pop(0) if listener.answers else (200, {}, b"ok")
                listener.arrived.notify_all()
            if callable(said):
                said(self)
                return
            self.send_response(status)
            for name, value in {"content-length": str(len(said)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(said)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.port = server.server_address[1]
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
