"""One attempt to deliver a message: a POST that follows nowhere, waits no longer than it was told, and reads little."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import math
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from contracts.times import SECOND_MS
from dipper.notify.board import Failure
from dipper.notify.settings import ALERTMANAGER, Receiver
from dipper.notify.targets import Forbidden, Target, resolve

MAX_ANSWER_BYTES = 16 * 1024
MAX_SAID_CHARS = 120
SIGNATURE = "Dipper-Signature"
ALERTS_PATH = "/api/v2/alerts"
AGAIN = frozenset({408, 425, 429})  # of 4xx: later, please


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is to be sent: `key` names the message for ever, `now` is the clock's ms UTC that the signature states."""

    receiver: Receiver
    key: str
    body: bytes
    now: int
    timeout_s: float


def deliver(attempt: Attempt) -> Failure | None:
    """Try once; None: it has arrived. Raises nothing that the network or the receiver cause."""
    where = attempt.receiver.target
    try:
        status, retry_after_s, said = _post(
            where, _path(attempt.receiver), headers(attempt), attempt.body, attempt.timeout_s
        )
    except Forbidden as error:
        return Failure(str(error))
    except TimeoutError:
        return Failure(f"{where.shown}: no answer within {attempt.timeout_s:g} s")
    except (OSError, http.client.HTTPException, ssl.CertificateError) as error:
        return Failure(f"{where.shown}: {error or type(error).__name__}"[:300])
    if 200 <= status < 300:
        return None
    more = f": {said}" if said else ""
    if 300 <= status < 400:
        return Failure(f"{where.shown}: answered {status}; redirects are not followed", refused=True)
    wait_ms = None if retry_after_s is None else retry_after_s * SECOND_MS
    return Failure(
        f"{where.shown}: answered {status}{more}", refused=400 <= status < 500 and status not in AGAIN, wait_ms=wait_ms
    )


def headers(attempt: Attempt) -> dict[str, str]:
    """Of a request. The signature covers the time and the body."""
    receiver = attempt.receiver
    found = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "dipper-notify/1",
        "Idempotency-Key": attempt.key,
        "Connection": "close",
    }
    if receiver.secret is not None:
        found[SIGNATURE] = signature(receiver.secret, attempt.now // SECOND_MS, attempt.body)
    if receiver.bearer is not None:
        found["Authorization"] = f"Bearer {receiver.bearer}"
    return found


def signature(secret: bytes, time_s: int, body: bytes) -> str:
    """`t=UNIX_SECONDS,v1=HEX`: HMAC-SHA256 with the secret over `UNIX_SECONDS.BODY`."""
    mac = hmac.digest(secret, f"{time_s}.".encode() + body, hashlib.sha256)
    return f"t={time_s},v1={mac.hex()}"


def _path(receiver: Receiver) -> str:
    path = receiver.target.path
    if receiver.kind == ALERTMANAGER and not path.partition("?")[0].endswith(ALERTS_PATH):
        return path.rstrip("/") + ALERTS_PATH
    return path


def _post(
    where: Target, path: str, fields: dict[str, str], body: bytes, timeout_s: float
) -> tuple[int, int | None, str]:
    """(status, Retry-After in s, the answer's first words). Raises OSError, HTTPException, Forbidden."""
    end = time.monotonic() + timeout_s
    with contextlib.closing(_connected(where, end)) as raw, _deadline(raw, end) as late:
        try:
            sock = raw if where.tls is None else where.tls.wrap_socket(raw, server_hostname=where.host)
            kind = http.client.HTTPConnection if where.tls is None else http.client.HTTPSConnection
            with contextlib.closing(kind(where.host, where.port)) as connection:
                connection.sock = sock
                connection.request("POST", path, body, fields)
                answer = connection.getresponse()
                said = answer.read(MAX_ANSWER_BYTES)
                if late.is_set():
                    raise TimeoutError  # what was cut looks like an answer that ended
                return answer.status, _seconds(answer.getheader("Retry-After")), _words(said)
        except (OSError, http.client.HTTPException):
            if late.is_set():
                raise TimeoutError from None
            raise


def _connected(where: Target, end: float) -> socket.socket:
    """A connection to the first address that takes one, of those that were judged."""
    failure: OSError = OSError("no address")
    for _, address in resolve(where):
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            return socket.create_connection((address, where.port), timeout=left)
        except OSError as error:
            failure = error
    raise failure


@contextlib.contextmanager
def _deadline(sock: socket.socket, end: float) -> Iterator[threading.Event]:
    """Cut the connection at a time, however the other side keeps it busy; the event tells that it was cut."""
    late = threading.Event()
    double = socket.socket(fileno=os.dup(sock.fileno()))

    def cut() -> None:
        late.set()
        with contextlib.suppress(OSError):
            double.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, end - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
        timer.join()
        double.close()


def _seconds(text: str | None) -> int | None:
    """Retry-After as seconds; a date is as good as none."""
    if text is None or not text.isascii() or not text.strip().isdigit() or len(text) > 9:
        return None
    return math.ceil(int(text))


def _words(data: bytes) -> str:
    text = data.decode(errors="replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:MAX_SAID_CHARS]
