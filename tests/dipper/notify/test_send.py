"""One attempt, against receivers that really listen and that misbehave."""

import contextlib
import hashlib
import hmac
import socket
import ssl
import subprocess
import threading
import time

import pytest

from dipper.notify.send import MAX_ANSWER_BYTES, Attempt, deliver
from dipper.notify.settings import ALERTMANAGER, SLACK
from dipper.notify.targets import Forbidden, resolve, target
from tests.dipper.notify.builders import SECRET, T0, listening, receiver


def attempt(to, body=b'{"a": 1}', timeout_s=5.0):
    return Attempt(to, "msg-1", body, T0, timeout_s)


def test_a_message_arrives_signed_with_its_key():
    with listening() as there:
        assert deliver(attempt(receiver(there.url, secret=SECRET))) is None
        (got,) = there.got
    assert (got.path, got.body) == ("/hook", b'{"a": 1}')
    assert got.headers["content-type"] == "application/json; charset=utf-8"
    assert got.headers["idempotency-key"] == "msg-1"
    time_s, mac = (part.partition("=")[2] for part in got.headers["dipper-signature"].split(","))
    assert int(time_s) == T0 // 1000
    assert mac == hmac.new(SECRET, f"{time_s}.".encode() + got.body, hashlib.sha256).hexdigest()


def test_without_a_key_nothing_is_signed():
    with listening() as there:
        deliver(attempt(receiver(there.url)))
        assert "dipper-signature" not in there.got[0].headers


@pytest.mark.parametrize("path", ["", "/", "/am", "/api/v2/alerts"])
def test_an_alertmanager_is_reached_at_its_api_with_its_token(path):
    with listening() as there:
        to = receiver(f"http://127.0.0.1:{there.port}{path}", kind=ALERTMANAGER, bearer="token-of-am")
        assert deliver(attempt(to)) is None
        assert there.got[0].path == ("/am" if path == "/am" else "") + "/api/v2/alerts"
        assert there.got[0].headers["authorization"] == "Bearer token-of-am"


@pytest.mark.parametrize(
    ("status", "headers", "refused", "wait_ms"),
    [
        (400, {}, True, None),
        (410, {}, True, None),
        (408, {}, False, None),
        (429, {"retry-after": "17"}, False, 17_000),
        (429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, False, None),
        (500, {}, False, None),
        (503, {"retry-after": "2"}, False, 2_000),
    ],
)
def test_an_answer_that_is_no_success_says_whether_to_come_back(status, headers, refused, wait_ms):
    with listening() as there:
        there.answers = [(status, headers, b"because\x00\x1b[31m of this")]
        failure = deliver(attempt(receiver(there.url)))
    assert (failure.refused, failure.wait_ms) == (refused, wait_ms)
    assert failure.error == f"{there.url}: answered {status}: because [31m of this"


def test_a_redirect_is_followed_nowhere():
    with listening() as inner, listening() as there:
        there.answers = [(307, {"location": inner.url}, b"")]
        failure = deliver(attempt(receiver(there.url)))
        assert inner.got == []
    assert failure.refused
    assert "answered 307; redirects are not followed" in failure.error


def test_of_a_long_answer_only_the_beginning_is_read():
    with listening() as there:
        sent = []

        def endless(handler):
            handler.send_response(500)
            handler.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    sent.append(handler.wfile.write(b"x" * 65_536))

        there.answers = [(0, {}, endless)]
        failure = deliver(attempt(receiver(there.url)))
    assert len(failure.error) < 300
    assert MAX_ANSWER_BYTES < 1 << 20


def dripping(data, every_s):
    """A server that says one byte at a time, for ever."""

    def serve(listener):
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(data)
            ended = threading.Event()
            while True:
                connection.sendall(b"x")
                ended.wait(every_s)

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, args=(listener,), daemon=True)
    thread.start()
    return listener, thread


@pytest.mark.parametrize(
    "data",
    [b"", b"HTTP/1.1 200 OK\r\nx-", b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n"],
    ids=["line", "head", "body"],
)
def test_who_answers_in_drops_is_cut_at_the_deadline(data):
    listener, thread = dripping(data, 0.02)
    began = time.monotonic()
    failure = deliver(attempt(receiver(f"http://127.0.0.1:{listener.getsockname()[1]}/"), timeout_s=0.4))
    took_s = time.monotonic() - began
    listener.close()
    thread.join(5)
    assert "no answer within 0.4 s" in failure.error
    assert took_s < 4
    assert not thread.is_alive()


def test_who_does_not_listen_is_a_failure_in_words():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    failure = deliver(attempt(receiver(f"http://127.0.0.1:{port}/hook", kind=SLACK)))
    assert not failure.refused
    assert f"http://127.0.0.1:{port}/hook: " in failure.error
    assert "refused" in failure.error


def test_what_does_not_speak_http_is_a_failure_in_words():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        failure = deliver(attempt(receiver(f"http://127.0.0.1:{listener.getsockname()[1]}/")))
        thread.join(5)
    assert failure is not None


def resolving(monkeypatch, *addresses):
    real = socket.getaddrinfo

    def fake(host, port, *arguments, **options):
        if host in addresses:
            return real(host, port, *arguments, **options)
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in a], socket.SOCK_STREAM, 6, "", (a, port)) for a in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", fake)


INNER = (
    "127.0.0.1", "10.0.0.8", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
)  # fmt: skip


@pytest.mark.parametrize("address", INNER)
def test_a_public_name_that_leads_to_an_inner_address_is_not_reached(monkeypatch, address):
    resolving(monkeypatch, address)
    where = target("url", "https://hooks.example.com/x", frozenset(), loopback=True, secret=False)
    with pytest.raises(Forbidden, match=r"hooks\.example\.com: expected a public address"):
        resolve(where)
    failure = deliver(attempt(receiver_of(where)))
    assert "expected a public address" in failure.error


def receiver_of(where):
    to = receiver()
    return type(to)(to.name, to.kind, where)


def test_of_several_addresses_only_the_public_ones_are_tried(monkeypatch):
    resolving(monkeypatch, "10.0.0.1", "93.184.215.14", "::1", "2606:2800:21f:cb07:6820:80da:af6b:8b2c")
    where = target("url", "https://hooks.example.com/x", frozenset(), loopback=True, secret=False)
    assert [a for _, a in resolve(where)] == ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"]


def test_a_host_that_the_file_allows_may_be_an_inner_one_and_loopback_is_this_machine_only(monkeypatch):
    resolving(monkeypatch, "10.0.0.1")
    inner = target("url", "http://am.internal:9093", frozenset({"am.internal"}), loopback=True, secret=False)
    assert resolve(inner) == [(socket.AF_INET, "10.0.0.1")]
    here = target("url", "http://localhost:9093", frozenset(), loopback=True, secret=False)
    with pytest.raises(Forbidden):
        resolve(here)  # whoever tells this name another address gets nothing


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost"])
def test_customers_do_not_reach_this_machine(host):
    from dipper.settings import SettingsError

    with pytest.raises(SettingsError, match="not this machine"):
        target("url", f"https://{host}/", frozenset(), loopback=False, secret=False)


@pytest.mark.parametrize("host", ["0x7f.1", "2130706433", "0177.0.0.1"])
def test_other_spellings_of_this_machine_are_judged_after_resolution(host):
    where = target("url", f"https://{host}/", frozenset(), loopback=False, secret=False)
    with pytest.raises((Forbidden, OSError)):
        resolve(where)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    files = {"-keyout": folder / "key.pem", "-out": folder / "cert.pem"}
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=hooks.test", "-addext", "subjectAltName=DNS:hooks.test"]
    subprocess.run([*command, *(str(part) for pair in files.items() for part in pair)], check=True, capture_output=True)
    return files["-out"], files["-keyout"]


@pytest.mark.parametrize("host", ["hooks.test", "other.test"])
def test_over_tls_the_certificate_must_be_the_hosts(monkeypatch, certificate, host):
    resolving(monkeypatch, "127.0.0.1")
    cert, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with listening(context) as there:
        url = f"https://{host}:{there.port}/hook"
        trusting = target("url", url, frozenset({host}), loopback=True, secret=False, ca=str(cert))
        failure = deliver(attempt(receiver_of(trusting)))
        assert (failure is None) == (host == "hooks.test")
        assert len(there.got) == (host == "hooks.test")
        strict = target("url", url, frozenset({host}), loopback=True, secret=False)
        assert "certificate" in deliver(attempt(receiver_of(strict))).error.lower()
