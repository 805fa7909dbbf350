"""Messages of the log as Arrow IPC. The pyarrow module is an argument, so that this package still imports nothing.

One message = one IPC stream with one record batch, lz4-compressed buffers. `string` columns are dictionary-encoded
(int32 codes), so that an operator groups by codes and never touches text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from contracts.columns import Column
from contracts.errors import ContractError

KIND_HEADER = "kind"  # record header of telemetry.vitals: which table the message holds
HEARTBEAT = "heartbeat"  # value of that header in any topic: no content, the record only tells the time

_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


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
    _refuse_nulls(columns, record_batch, pa)
    return record_batch


def from_messages(columns: tuple[Column, ...], messages: Sequence[bytes], pa: Any) -> tuple[Any, list[int]]:
    """Messages, at least one, as one pyarrow.RecordBatch: the rows of each in turn, with one dictionary of distinct
    values per text column; and how many rows each has. Raises ContractError `malformed_batch` if one of them is not
    what `to_bytes` makes; ask `from_bytes` which.

    Most of reading a small message is its schema and its stream. So the messages become one stream, in which each
    brings dictionaries that replace those before it (Arrow columnar format, "Dictionary messages"); where it ends must
    be where the message ended.
    """
    opening = _opening(columns, pa)
    bodies = []
    for message in messages:
        if not (message.startswith(opening) and message.endswith(_END_OF_STREAM)):
            raise ContractError("malformed_batch", "message", "begin and end as to_bytes writes them", "others")
        bodies.append(message[len(opening) : -len(_END_OF_STREAM)])
    batches = []
    try:
        source = pa.BufferReader(b"".join((opening, *bodies, _END_OF_STREAM)))
        with pa.ipc.open_stream(source, options=pa.ipc.IpcReadOptions(use_threads=False)) as reader:
            texts = sum(_is_text(field, pa) for field in reader.schema)
            end = len(opening)
            for number, body in enumerate(bodies):
                batches.append(reader.read_next_batch())
                batches[-1].validate(full=True)
                end += len(body)
                read = reader.stats
                if source.tell() != end or (read.num_dictionary_batches, read.num_replaced_dictionaries) != (
                    texts * (number + 1),
                    texts * number,
                ):
                    raise ContractError("malformed_batch", "message", "a batch with its dictionaries", "other content")
        joined = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise ContractError("malformed_batch", "message", "Arrow IPC streams with one batch", str(error)) from None
    whole = joined[0] if joined else batches[0]
    _refuse_nulls(columns, whole, pa)
    return whole, [batch.num_rows for batch in batches]


def _refuse_nulls(columns: tuple[Column, ...], record_batch: Any, pa: Any) -> None:
    arrays = record_batch.columns
    for index, is_list in _without_nulls(columns, pa):
        nulls = arrays[index].null_count + (arrays[index].values.null_count if is_list else 0)
        if nulls:
            name = record_batch.schema[index].name
            raise ContractError("malformed_batch", f"message.{name}", "no nulls", f"{nulls} nulls")


@cache
def _opening(columns: tuple[Column, ...], pa: Any) -> bytes:
    """How every message begins: the schema."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    pa.ipc.new_stream(sink, schema(columns, pa), options=options).close()
    stream: bytes = sink.getvalue().to_pybytes()
    return stream.removesuffix(_END_OF_STREAM)


@cache
def _without_nulls(columns: tuple[Column, ...], pa: Any) -> list[tuple[int, bool]]:
    """Columns that may hold no null, by index, and whether they are lists."""
    fields = enumerate(schema(columns, pa))
    return [(i, bool(pa.types.is_list(field.type))) for i, field in fields if not field.nullable]


def _is_text(field: Any, pa: Any) -> bool:
    return bool(pa.types.is_dictionary(field.type))
