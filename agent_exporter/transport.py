"""Ways to the server: one HTTP connection, kept open between posts, or Kafka where the settings say so."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from agent_exporter import __version__
from agent_exporter.config import KAFKA, Settings
from agent_exporter.errors import ConfigError, SendError
from contracts.errors import ContractError
from contracts.kafka import kafka_settings

MAX_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Headers = Callable[[], Mapping[str, str]]


class Poster(Protocol):
    """What the sender needs of a transport."""

    def post(self, path: str, body: bytes, headers: Headers) -> Answer:
        """One request. `headers` are asked for when the connection is there and the request goes out at once, so that
        the time they state is the time of sending, however long connecting took. Raises SendError when no answer
        came."""

    def close(self) -> None:
        """Close the connection."""


def open_transport(settings: Settings, device: str, environment: Mapping[str, str]) -> Poster:
    """The way that the settings name; `environment` says how to reach Kafka. Raises ConfigError."""
    if settings.send_to != KAFKA:
        return Transport(settings.server, settings.ca_file, settings.timeout_s)
    try:
        kafka = kafka_settings(environment)
    except ContractError as error:
        raise ConfigError(f"environment: {error}") from None
    if kafka is None:
        raise ConfigError('DIPPER_KAFKA: send_to = "kafka" needs it in the environment, HOST:PORT,..')
    try:
        from agent_exporter.kafka import KafkaTransport
    except ImportError:
        raise ConfigError(
            'send_to: "kafka" needs kafka-python, which is not installed (pip install "dipper-agent[kafka]")'
        ) from None
    return KafkaTransport(kafka, device, settings.timeout_s)


class Transport:
    """Posts to paths below the server's address. Not for use by two threads."""

    def __init__(self, server: str, ca_file: str, timeout_s: float) -> None:
        parts = urlsplit(server)
        self._host = parts.hostname or ""
        self._port = parts.port
        self._prefix = parts.path.rstrip("/")
        self._timeout_s = timeout_s
        self._tls: ssl.SSLContext | None = None
        self._connection: http.client.HTTPConnection | None = None
        if parts.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=ca_file or None)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"ca_file: {ca_file!r} cannot be used: {error}") from None

    def post(self, path: str, body: bytes, headers: Headers) -> Answer:
        """As of Poster."""
        reused = self._connection is not None
        try:
            return self._exchange(path, body, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            # The server may close an idle connection at any time; that says nothing about it.
            if not reused:
                raise SendError(f"no answer: {error or type(error).__name__}") from error
        except (OSError, http.client.HTTPException) as error:
            raise SendError(f"no answer: {error or type(error).__name__}") from error
        try:
            return self._exchange(path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise SendError(f"no answer: {error or type(error).__name__}") from error

    def _exchange(self, path: str, body: bytes, headers: Headers) -> Answer:
        if self._connection is None:
            self._connection = self._connect()
        try:
            if self._connection.sock is None:
                self._connection.connect()
            sent = {"User-Agent": f"dipper-agent/{__version__}", "Content-Type": "application/json", **headers()}
            self._connection.request("POST", self._prefix + path, body=body, headers=sent)
            response = self._connection.getresponse()
            answer = response.read(MAX_ANSWER_BYTES)
            lower = {name.lower(): value for name, value in response.getheaders()}
            if response.will_close or not response.isclosed():
                self.close()
            return Answer(response.status, lower, answer)
        except BaseException:
            self.close()
            raise

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)

    def close(self) -> None:
        """Close the connection; the next post opens another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
