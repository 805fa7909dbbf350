"""Records of the log as record batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from contracts.arrow import HEARTBEAT, KIND_HEADER, from_bytes
from contracts.columns import TABLES
from contracts.errors import ContractError
from contracts.protocols import StoredRecord
from contracts.topics import BY_NAME


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
