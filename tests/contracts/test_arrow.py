"""Messages of the log: what was written is what is read; anything else is refused, never a crash."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import arrow
from contracts.columns import DEVICE_EVIDENCE, SLICES, TABLES, Column
from contracts.errors import ContractError

SAMPLES: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(allow_nan=False) | st.none(),
    "string": st.text(max_size=8),
    "text": st.text(max_size=8),
    "bytes": st.binary(max_size=8),
    "bool": st.booleans(),
    "list<uint8>": st.lists(st.integers(0, 255), max_size=4),
    "list<uint32>": st.lists(st.integers(0, 2**32 - 1), max_size=4),
}
EVERY_DTYPE = tuple(Column(f"c{i}", dtype, "", "") for i, dtype in enumerate(SAMPLES))


def values_of(columns: tuple[Column, ...], rows: int, data: st.DataObject) -> dict[str, list[Any]]:
    return {c.name: data.draw(st.lists(SAMPLES[c.dtype], min_size=rows, max_size=rows)) for c in columns}


@settings(deadline=None)
@given(data=st.data(), rows=st.integers(0, 5))
def test_every_dtype_comes_back_as_it_was(data: st.DataObject, rows: int) -> None:
    values = values_of(EVERY_DTYPE, rows, data)
    message = arrow.to_bytes(arrow.batch(EVERY_DTYPE, values, pa), pa)
    assert arrow.from_bytes(EVERY_DTYPE, message, pa).to_pydict() == values


@settings(deadline=None, max_examples=20)
@given(data=st.data(), table=st.sampled_from(sorted(TABLES)))
def test_every_table_comes_back_as_it_was(data: st.DataObject, table: str) -> None:
    values = values_of(TABLES[table], 2, data)
    message = arrow.to_bytes(arrow.batch(TABLES[table], values, pa), pa)
    assert arrow.from_bytes(TABLES[table], message, pa).to_pydict() == values


def evidence(**overrides: Any) -> dict[str, Any]:
    values: dict[str, Any] = {c.name: ["a", "b"] if c.dtype == "string" else [1, 2] for c in DEVICE_EVIDENCE}
    return {**values, **overrides}


TEXTS = pa.array(["x", "y"])


@pytest.mark.parametrize(
    "texts",
    [
        ["x", "y"],
        np.array(["x", "y"]),
        np.array(["x", "y"], dtype=object),
        TEXTS,
        TEXTS.cast(pa.large_utf8()),
        TEXTS.cast(pa.string_view()),
        TEXTS.dictionary_encode(),
        TEXTS.dictionary_encode().cast(pa.dictionary(pa.int8(), pa.utf8())),
        pa.chunked_array([["x"], ["y"]]),
    ],
    ids=lambda texts: str(getattr(texts, "type", type(texts).__name__)),
)
def test_any_kind_of_texts_becomes_a_dictionary_column(texts: Any) -> None:
    made = arrow.batch(DEVICE_EVIDENCE, evidence(device=texts), pa)
    assert made.schema.equals(arrow.schema(DEVICE_EVIDENCE, pa))
    assert made.column("device").to_pylist() == ["x", "y"]


@pytest.mark.parametrize("numbers", [[3, 4], np.array([3, 4], np.int32), pa.array([3, 4], pa.uint8())])
def test_numbers_are_cast_to_the_declared_dtype(numbers: Any) -> None:
    made = arrow.batch(DEVICE_EVIDENCE, evidence(requests=numbers), pa)
    assert made.column("requests").type == pa.int64()
    assert made.column("requests").to_pylist() == [3, 4]


def test_not_measured_is_null_and_not_nan() -> None:
    made = arrow.batch(DEVICE_EVIDENCE, evidence(expected_failures=[None, 0.5]), pa)
    back = arrow.from_bytes(DEVICE_EVIDENCE, arrow.to_bytes(made, pa), pa)
    assert back.column("expected_failures").to_pylist() == [None, 0.5]
    nan = arrow.batch(DEVICE_EVIDENCE, evidence(expected_failures=[math.nan, 0.5]), pa)
    assert math.isnan(nan.column("expected_failures")[0].as_py())


def refusal(message: bytes, columns: tuple[Column, ...] = DEVICE_EVIDENCE) -> ContractError:
    with pytest.raises(ContractError) as caught:
        arrow.from_bytes(columns, message, pa)
    assert caught.value.reason == "malformed_batch"
    return caught.value


def stream_of(*batches: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for one in batches:
            writer.write_batch(one)
    result: bytes = sink.getvalue().to_pybytes()
    return result


GOOD = arrow.batch(DEVICE_EVIDENCE, evidence(), pa)
MESSAGE = arrow.to_bytes(GOOD, pa)


def test_what_is_not_an_arrow_stream_is_refused() -> None:
    for message in (b"", b"x", b"\x00" * 64, b"\xff" * 64, b"ARROW1\0\0", MESSAGE[:-400], MESSAGE[8:]):
        refusal(message)


def test_a_message_of_another_table_is_refused_with_its_schema() -> None:
    assert refusal(MESSAGE, SLICES).field == "message.schema"


def test_nullable_or_reordered_columns_are_another_schema() -> None:
    loose = pa.RecordBatch.from_arrays(GOOD.columns, names=GOOD.schema.names)
    assert refusal(stream_of(loose)).field == "message.schema"
    order = [1, 0, *range(2, GOOD.num_columns)]
    assert refusal(stream_of(GOOD.select(order))).field == "message.schema"


def test_a_second_batch_is_refused_rather_than_lost() -> None:
    refusal(stream_of(GOOD, GOOD))


def test_a_stream_without_a_batch_is_refused() -> None:
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, GOOD.schema).close()
    refusal(sink.getvalue().to_pybytes())


def test_nulls_where_none_are_declared_are_refused_with_the_column() -> None:
    at = GOOD.schema.get_field_index("failures")
    columns = [*GOOD.columns]
    columns[at] = pa.array([1, None], pa.int64())
    with_null = pa.RecordBatch.from_arrays(columns, schema=GOOD.schema)
    assert "failures" in refusal(stream_of(with_null)).field
    lists = (Column("cells", "list<uint8>", "", ""),)
    inner = pa.RecordBatch.from_arrays([pa.array([[1, None]], pa.list_(pa.uint8()))], schema=arrow.schema(lists, pa))
    assert "cells" in refusal(stream_of(inner), lists).field


def test_dictionary_codes_out_of_range_are_refused() -> None:
    at = GOOD.schema.get_field_index("device")
    columns = [*GOOD.columns]
    columns[at] = pa.DictionaryArray.from_arrays(pa.array([0, 9], pa.int32()), pa.array(["a"]), safe=False)
    refusal(stream_of(pa.RecordBatch.from_arrays(columns, schema=GOOD.schema)))


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_damaged_messages_are_read_or_refused(data: st.DataObject) -> None:
    message = bytearray(MESSAGE)
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    del message[data.draw(st.integers(len(message) // 2, len(message))) :]
    try:
        arrow.from_bytes(DEVICE_EVIDENCE, bytes(message), pa).to_pydict()
    except ContractError as error:
        assert error.reason == "malformed_batch"  # noqa: PT017 (either outcome is right)


# ---- several messages at once


@settings(deadline=None, max_examples=60)
@given(data=st.data(), rows=st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_several_messages_hold_the_rows_of_each_in_turn(data: st.DataObject, rows: list[int]) -> None:
    values = [values_of(EVERY_DTYPE, n, data) for n in rows]
    messages = [arrow.to_bytes(arrow.batch(EVERY_DTYPE, v, pa), pa) for v in values]
    whole, lengths = arrow.from_messages(EVERY_DTYPE, messages, pa)
    assert lengths == rows
    assert whole.to_pydict() == {c.name: [x for v in values for x in v[c.name]] for c in EVERY_DTYPE}
    for column in whole.columns:
        if pa.types.is_dictionary(column.type):
            texts = column.dictionary.to_pylist()
            assert len(texts) == len(set(texts))


def written(*batches: Any) -> bytes:
    """As `to_bytes` writes a batch, with none or several of them."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with pa.ipc.new_stream(sink, GOOD.schema, options=options) as writer:
        for one in batches:
            writer.write_batch(one)
    return bytes(sink.getvalue().to_pybytes())


def with_column(name: str, column: Any) -> Any:
    columns = [*GOOD.columns]
    columns[GOOD.schema.get_field_index(name)] = column
    return pa.RecordBatch.from_arrays(columns, schema=GOOD.schema)


BAD = {
    "nothing": b"",
    "another table": arrow.to_bytes(arrow.batch(SLICES, {c.name: [] for c in SLICES}, pa), pa),
    "no batch": written(),
    "two batches": written(GOOD, GOOD),
    "cut short": MESSAGE[:-16] + MESSAGE[-8:],
    "null": written(with_column("failures", pa.array([1, None], pa.int64()))),
    "codes out of range": written(
        with_column("device", pa.DictionaryArray.from_arrays(pa.array([0, 9], pa.int32()), pa.array(["a"]), safe=False))
    ),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_message_that_cannot_be_read_refuses_all(bad: str, place: int) -> None:
    messages = [MESSAGE, MESSAGE]
    messages.insert(place, BAD[bad])
    with pytest.raises(ContractError) as found:
        arrow.from_messages(DEVICE_EVIDENCE, messages, pa)
    assert found.value.reason == "malformed_batch"


def test_a_batch_too_many_does_not_stand_in_for_one_that_is_missing() -> None:
    for messages in ([written(GOOD, GOOD), written()], [written(), written(GOOD, GOOD)]):
        with pytest.raises(ContractError):
            arrow.from_messages(DEVICE_EVIDENCE, messages, pa)


def test_a_message_without_its_dictionaries_does_not_get_those_of_the_one_before() -> None:
    empty = written()
    opening, end = empty[:-8], empty[-8:]
    other = written(with_column("device", pa.array(["c", "d"]).dictionary_encode()))
    reader = pa.ipc.MessageReader.open_stream(other)
    parts = list(iter(reader))
    bare = opening + parts[-1].serialize().to_pybytes() + end
    assert parts[-1].type == "record batch"
    refusal(bare)
    with pytest.raises(ContractError):
        arrow.from_messages(DEVICE_EVIDENCE, [MESSAGE, bare], pa)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_to_one_of_several_is_seen_or_harmless(data: st.DataObject) -> None:
    damaged = bytearray(MESSAGE)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    messages = [MESSAGE, bytes(damaged), MESSAGE]
    try:
        whole, _ = arrow.from_messages(DEVICE_EVIDENCE, messages, pa)
    except ContractError:
        return
    rows = [row for m in messages for row in arrow.from_bytes(DEVICE_EVIDENCE, m, pa).to_pylist()]
    assert str(whole.to_pylist()) == str(rows)
