"""Servers that die, hang, refuse or fill up, and a network that breaks: what callers are told, and that nothing is lost
or doubled."""

import random
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager, suppress

import pyarrow as pa
import pytest

from contracts.protocols import StoreError, StoreFull, StoreUnavailable
from history.clickhouse_store import ClickHouseStore
from history.clickhouse_url import servers
from history.errors import QueryTimeout, ReplicaAway, RowsRefused, from_code
from history.ledger import ledger
from history.sink import Sink, SinkSettings
from tests.history.builders import MINUTE, T0, MemoryLog, random_fleet, send
from tests.history.test_sink import assert_truth
from tests.services.clickhouse import NativeServer

POSITION = pa.table({"topic": ["a"], "partition": [1], "next": [5]})


@pytest.fixture
def server(tmp_path):
    with NativeServer(tmp_path / "server") as server:
        yield server


def through(url, *hosts):
    """The same connection string with other hosts."""
    before, _, rest = url.partition("@")
    return f"{before}@{','.join(hosts)}/{rest.partition('/')[2]}"


def having(url, **options):
    """The same connection string with more options."""
    more = "&".join(f"{name}={value}" for name, value in options.items())
    return f"{url}{'&' if '?' in url else '?'}{more}"


@contextmanager
def closed_port():
    """An address at which nobody listens, kept from others while in use."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


class Cutter:
    """A network between client and server. When armed, it carries the next insert to the server, waits until the server
    has stored it, and breaks before the client hears of it."""

    def __init__(self, port):
        self._port = port
        self.armed = False
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._open += [client, server]
                state = {"insert": False}
                threading.Thread(target=self._up, args=(client, server, state), daemon=True).start()
                threading.Thread(target=self._down, args=(server, client, state), daemon=True).start()

    def _up(self, client, server, state):
        with suppress(OSError):
            while data := client.recv(1 << 16):
                state["insert"] = state["insert"] or (self.armed and b"INSERT INTO" in data)
                server.sendall(data)

    def _down(self, server, client, state):
        answers = 0
        with suppress(OSError):
            while data := server.recv(1 << 16):
                answers += state["insert"]
                if answers < 2:  # the first is the header that the client waits for
                    client.sendall(data)
                elif data.endswith(b"\x05"):  # end of stream
                    self.armed = False
                    self.cuts += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
            client.shutdown(socket.SHUT_RDWR)

    def close(self):
        for sock in self._open:
            sock.close()


@pytest.fixture
def cutter(server):
    cutter = Cutter(server.port)
    yield cutter
    cutter.close()


class MortalServer:
    """A store whose server is killed around given writes: before the even ones, after the odd ones."""

    def __init__(self, store, server, deaths):
        self._store = store
        self._server = server
        self._deaths = set(deaths)
        self.writes = 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    def _write(self, work):
        self.writes += 1
        dies = self.writes in self._deaths
        if dies and self.writes % 2 == 0:
            self._server.kill()
        result = work()
        if dies and self.writes % 2:
            self._server.kill()
        return result

    def insert(self, table, rows):
        return self._write(lambda: self._store.insert(table, rows))

    def execute(self, sql, parameters=None):
        return self._write(lambda: self._store.execute(sql, parameters))


def test_a_server_killed_around_any_write_loses_and_doubles_nothing(server):
    reports = random_fleet(random.Random(3), boxes=3, minutes=3)
    log = MemoryLog()
    send(log, *reports)
    crashes = 0
    with ClickHouseStore(server.url) as store:
        mortal = MortalServer(store, server, [2, 5, 8, 11, 16, 21, 30])
        sink = Sink(log, mortal, SinkSettings(flush_every_ms=0, late_refresh_ms=0, block_rows=60, poll_records=20))
        for _ in range(20):
            try:
                sink.drain(T0 + 5 * MINUTE)
                break
            except StoreUnavailable:
                crashes += 1
                server.start()
        assert crashes == 7
        assert_truth(store, reports)
        books = ledger(store, T0)
        assert books.balanced
        assert (books.requests.lost, books.requests.double_counted, books.requests.pending) == (0, 0, 0)
        assert books.requests.stored == sum(sum(r["requests"] for r in rows) for _, rows in reports)


def test_another_host_answers_when_the_first_is_dead(server):
    with closed_port() as dead, ClickHouseStore(through(server.url, dead, f"127.0.0.1:{server.port}")) as store:
        assert store.insert("positions", POSITION) == 1
        assert store.query("SELECT next FROM positions") == {"next": [5]}


def test_another_host_takes_over_while_running_and_the_first_may_come_back(server, tmp_path):
    with NativeServer(tmp_path / "second") as second:
        account = server.url.partition("@")[0]
        second.stop()
        second._password = account.rpartition(":")[2]
        second.start()
        hosts = f"127.0.0.1:{server.port}", f"127.0.0.1:{second.port}"
        ClickHouseStore(second.url).close()  # its tables
        with ClickHouseStore(through(server.url, *hosts)) as store:
            where = {"t": "here"}
            store.execute("INSERT INTO positions (topic) SELECT {t:String}", where)
            server.kill()
            assert store.query("SELECT topic FROM positions") == {"topic": []}
            store.execute("INSERT INTO positions (topic) SELECT {t:String}", {"t": "there"})
            assert store.query("SELECT topic FROM positions") == {"topic": ["there"]}
            server.start()
            second.kill()
            assert store.query("SELECT topic FROM positions") == {"topic": ["here"]}


def test_an_insert_without_an_answer_is_given_again_and_counts_once(server, cutter):
    with ClickHouseStore(through(server.url, cutter.address, f"127.0.0.1:{server.port}")) as store:
        store.execute("SYSTEM STOP MERGES positions")
        store.insert("positions", POSITION)
        cutter.armed = True
        assert store.insert("positions", pa.table({"topic": ["a"], "partition": [1], "next": [9]})) == 1
        assert cutter.cuts == 1
        assert store.query("SELECT count() AS n FROM positions") == {"n": [3]}
        assert store.query("SELECT topic, next FROM positions FINAL") == {"topic": ["a"], "next": [9]}


def test_an_insert_that_would_show_twice_is_left_to_the_caller(server, cutter):
    row = pa.table({"minute": [T0], "customer": ["acme"], "service": ["video"]})
    with ClickHouseStore(through(server.url, cutter.address, f"127.0.0.1:{server.port}")) as store:
        store.execute("SYSTEM STOP MERGES restatements")
        store.insert("restatements", row)
        cutter.armed = True
        with pytest.raises(ReplicaAway) as caught:
            store.insert("restatements", row)
        assert caught.value.sent
        assert store.query("SELECT count() AS n FROM restatements") == {"n": [2]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda url: url.replace("@", "wrong@"), "Authentication failed"),
        (lambda url: f"{url.partition('@')[0]}@{url.partition('@')[2].partition('/')[0]}/nowhere", "nowhere does not"),
    ],
)
def test_a_refused_account_or_database_is_a_sentence(server_url, change, message):
    with pytest.raises(StoreError, match=message) as caught:
        ClickHouseStore(change(server_url))
    assert not isinstance(caught.value, StoreUnavailable)
    said = str(caught.value)
    assert servers(server_url).password not in said
    assert "\n" not in said


def test_hosts_that_cannot_be_reached_are_named_within_seconds(server_url):
    with closed_port() as dead, socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = dead, f"127.0.0.1:{silent.getsockname()[1]}"
        begin = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            ClickHouseStore(having(through(server_url, *hosts), connect_timeout_s=0.5))
        assert time.monotonic() - begin < 5
    assert f"{hosts[0]}: cannot be reached" in str(caught.value)
    assert f"{hosts[1]}: expected an answer within 0.5 s, got none" in str(caught.value)
    assert servers(server_url).password not in str(caught.value)


def test_something_else_on_the_port_is_no_traceback(server_url):
    with socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(
            target=lambda: other.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), daemon=True
        ).start()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            ClickHouseStore(through(server_url, f"127.0.0.1:{other.getsockname()[1]}"))


def test_a_query_may_only_run_so_long(server_url):
    with ClickHouseStore(having(server_url, query_timeout_s=0.3, readers=1)) as store:
        with pytest.raises(QueryTimeout):
            store.query("SELECT sum(cityHash64(number)) FROM numbers(100000000000)")
        assert store.query("SELECT 1 AS one") == {"one": [1]}


def test_a_full_disk_is_told_as_such_and_passes(served):
    store = served.empty()
    store._settings["min_free_disk_bytes_to_perform_insert"] = str(10**18)
    try:
        with pytest.raises(StoreFull, match="no space left"):
            store.insert("positions", POSITION)
    finally:
        store._settings["min_free_disk_bytes_to_perform_insert"] = "0"
    assert store.query("SELECT count() AS n FROM positions") == {"n": [0]}
    assert store.insert("positions", POSITION) == 1


def test_callers_beyond_the_connections_wait_and_are_told(server_url):
    with ClickHouseStore(having(server_url, query_timeout_s=1, readers=1)) as store:
        slow = "SELECT sleepEachRow(0.5) FROM numbers(1)"
        answers = []

        def ask():
            try:
                answers.append(next(iter(store.query(slow).values())))
            except StoreUnavailable as error:
                answers.append(str(error))

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert [0] in answers
        assert any("all 1 connections are busy" in str(answer) for answer in answers)


def test_a_closed_store_says_so(server_url):
    store = ClickHouseStore(server_url)
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.query("SELECT 1")


def test_values_that_do_not_fit_leave_a_usable_store(served):
    store = served.empty()
    with pytest.raises(StoreError, match="dirty"):
        store.insert("dirty_minutes", pa.table({"minute": [T0], "dirty": [300], "stamp": [1]}))
    assert store.insert("dirty_minutes", pa.table({"minute": [T0], "dirty": [1], "stamp": [1]})) == 1


def test_tls_trusts_the_named_authority_only(tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*command, *subject, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    with NativeServer(tmp_path / "server", cert=cert, key=key) as server:
        assert server.url.endswith("?secure=1")
        with ClickHouseStore(f"{server.url}&ca={cert}") as store:
            store.insert("positions", POSITION)
            assert store.query("SELECT next FROM positions") == {"next": [5]}
        with pytest.raises(StoreUnavailable, match="certificate is not trusted"):
            ClickHouseStore(server.url)
        with pytest.raises(StoreUnavailable, match=r"history: 127\.0\.0\.1"):
            ClickHouseStore(server.url.replace("secure=1", "connect_timeout_s=1"))
        assert ssl.get_server_certificate(("127.0.0.1", server.port)) == cert.read_text()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (243, StoreFull),
        (159, QueryTimeout),
        (202, StoreUnavailable),
        (241, StoreUnavailable),
        (210, ReplicaAway),
        (242, ReplicaAway),
        (289, ReplicaAway),
        (999, ReplicaAway),
        (198, ReplicaAway),
        (225, ReplicaAway),
        (244, ReplicaAway),
        (254, ReplicaAway),
        (160, QueryTimeout),
        (201, StoreUnavailable),
        (203, StoreUnavailable),
        (499, StoreUnavailable),
        (745, StoreUnavailable),
        (47, StoreError),
        (117, StoreError),
        (516, StoreError),
        (1001, StoreError),
        (0, StoreError),
    ],
)
def test_codes_of_a_server_get_the_class_a_caller_acts_on(code, kind):
    assert type(from_code(code, "what it said. Stack trace:\n\n0. here")) is kind
    assert "here" not in str(from_code(code, "what it said. Stack trace:\n\n0. here"))


def test_only_what_an_engine_says_of_values_it_was_given_is_the_fault_of_rows():
    for code in (6, 27, 53, 70, 72, 117, 128, 131, 321, 349, 469):
        assert type(from_code(code, "no", rows=True)) is RowsRefused
    for code in (0, 16, 60, 164, 425, 497, 1000, 1001):
        assert type(from_code(code, "no", rows=True)) is StoreError
