"""Reports of a trusted node go straight to the topic telemetry.raw: the same body, signed the same way.

The only module that needs kafka-python; it is imported where `send_to = "kafka"` says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from agent_exporter.errors import SendError
from agent_exporter.transport import Answer, Headers
from contracts.auth import SENT_AT_HEADER, SERVER_TIME_HEADER
from contracts.kafka import KafkaSettings, client_options
from contracts.times import AUTH_WINDOW_MS
from contracts.topics import RAW, partition_of


class KafkaTransport:
    """Appends reports to the topic; an answer is the brokers' acknowledgement (acks=all). Connects at the first post,
    and anew after a failure. Not for use by two threads."""

    def __init__(self, settings: KafkaSettings, device: str, timeout_s: float, *, topic: str = RAW.name) -> None:
        self._settings = settings
        self._device = device
        self._timeout_s = timeout_s
        self._topic = topic
        self._producer: Any = None

    def post(self, path: str, body: bytes, headers: Headers) -> Answer:  # noqa: ARG002
        """Append one report, as of Poster; `path` is the gateway's and not used. 200 once it is acknowledged, with the
        brokers' time as the server's. 401 when that is so far from `sent_at` that the intake will refuse the record:
        the sender then corrects the clock and sends again. Raises SendError without acknowledgement."""
        try:
            if self._producer is None:
                self._producer = self._connect()
            stated = headers()
            appended_at = self._append(body, stated)
        except (KafkaError, OSError) as error:
            self.close()
            raise SendError(f"no acknowledgement from Kafka: {error or type(error).__name__}") from error
        answer = {SERVER_TIME_HEADER: str(appended_at)}
        if abs(appended_at - int(stated[SENT_AT_HEADER])) > AUTH_WINDOW_MS:
            return Answer(401, answer, b'{"detail":"the clock is too far from the brokers\'"}')
        return Answer(200, answer, b"")

    def _append(self, body: bytes, headers: Mapping[str, str]) -> int:
        key = self._device.encode()
        future = self._producer.send(
            self._topic,
            body,
            key=key,
            headers=[(name.lower(), value.encode()) for name, value in headers.items()],
            partition=partition_of(key, len(self._producer.partitions_for(self._topic))),
            timestamp_ms=int(headers[SENT_AT_HEADER]),  # brokers put their own in its place
        )
        return int(future.get(self._timeout_s).timestamp)

    def _connect(self) -> Any:
        timeout_ms = round(self._timeout_s * 1000)
        return KafkaProducer(
            **client_options(self._settings),
            client_id=f"dipper-agent-{self._device}",
            acks="all",
            allow_auto_create_topics=False,
            bootstrap_timeout_ms=timeout_ms,
            max_block_ms=timeout_ms,
            request_timeout_ms=timeout_ms,
            delivery_timeout_ms=timeout_ms,
            metrics_enabled=False,
        )

    def close(self) -> None:
        """Let go of what is not acknowledged, and disconnect; the next post connects anew."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        # `close` alone waits for what cannot be delivered.
        producer._sender.force_close()
        producer._sender.join(1.0)
        with contextlib.suppress(KafkaError):
            producer.close(timeout=0)
