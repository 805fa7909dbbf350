"""What every Store does, whatever stands behind it. A backend's test class inherits these tests and gives `store`."""

import threading

import pyarrow as pa
import pytest

from contracts.protocols import Store, StoreError, StoreUnavailable
from history.errors import RowsRefused


class StoreContract:
    """Needs a fixture `store`: a migrated store with empty tables."""

    def test_it_is_a_store(self, store):
        assert isinstance(store, Store)

    def test_inserted_rows_come_back_in_select_order(self, store):
        rows = pa.table({"topic": ["b", "a"], "partition": [1, 2], "next": [10, 20]})
        assert store.insert("positions", rows) == 2
        got = store.query("SELECT next, topic FROM positions ORDER BY topic")
        assert list(got) == ["next", "topic"]
        assert got == {"next": [20, 10], "topic": ["a", "b"]}

    def test_an_empty_result_still_names_its_columns(self, store):
        assert store.query("SELECT topic, next FROM positions") == {"topic": [], "next": []}

    def test_inserting_no_rows_is_no_error(self, store):
        rows = pa.table({"topic": pa.array([], pa.utf8()), "partition": pa.array([], pa.int64())})
        assert store.insert("positions", rows) == 0

    def test_nulls_bytes_lists_and_dictionaries_survive(self, store):
        rejected = pa.table({"id": ["x"], "body": pa.array([b"\xff\x00'\\"], pa.binary())})
        store.insert("rejected", rejected)
        assert store.query("SELECT hex(body) AS body FROM rejected") == {"body": ["FF00275C"]}
        slices = pa.table(
            {
                "device": pa.array(["d", "d", "汉"]).dictionary_encode(),
                "row": [0, 1, 2],
                "latency_cell": pa.array([[1, 255], [], [7]], pa.list_(pa.uint8())),
                "latency_count": pa.array([[4_294_967_295, 1], [], [2]], pa.list_(pa.uint32())),
            }
        )
        store.insert("slices", slices)
        got = store.query("SELECT device, latency_cell, latency_count FROM slices ORDER BY `row`")
        assert got["device"] == ["d", "d", "汉"]
        assert got["latency_cell"] == [[1, 255], [], [7]]
        assert got["latency_count"] == [[4_294_967_295, 1], [], [2]]
        vitals = pa.table({"device": ["d", "e"], "load1": pa.array([None, 1.5], pa.float64())})
        store.insert("vitals", vitals)
        assert store.query("SELECT load1 FROM vitals ORDER BY device") == {"load1": [None, 1.5]}

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            ("String", "'; DROP TABLE slices; --"),
            ("String", "a\\b\tc\nd\re\0f"),
            ("String", "\\N"),
            ("String", ""),
            ("String", "{x:Int64}"),
            ("Array(String)", ["it's", "a\\b\nc\t", "汉", "", "]", "','"]),
            ("Array(Int64)", [-1, 2**62]),
            ("Array(Int64)", []),
            ("Int64", -(2**63)),
            ("Float64", 0.1),
            ("Nullable(Int64)", None),
        ],
    )
    def test_parameters_are_values_never_text_of_the_query(self, store, kind, value):
        assert store.query(f"SELECT {{p:{kind}}} AS p", {"p": value}) == {"p": [value]}

    def test_statements_take_parameters(self, store):
        sql = "INSERT INTO positions (topic, partition, next) SELECT {t:String}, number, 7 FROM numbers(2)"
        store.execute(sql, {"t": "it's"})
        assert store.query("SELECT topic, next FROM positions") == {"topic": ["it's"] * 2, "next": [7, 7]}

    def test_query_arrow_answers_columns(self, store):
        store.insert("positions", pa.table({"topic": ["a"] * 3, "partition": [1, 2, 3]}))
        table = pa.table(store.query_arrow("SELECT topic, partition FROM positions ORDER BY partition"))
        assert table["partition"].to_pylist() == [1, 2, 3]
        assert table["topic"].cast(pa.utf8()).to_pylist() == ["a"] * 3

    def test_unknown_tables_and_columns_are_named(self, store):
        with pytest.raises(StoreError, match="nowhere"):
            store.insert("nowhere", pa.table({"a": [1]}))
        with pytest.raises(StoreError, match="colour") as caught:
            store.insert("positions", pa.table({"colour": ["red"]}))
        assert not isinstance(caught.value, RowsRefused), "tables and program differ, whatever the rows are"
        with pytest.raises(StoreError, match="1; DROP"):
            store.insert("1; DROP TABLE positions", pa.table({"a": [1]}))

    def test_a_wrong_query_is_an_error_without_a_stack(self, store):
        with pytest.raises(StoreError) as caught:
            store.query("SELECT nonsense FROM positions")
        assert not isinstance(caught.value, StoreUnavailable)
        assert "nonsense" in str(caught.value)
        assert "Stack trace" not in str(caught.value)

    def test_a_block_that_cannot_be_stored_leaves_nothing(self, store):
        rows = pa.table({"topic": ["a", "b"], "partition": ["1", "not a number"]})
        with pytest.raises(RowsRefused):
            store.insert("positions", rows)
        assert store.query("SELECT count() AS n FROM positions") == {"n": [0]}

    def test_readers_see_whole_blocks_while_one_writes(self, store):
        seen, stop, errors = set(), threading.Event(), []

        def read():
            try:
                while not stop.is_set():
                    seen.add(store.query("SELECT count() AS n FROM positions")["n"][0])
            except Exception as error:
                errors.append(error)

        readers = [threading.Thread(target=read) for _ in range(4)]
        for thread in readers:
            thread.start()
        for i in range(10):
            store.insert("positions", pa.table({"topic": [f"t{i}"] * 1_000, "partition": list(range(1_000))}))
        stop.set()
        for thread in readers:
            thread.join(20)
        assert errors == []
        assert {n % 1_000 for n in seen} == {0}
        assert store.query("SELECT count() AS n FROM positions")["n"] == [10_000]
