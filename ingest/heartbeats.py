"""Heartbeats: records without content that let an idle partition's watermark follow the gateway's clock."""

from __future__ import annotations

from contracts.arrow import KIND_HEADER
from contracts.protocols import Record, StoredRecord

HEARTBEAT = "heartbeat"  # value of the record header `kind`; every reader of a topic skips such records


def is_heartbeat(record: StoredRecord) -> bool:
    """Whether a record only tells the time (its timestamp_ms)."""
    return record.headers.get(KIND_HEADER) == HEARTBEAT


def heartbeat(topic: str, partition: int, now: int) -> Record:
    """A heartbeat of one partition."""
    return Record(topic, b"", b"", now, partition, {KIND_HEADER: HEARTBEAT})
