import pytest

import history
from history.clickhouse_url import servers
from history.errors import BadStoreUrl


def test_hosts_account_and_options_are_read():
    where = servers("clickhouse://us%40er:p%2Fw%3A@a:9001,b,[::1]:9002/db?cluster=main&readers=2&query_timeout_s=1.5")
    assert where.hosts == (("a", 9001), ("b", 9000), ("::1", 9002))
    assert (where.user, where.password, where.database) == ("us@er", "p/w:", "db")
    assert (where.cluster, where.readers, where.query_timeout_s, where.secure) == ("main", 2, 1.5, False)
    assert "p/w:" not in repr(where)


def test_the_port_follows_the_encryption():
    where = servers("clickhouse://u:p@a/db?secure=1&ca=/ca.pem")
    assert where.hosts == (("a", 9440),)
    assert (where.secure, where.ca) == (True, "/ca.pem")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("clickhouse://host:9000/db", "no user"),
        ("clickhouse://:secret@host:9000/db", "no user"),
        ("clickhouse://u:secret@host:9000", "expected a database"),
        ("clickhouse://u:secret@host:9000/", "expected a database"),
        ("clickhouse://u:secret@host:9000/a/b", "expected a database"),
        ("clickhouse://u:secret@host:99999/db", "HOST:PORT, got 'host:99999'"),
        ("clickhouse://u:secret@a,,b/db", "HOST:PORT, got ''"),
        ("clickhouse://u:secret@a b/db", "HOST:PORT, got 'a b'"),
        ("clickhouse://u:secret@[::1/db", "expected clickhouse://USER"),
        ("clickhouse://u:secret@a/db?colour=red", "colour"),
        ("clickhouse://u:secret@a/db?readers=0", "readers: expected a number above 0, got '0'"),
        ("clickhouse://u:secret@a/db?query_timeout_s=nan", "query_timeout_s"),
        ("clickhouse://u:secret@a/db?secure=yes", "secure: expected 0 or 1, got 'yes'"),
        ("clickhouse://u:secret@a/db?cluster=a'b", "cluster"),
        ("clickhouse://u:secret@a/db?ca=/ca.pem", "secure=1"),
    ],
)
def test_what_is_wrong_is_named_without_the_password(url, message):
    with pytest.raises(BadStoreUrl, match=message) as caught:
        history.open_store(url)
    assert "secret" not in str(caught.value)
