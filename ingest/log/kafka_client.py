"""What all clients of Kafka share: options, and errors in this project's words."""

from __future__ import annotations

import importlib.util
import socket
from typing import Any

from kafka import errors

from contracts.kafka import KafkaSettings, client_options
from contracts.protocols import LogError, LogUnavailable

CONNECT_TIMEOUT_S = 2.0
# kafka-python computes CRC-32C in Python, 0.1 s per MB, unless this package is there. The broker has checked what it
# stored and TCP what it sent: without the package readers don't check a third time.
FAST_CRC = importlib.util.find_spec("crc32c") is not None

TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)
INVALID = (errors.InvalidRecordError, errors.InvalidTimestampError)
REFUSED = (errors.AuthorizationError, errors.SaslAuthenticationFailedError, errors.UnsupportedSaslMechanismError)

# Clients try again and again, so a refused password and a broker that is still starting look alike from here.
NOT_LET_IN = (
    "brokers accept connections and then answer nothing: they are starting, or refuse us; see DIPPER_KAFKA_SECURITY, "
    "_MECHANISM, _USER, _PASSWORD and _CA"
)


def options(settings: KafkaSettings, client_id: str, bootstrap_timeout_s: float) -> dict[str, Any]:
    """Keyword arguments of every client. Holds the password: never log it."""
    return {
        **client_options(settings),
        "client_id": client_id,
        "bootstrap_timeout_ms": int(bootstrap_timeout_s * 1000),
        "reconnect_backoff_ms": 50,
        "reconnect_backoff_max_ms": 1_000,
    }


def require_reachable(settings: KafkaSettings) -> None:
    """Raises LogUnavailable when no broker accepts connections. Cheaper than a client that finds out."""
    reasons = []
    for broker in settings.brokers:
        host, _, port = broker.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
        except OSError as error:
            reasons.append(f"{broker}: {error}")
        else:
            return
    raise LogUnavailable(f"Kafka cannot be reached: {'; '.join(reasons)}")


def missing(topic: str) -> LogError:
    """For a topic that does not exist."""
    return LogError(f"topic {topic} does not exist on Kafka (or this user may not see it); run `dipper topics apply`")


def translated(error: BaseException, what: str) -> LogError:
    """A client's error as LogError: LogUnavailable unless a retry cannot help."""
    if isinstance(error, LogError):
        return error
    words = f"{what}: {type(error).__name__}: {error}" if str(error) else f"{what}: {type(error).__name__}"
    if not isinstance(error, (errors.KafkaError, OSError)):
        return LogError(words)  # what was to be appended is at fault
    if isinstance(error, TOO_LARGE):
        return LogError(f"{what}: a record is larger than the topic's max.message.bytes or this client's request")
    if isinstance(error, INVALID):
        return LogError(words)
    if isinstance(error, errors.UnknownTopicOrPartitionError):
        return LogError(f"{words}; run `dipper topics apply`")
    if isinstance(error, errors.KafkaTimeoutError) and "bootstrap" in str(error):
        return LogUnavailable(f"{what}: {NOT_LET_IN}")
    if isinstance(error, REFUSED):
        return LogError(f"{words}; see DIPPER_KAFKA_USER, DIPPER_KAFKA_SECURITY and the ACLs")
    return LogUnavailable(words)
