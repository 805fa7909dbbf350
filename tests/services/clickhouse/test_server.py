"""What the test server must do as a real one does, seen through the driver's own client."""

import datetime as dt

import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import ServerException

from tests.services.clickhouse import NativeServer
from tests.services.clickhouse.wire import Gone, Source, pass_column, varint


@pytest.fixture
def client(clickhouse_url):
    with Client.from_url(clickhouse_url + "?server_side_params=1") as client:
        yield client


def test_values_of_many_types_pass_through(client):
    sql = """SELECT 1 AS a, 'x' AS b, [1, 2] AS c, toLowCardinality('y') AS d, tuple(1, 'z') AS e, map('k', 2) AS f,
        toDateTime('2020-01-01', 'UTC') AS g, NULL AS h, toNullable(5) AS i, [[1], []] AS j, toFloat64(0.5) AS k,
        [toLowCardinality('l')] AS l, cast((1, 'n'), 'Tuple(x UInt8, y String)') AS m"""
    rows, columns = client.execute(sql, with_column_types=True)
    at = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    assert rows == [(1, "x", [1, 2], "y", (1, "z"), {"k": 2}, at, None, 5, [[1], []], 0.5, ["l"], (1, "n"))]
    assert dict(columns)["g"] == "DateTime('UTC')"


def test_a_result_without_rows_has_a_header(client):
    sql = "SELECT number AS n, toString(number) AS s FROM numbers({n:UInt8})"
    assert client.execute(sql, {"n": 0}, with_column_types=True) == ([], [("n", "UInt64"), ("s", "String")])


def test_many_blocks_of_a_result_arrive(client):
    sql = "SELECT sum(number), count() FROM (SELECT number FROM numbers(200000))"
    assert client.execute(sql) == [(19_999_900_000, 200_000)]
    assert len(client.execute("SELECT number, [toString(number)] FROM numbers(200000)")) == 200_000


def test_rows_of_several_blocks_are_stored(client):
    client.execute("CREATE OR REPLACE TABLE blocks (a Int64, s String, n Nullable(Float64)) ENGINE = Memory")
    rows = [(i, "s" * (i % 300), None if i % 3 else i / 2) for i in range(1_000)]
    sql = "INSERT INTO blocks (a, s, n) VALUES"
    assert client.execute(sql, rows, settings={"insert_block_size": 400, "server_side_params": True}) == 1_000
    assert client.execute("SELECT * FROM blocks ORDER BY a") == rows
    client.execute("DROP TABLE blocks")


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT nonsense", 47),
        ("SELECT throwIf(number = 5) FROM numbers(10)", 395),
        ("INSERT INTO nowhere (a) VALUES", 60),
        ("SELECT sleep(1) SETTINGS max_execution_time = 0.1, function_sleep_max_microseconds_per_block = 9000000", 159),
    ],
)
def test_a_refused_query_says_why_and_the_connection_lives_on(client, sql, code):
    with pytest.raises(ServerException) as caught:
        client.execute(sql, [(1,)] if sql.startswith("INSERT") else None)
    assert caught.value.code == code
    assert client.execute("SELECT 1") == [(1,)]


def test_wrong_accounts_and_databases_are_refused(clickhouse_url):
    wrong = {
        clickhouse_url.replace("dipper:", "dipper:x"): 516,
        clickhouse_url.replace("dipper:", "other:"): 516,
        clickhouse_url + "_other": 81,
    }
    for url, code in wrong.items():
        with pytest.raises(ServerException) as caught:
            Client.from_url(url).execute("SELECT 1")
        assert caught.value.code == code


def test_data_outlives_a_crash_and_the_port_stays(tmp_path):
    with NativeServer(tmp_path) as server:
        url = server.url
        with Client.from_url(url) as client:
            client.execute("CREATE TABLE kept (a Int64) ENGINE = MergeTree ORDER BY a")
            client.execute("INSERT INTO kept (a) VALUES", [(7,)])
        server.kill()
        server.start()
        assert server.url == url
        with Client.from_url(url) as client:
            assert client.execute("SELECT a FROM kept") == [(7,)]


def test_a_value_that_ends_too_early_is_noticed():
    with pytest.raises(Gone):
        pass_column(Source(varint(300) + b"x"), "String", 1)
    with pytest.raises(ValueError, match="AggregateFunction"):
        pass_column(Source(b""), "AggregateFunction(sum, Int64)", 1)
