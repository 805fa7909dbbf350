"""A writer that is none of ours: records with what our own clients refuse to write."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer

from contracts.kafka import KafkaSettings


def send_odd(
    settings: KafkaSettings,
    topic: str,
    value: bytes,
    headers: Sequence[tuple[str, bytes | None]],
    *,
    partition: int,
    key: bytes = b"",
    timestamp_ms: int | None = None,
) -> None:
    """Write one record to a broker without security and wait until it is acknowledged. A header's value may be None,
    as Kafka's protocol and Java's clients allow."""

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=list(settings.brokers)) as producer:
            await producer.send_and_wait(
                topic, value, key, partition=partition, timestamp_ms=timestamp_ms, headers=list(headers)
            )

    asyncio.run(send())
