import subprocess
import sys
import textwrap

import pyarrow as pa
import pytest

import history
from contracts.protocols import StoreError, StoreFull, StoreUnavailable
from history.chdb_store import MIB, ChdbStore
from history.errors import BadStoreUrl, QueryTimeout, StoreLocked, from_engine
from tests.history.store_contract import StoreContract


class TestChdbStore(StoreContract):
    """The embedded engine keeps the contract."""

    @pytest.fixture
    def store(self, embedded):
        return embedded.empty()


def test_rows_are_there_after_closing_and_opening_again(own_path):
    with ChdbStore(own_path, min_free_bytes=0) as store:
        store.insert("positions", pa.table({"topic": ["a"], "partition": [1], "next": [5]}))
    with ChdbStore(own_path, min_free_bytes=0) as store:
        assert store.query("SELECT next FROM positions") == {"next": [5]}


def test_a_second_process_is_told_who_holds_the_history(own_path):
    code = f"""
        from history.chdb_store import ChdbStore
        from history.errors import StoreLocked
        try:
            ChdbStore({str(own_path)!r})
        except StoreLocked as error:
            print(error)
    """
    with ChdbStore(own_path, min_free_bytes=0):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=True
        )
        with pytest.raises(StoreLocked):
            ChdbStore(own_path)
    assert "expected to be the only process" in done.stdout


def test_a_nearly_full_disk_stops_inserts_and_keeps_what_is_there(own_path):
    free = [10**9]
    with ChdbStore(own_path, min_free_bytes=10**8, free_bytes=lambda _: free[0]) as store:
        row = pa.table({"topic": ["a"], "partition": [1]})
        store.insert("positions", row)
        free[0] = 10**8
        with pytest.raises(StoreFull, match="100000000 bytes free"):
            store.insert("positions", row)
        assert store.query("SELECT count() AS n FROM positions") == {"n": [1]}
        free[0] = 10**9
        assert store.insert("positions", row) == 1


def test_memory_is_capped(own_path):
    with ChdbStore(own_path, min_free_bytes=0, memory_limit_bytes=200 * MIB) as store:
        with pytest.raises(StoreUnavailable, match="memory"):
            store.query("SELECT length(groupArray(toString(number))) FROM numbers(50000000)")
        assert store.query("SELECT 1 AS one") == {"one": [1]}


def test_a_query_may_only_run_so_long(own_path):
    with ChdbStore(own_path, min_free_bytes=0, query_timeout_s=0.3) as store:
        with pytest.raises(QueryTimeout):
            store.query("SELECT sum(cityHash64(number)) FROM numbers(100000000000)")
        assert store.query("SELECT 1 AS one") == {"one": [1]}


def test_a_closed_store_says_so(own_path):
    store = ChdbStore(own_path, min_free_bytes=0)
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.query("SELECT 1")


def test_open_store_reads_options_from_the_url(own_path):
    store = history.open_store(f"chdb://{own_path}?memory_limit_bytes=300000000&min_free_bytes=0&readers=1")
    assert (store.memory_limit_bytes, store.min_free_bytes) == (300_000_000, 0)
    store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("chdb://relative/path", "chdb:///absolute/path"),
        ("sqlite:///x", "chdb:///absolute/path"),
        ("chdb:///x?colour=red", "colour"),
        ("chdb:///x?readers=many", "readers: expected a number"),
    ],
)
def test_open_store_names_what_is_wrong(url, message):
    with pytest.raises(BadStoreUrl, match=message) as caught:
        history.open_store(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Code: 243. DB::Exception: Cannot reserve 1.00 MiB. (NOT_ENOUGH_SPACE)", StoreFull),
        ("Code: 76. DB::ErrnoException: write: No space left on device", StoreFull),
        ("Code: 252. DB::Exception: Too many parts", StoreUnavailable),
        ("Code: 159. DB::Exception: Timeout exceeded", QueryTimeout),
        ("Code: 47. DB::Exception: Unknown identifier", StoreError),
        ("something else", StoreError),
    ],
)
def test_engine_errors_get_the_class_a_caller_acts_on(text, kind):
    assert type(from_engine(RuntimeError(text))) is kind
