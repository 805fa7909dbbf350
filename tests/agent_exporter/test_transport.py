"""One kept-alive connection, and no exception but SendError."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from agent_exporter.errors import ConfigError, SendError
from agent_exporter.transport import Transport
from tests.agent_exporter.conftest import Sink


def test_connection_is_kept_between_posts(sink: Sink) -> None:
    transport = Transport(sink.url + "/prefix", "", 5.0)
    for _ in range(3):
        assert transport.post("/v1/x", b"abc", lambda: {"a": "b"}).status == 200
    transport.close()
    assert sink.connections == 1
    path, headers, body = sink.requests[0]
    assert (path, headers["content-type"], headers["a"], body) == ("/prefix/v1/x", "application/json", "b", b"abc")


def test_answer_has_lower_case_headers_and_a_bounded_body(sink: Sink) -> None:
    sink.answer = lambda *_: (413, {"Dipper-Server-Time": "5"}, b"x" * 200_000)
    transport = Transport(sink.url, "", 5.0)
    got = transport.post("/", b"", dict)
    assert (got.status, got.headers["dipper-server-time"], len(got.body)) == (413, "5", 65_536)
    sink.answer = lambda *_: (200, {}, b"")
    assert transport.post("/", b"", dict).status == 200
    transport.close()


def test_connection_the_server_closed_meanwhile_is_opened_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        transport = Transport(f"http://127.0.0.1:{server.getsockname()[1]}", "", 5.0)
        assert transport.post("/", b"", dict).status == 200
        assert transport.post("/", b"", dict).status == 200
        transport.close()
        thread.join()


def test_nobody_listening_is_a_send_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SendError, match="no answer"):
        Transport(f"http://127.0.0.1:{port}", "", 1.0).post("/", b"", dict)


def test_garbage_for_an_answer_is_a_send_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"SMTP ready\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(SendError):
            Transport(f"http://127.0.0.1:{server.getsockname()[1]}", "", 1.0).post("/", b"", dict)
        thread.join()


def test_server_that_never_answers_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(SendError, match="timed out"):
        Transport(f"http://127.0.0.1:{server.getsockname()[1]}", "", 0.1).post("/", b"", dict)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("tls")
    cert, key = root / "cert.pem", root / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(key), "-out", str(cert), "-days", "2"]
    subprocess.run([*command, *subject, *files], check=True, capture_output=True)
    return cert, key


def test_tls_trusts_the_configured_authority_only(sink: Sink, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    sink.server.socket = context.wrap_socket(sink.server.socket, server_side=True)
    url = sink.url.replace("http:", "https:")
    trusted = Transport(url, str(cert), 5.0)
    assert trusted.post("/", b"", dict).status == 200
    trusted.close()
    with pytest.raises(SendError, match="certificate verify failed"):
        Transport(url, "", 5.0).post("/", b"", dict)


def test_missing_authority_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ca_file"):
        Transport("https://127.0.0.1:1", str(tmp_path / "no.pem"), 1.0)
