"""Snapshots and deltas as bytes: JSON or Arrow, plain or gzip, remembered while nothing changes."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import pyarrow as pa

from feed.book import Entry, rows_json
from feed.http import JSON

ARROW = "application/vnd.apache.arrow.stream"
GZIP_LEVEL = 1  # a third of the time of the default for a tenth more bytes
LEAST_GZIP_BYTES = 1_000
_SCHEMA = pa.schema(
    [
        pa.field("device", pa.utf8(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("low", pa.float64(), nullable=False),
        pa.field("high", pa.float64(), nullable=False),
        pa.field("state", pa.dictionary(pa.int8(), pa.utf8()), nullable=False),
        pa.field("share", pa.float64(), nullable=False),
        pa.field("version", pa.int64(), nullable=False),
        pa.field("computed_at", pa.int64(), nullable=False),
        pa.field("expires_at", pa.int64(), nullable=False),
        pa.field("model", pa.utf8(), nullable=False),
        pa.field("device_isp", pa.utf8(), nullable=False),
        pa.field("device_region", pa.utf8(), nullable=False),
    ]
)
_OF_SCORE = ("device", "value", "low", "high", "state", "share", "version", "computed_at", "expires_at")
_COLUMNS = attrgetter(*_OF_SCORE)
_OF_BOX = ("model", "device_isp", "device_region")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which boxes are asked for: empty sets let everything through."""

    state: frozenset[str]
    model: frozenset[str]
    device_isp: frozenset[str]
    device_region: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.state or self.model or self.device_isp or self.device_region)

    def passes(self, entry: Entry) -> bool:
        """Whether a box is asked for."""
        if self.state and entry.score.state not in self.state:
            return False
        box = entry.score.box
        return all(
            not wanted or box.get(name, "") in wanted
            for name, wanted in (
                ("model", self.model), ("device_isp", self.device_isp), ("device_region", self.device_region),
            )
        )  # fmt: skip

    def tag(self) -> str:
        """A short text that differs with the filter."""
        parts = (sorted(s) for s in (self.state, self.model, self.device_isp, self.device_region))
        return f"{zlib.crc32(repr(list(parts)).encode()):08x}"


def body(entries: Sequence[Entry], version: int, computed_at: int, kind: str, view: str, extra: bytes) -> bytes:
    """The body of these boxes."""
    if kind == ARROW:
        return _arrow(entries, version, computed_at)
    rows = [e.full for e in entries] if view == "full" else [e.brief for e in entries]
    return rows_json(version, computed_at, iter(rows), extra)


def _arrow(entries: Sequence[Entry], version: int, computed_at: int) -> bytes:
    scores = [e.score for e in entries]
    columns = [pa.array(column) for column in zip(*map(_COLUMNS, scores), strict=True)]
    columns = columns or [pa.array([]) for _ in _OF_SCORE]
    columns[4] = columns[4].cast(pa.utf8()).dictionary_encode()
    columns += [pa.array([s.box.get(name, "") for s in scores], pa.utf8()) for name in _OF_BOX]
    arrays = [array.cast(field.type) for array, field in zip(columns, _SCHEMA, strict=True)]
    metadata = {b"version": str(version).encode(), b"computed_at": str(computed_at).encode()}
    schema = _SCHEMA.with_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    result: bytes = sink.getvalue().to_pybytes()
    return result


def compressed(data: bytes) -> bytes:
    """gzip, the same bytes for the same data."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=GZIP_LEVEL, mtime=0) as file:
        file.write(data)
    return out.getvalue()


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a request's Accept-Encoding lets gzip through."""
    for part in accept_encoding.lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def kind_of(accept: str) -> str | None:
    """JSON or Arrow by a request's Accept; None: neither is accepted."""
    names = [part.partition(";")[0].strip().lower() for part in accept.split(",")] if accept.strip() else ["*/*"]
    for name in names:
        if name == ARROW:
            return ARROW
        if name in (JSON, "application/*", "*/*"):
            return JSON
    return None
