"""Messages of the log as Arrow IPC. The pyarrow module is an argument, so that this package still imports nothing.

One message = one IPC stream with one record batch, lz4-compressed buffers. `string` columns are dictionary-encoded
(int32 codes), so that an operator groups by codes and never touches text.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from contracts.columns import Column
from contracts.errors import ContractError

KIND_HEADER = "kind"  # record header of telemetry.vitals: which table the message holds
HEARTBEAT = "heartbeat"  # value of that header in any topic: no content, the record only tells the time


@cache
def schema(columns: tuple[Column, ...], pa: Any) -> Any:
    """pyarrow.Schema of declared columns, in order, none nullable but float64 (null: not measured)."""
    types = {
        "int64": pa.int64(),
        "float64": pa.float64(),
        "string": pa.dictionary(pa.int32(), pa.utf8()),
        "text": pa.utf8(),
        "bytes": pa.binary(),
        "bool": pa.bool_(),
        "list<uint8>": pa.list_(pa.uint8()),
        "list<uint32>": pa.list_(pa.uint32()),
    }
    return pa.schema([pa.field(c.name, types[c.dtype], nullable=c.dtype == "float64") for c in columns])


def batch(columns: tuple[Column, ...], values: Mapping[str, Any], pa: Any) -> Any:
    """pyarrow.RecordBatch of declared columns from arrays or lists by name, cast where needed."""
    target = schema(columns, pa)
    arrays = []
    for field in target:
        value = values[field.name]
        array = value if isinstance(value, pa.Array) else pa.array(value, None if _is_text(field, pa) else field.type)
        if array.type != field.type:
            array = array.dictionary_encode() if _is_text(field, pa) else array.cast(field.type)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=target)


def to_bytes(record_batch: Any, pa: Any) -> bytes:
    """A message: Arrow IPC stream with this one batch."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with pa.ipc.new_stream(sink, record_batch.schema, options=options) as writer:
        writer.write_batch(record_batch)
    result: bytes = sink.getvalue().to_pybytes()
    return result


def from_bytes(columns: tuple[Column, ...], message: bytes, pa: Any) -> Any:
    """The pyarrow.RecordBatch of a message. Raises ContractError `malformed_batch` on anything but the schema, nulls
    outside float64 columns included.

    Buffers of a message are small: handing them to a thread pool costs seven times what decoding them here does.
    """
    target = schema(columns, pa)
    try:
        with pa.ipc.open_stream(message, options=pa.ipc.IpcReadOptions(use_threads=False)) as reader:
            got = reader.schema
            record_batch = reader.read_next_batch() if got.equals(target) else None
            if record_batch is not None and next(reader, None) is not None:
                raise ContractError("malformed_batch", "message", "an Arrow IPC stream with one batch", "more batches")
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise ContractError("malformed_batch", "message", "an Arrow IPC stream with one batch", str(error)) from None
    if record_batch is None:
        raise ContractError("malformed_batch", "message.schema", str(target), str(got))
    try:
        record_batch.validate(full=True)
    except pa.ArrowException as error:
        raise ContractError("malformed_batch", "message", "valid Arrow arrays", str(error)) from None
    arrays = record_batch.columns
    for index, is_list in _without_nulls(columns, pa):
        nulls = arrays[index].null_count + (arrays[index].values.null_count if is_list else 0)
        if nulls:
            raise ContractError("malformed_batch", f"message.{target[index].name}", "no nulls", f"{nulls} nulls")
    return record_batch


@cache
def _without_nulls(columns: tuple[Column, ...], pa: Any) -> list[tuple[int, bool]]:
    """Columns that may hold no null, by index, and whether they are lists."""
    fields = enumerate(schema(columns, pa))
    return [(i, bool(pa.types.is_list(field.type))) for i, field in fields if not field.nullable]


def _is_text(field: Any, pa: Any) -> bool:
    return bool(pa.types.is_dictionary(field.type))
