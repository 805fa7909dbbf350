"""Blocks against the engine itself: what is encoded here, it reads; what it answers is decoded to the same columns."""

import io
import struct
from decimal import Decimal
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
from clickhouse_driver.bufferedreader import BufferedReader
from hypothesis import given
from hypothesis import strategies as st

from contracts.protocols import StoreError
from history.errors import RowsRefused
from history.native_block import encode, varint
from history.native_types import arrow_type, kind_of

INTEGERS = {f"{sign}Int{bits}": (sign == "U", bits) for sign in ("", "U") for bits in (8, 16, 32, 64)}
TEXT = st.text(st.characters(codec="utf-8"), max_size=8) | st.integers(100, 20_000).map(lambda n: "x" * n)


def integers(kind):
    unsigned, bits = INTEGERS[kind]
    low = 0 if unsigned else -(1 << bits - 1)
    return st.integers(low, (1 << bits - (not unsigned)) - 1)


def values(kind):
    """Values of a type, as Python has them."""
    if kind in INTEGERS:
        return integers(kind)
    return {
        "Float64": st.floats(allow_nan=False),
        "Float32": st.floats(width=32, allow_nan=False),
        "Bool": st.booleans(),
        "String": TEXT,
        "LowCardinality(String)": st.sampled_from(["", "a", "b", "汉", "x" * 300]),
    }[kind]


SIMPLE = [*INTEGERS, "Float32", "Float64", "Bool", "String"]
KINDS = st.one_of(
    st.sampled_from([*SIMPLE, "LowCardinality(String)"]),
    st.sampled_from(SIMPLE).map(lambda kind: f"Nullable({kind})"),
    st.sampled_from([*SIMPLE, "LowCardinality(String)"]).map(lambda kind: f"Array({kind})"),
    st.sampled_from(SIMPLE).map(lambda kind: f"Array(Nullable({kind}))"),
    st.sampled_from(SIMPLE).map(lambda kind: f"Array(Array({kind}))"),
)


def of(kind):
    if kind.startswith("Nullable("):
        return st.none() | of(kind[9:-1])
    if kind.startswith("Array("):
        return st.lists(of(kind[6:-1]), max_size=4)
    return values(kind)


@st.composite
def tables(draw):
    """(kinds, rows as columns, how many rows are cut off in front)."""
    kinds = draw(st.lists(KINDS, min_size=1, max_size=4))
    rows = draw(st.integers(1, 20))
    columns = [draw(st.lists(of(kind), min_size=rows, max_size=rows)) for kind in kinds]
    return kinds, columns, draw(st.integers(0, rows - 1))


@pytest.fixture(scope="module")
def connection(clickhouse_url):
    from history.clickhouse_connection import NativeConnection
    from history.clickhouse_url import servers

    where = servers(clickhouse_url)
    connection = NativeConnection(where, where.hosts[0])
    yield connection
    connection.close()


@given(tables())
def test_what_is_written_is_read_back(connection, table):
    kinds, columns, cut = table
    names = [f"c{i}" for i in range(len(kinds))]
    arrow = pa.table({n: pa.array(c, arrow_type(kind_of(k))) for n, k, c in zip(names, kinds, columns, strict=True)})
    arrow = arrow.slice(cut)
    wanted = ", ".join(f"{name} {kind}" for name, kind in zip(names, kinds, strict=True))
    connection.query(f"CREATE OR REPLACE TABLE round_trip ({wanted}) ENGINE = Memory", {}, {}, 20)
    header = connection.begin_insert(f"INSERT INTO round_trip ({', '.join(names)}) FORMAT Native", {}, 20)
    assert header == list(zip(names, kinds, strict=True))
    connection.finish_insert(encode(arrow, header))
    blocks = connection.query("SELECT * FROM round_trip", {}, {}, 20)
    assert blocks[0].kinds == header
    filled = [block.columns for block in blocks if block.rows]
    got = {name: [v for columns in filled for v in columns[i].to_pylist()] for i, name in enumerate(names)}
    assert got == arrow.to_pydict()
    assert {tuple(column.type for column in columns) for columns in filled} == {tuple(c.type for c in arrow.columns)}


@given(st.lists(st.binary(max_size=20) | st.integers(120, 140).map(bytes) | st.just(b"x" * 20_000), max_size=30))
def test_texts_are_written_as_the_driver_reads_them(items):
    _, data = _encoded(pa.array(items, pa.binary()), "String")
    stream = _Buffer(data)
    assert list(stream.read_strings(len(items))) == items


@pytest.mark.parametrize("entries", [1, 256, 257, 65_536, 65_537])
def test_indices_are_as_wide_as_the_dictionary_needs(entries):
    texts = pa.array([str(i) for i in range(entries)]).dictionary_encode()
    _, data = _encoded(texts, "LowCardinality(String)")
    flags, size = struct.unpack_from("<qq", data, 8)
    width = 1 << (flags & 0xFF)
    assert size == entries
    assert width == {1: 1, 256: 1, 257: 2, 65_536: 2, 65_537: 4}[entries]
    (rows,) = struct.unpack_from("<q", data, len(data) - width * entries - 8)
    indices = np.frombuffer(data[len(data) - width * entries :], f"<u{width}")
    assert rows == entries
    assert indices.tolist() == list(range(entries))


@pytest.mark.parametrize(
    ("column", "kind", "stored"),
    [
        (pa.array([1, None, 3]), "Int64", [1, 0, 3]),
        (pa.array([None, None]), "Int64", [0, 0]),
        (pa.array(["a", None]), "String", ["a", ""]),
        (pa.array(["a", None]), "LowCardinality(String)", ["a", ""]),
        (pa.array(["a", None]).dictionary_encode(), "LowCardinality(String)", ["a", ""]),
        (pa.array([[1], None, [2, 3]], pa.list_(pa.int64())), "Array(UInt8)", [[1], [], [2, 3]]),
        (pa.array([True, None]), "Bool", [True, False]),
        (pa.array([1, 2], pa.int8()), "UInt64", [1, 2]),
        (pa.array(["x"] * 3).dictionary_encode(), "String", ["x"] * 3),
        (pa.array([None, 1.5], pa.float32()), "Nullable(Float64)", [None, 1.5]),
    ],
)
def test_nulls_become_defaults_and_widths_are_adapted(connection, column, kind, stored):
    connection.query(f"CREATE OR REPLACE TABLE adapted (c {kind}) ENGINE = Memory", {}, {}, 20)
    header = connection.begin_insert("INSERT INTO adapted (c) FORMAT Native", {}, 20)
    connection.finish_insert(encode(pa.table({"c": column}), header))
    blocks = connection.query("SELECT c FROM adapted", {}, {}, 20)
    assert [v for block in blocks if block.rows for v in block.columns[0].to_pylist()] == stored


def test_a_dictionary_with_mostly_unused_words_is_cut_down():
    words = pa.DictionaryArray.from_arrays(pa.array([4_999], pa.int32()), pa.array([str(i) for i in range(5_000)]))
    _, data = _encoded(words, "LowCardinality(String)")
    assert struct.unpack_from("<q", data, 16) == (1,)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([256]), "UInt8"),
        (pa.array([-1]), "UInt64"),
        (pa.array(["x"]), "Int64"),
    ],
)
def test_values_that_do_not_fit_are_refused_by_column(column, kind):
    with pytest.raises(RowsRefused, match=r"history: c: expected"):
        encode(pa.table({"c": column}), [("c", kind)])


def test_a_type_that_cannot_be_written_is_not_the_fault_of_rows():
    with pytest.raises(StoreError, match=r"history: c: expected") as caught:
        encode(pa.table({"c": pa.array([1])}), [("c", "Decimal(9, 2)")])
    assert not isinstance(caught.value, RowsRefused)


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("(1, 'a')", {"1": 1, "2": "a"}),
        ("cast((1, ['n']), 'Tuple(x UInt8, y Array(String))')", {"x": 1, "y": ["n"]}),
        ("map('a', [1])", [("a", [1])]),
        ("NULL", None),
        ("toLowCardinality(toNullable('q'))", "q"),
        ("toLowCardinality(CAST(NULL, 'Nullable(String)'))", None),
        ("[toLowCardinality('a'), 'b', 'a']", ["a", "b", "a"]),
        ("emptyArrayString()", []),
        ("toDecimal32(1.5, 3)", Decimal("1.500")),
        (
            "toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')",
            UUID(int=0x61F0C4045CB311E7907BA6006AD3DBA0),
        ),
    ],
)
def test_results_of_other_types_are_read_as_the_embedded_engine_gives_them(connection, sql, value):
    blocks = [b for b in connection.query(f"SELECT {sql} AS v", {}, {}, 20) if b.rows]
    assert [b.columns[0].to_pylist() for b in blocks] == [[value]]


def test_every_type_of_the_tables_has_an_arrow_type():
    for kind in ("LowCardinality(String)", "Nullable(Float64)", "Array(UInt32)", "Tuple(a Int64, b Array(String))"):
        assert arrow_type(kind_of(kind)) is not None
    assert kind_of("SimpleAggregateFunction(sum, Int64)").name == "Int64"
    with pytest.raises(StoreError, match="AggregateFunction"):
        arrow_type(kind_of("AggregateFunction(uniq, Int64)"))


class _Buffer(BufferedReader):
    """The driver's reader over bytes."""

    def __init__(self, data):
        self._stream = io.BytesIO(data)
        super().__init__(1 << 16)

    def read_into_buffer(self):
        data = self._stream.read(1 << 16)
        self.buffer[: len(data)] = data
        self.current_buffer_size = len(data)
        if not data:
            raise EOFError


def _encoded(column, kind):
    """A column's bytes after its name, type and flag."""
    parts = encode(pa.table({"c": column}), [("c", kind)])
    head = varint(1) + varint(len(column))
    assert parts[0] == head
    return parts[1], b"".join(bytes(part) for part in parts[2:])
