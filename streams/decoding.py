"""Records of the log as record batches.

At a gateway messages are small, and most of reading a small one is its schema, its dictionaries and its checks. So runs
of them are read as one batch; only if that fails is each read by itself, which tells the one that cannot be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from contracts.arrow import HEARTBEAT, KIND_HEADER, from_bytes, from_messages
from contracts.columns import TABLES
from contracts.errors import ContractError
from contracts.protocols import StoredRecord
from contracts.topics import BY_NAME
from streams.kernel import Ints

SMALL_BYTES = 32 * 1024  # of a message: joining the rows of larger ones costs what is gained


@dataclass(frozen=True, slots=True)
class Decoded:
    """A record and what is in it: a record batch, or why there is none; neither of a heartbeat."""

    record: StoredRecord
    batch: Any = None
    error: ContractError | None = None


def decode(record: StoredRecord) -> Decoded:
    """Decode a record of a topic with a table. Never raises for what it holds."""
    if record.headers.get(KIND_HEADER) == HEARTBEAT:
        return Decoded(record)
    table = BY_NAME[record.topic].table
    assert table is not None
    try:
        return Decoded(record, batch=from_bytes(TABLES[table], record.value, pa))
    except ContractError as error:
        return Decoded(record, error=error)


@dataclass(frozen=True, slots=True)
class Block:
    """Records of one partition of one topic in order. `batch`: the rows of all, each text column with one dictionary;
    None without rows. `ends` (n,): rows up to and with each record."""

    records: Sequence[StoredRecord]
    batch: Any
    ends: Ints

    @property
    def offsets(self) -> Ints:
        """(n,) of the records."""
        return np.array([record.offset for record in self.records])

    @property
    def timestamps(self) -> Ints:
        """(n,) of the records, ms UTC."""
        return np.array([record.timestamp_ms for record in self.records])


def block_of(records: Sequence[StoredRecord]) -> Block | None:
    """Records of one partition of one topic, at least one, at once; None if one of them cannot be read so."""
    told = [record.headers.get(KIND_HEADER) == HEARTBEAT for record in records]
    messages = [record.value for record, heartbeat in zip(records, told, strict=True) if not heartbeat]
    if not messages:
        return Block(records, None, np.zeros(len(records), np.int64))
    table = BY_NAME[records[0].topic].table
    assert table is not None
    try:
        batch, rows = from_messages(TABLES[table], messages, pa)
    except ContractError:
        return None
    lengths = np.zeros(len(records), np.int64)
    lengths[~np.array(told)] = rows
    return Block(records, batch if batch.num_rows else None, np.cumsum(lengths))
