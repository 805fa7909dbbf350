"""A customer's account on a ClickHouse server: what it is granted, and that nothing else is."""

import hashlib
import os
import re

import pytest

from contracts.errors import ContractError
from history.clickhouse_url import servers
from history.migrate import migrations
from history.objectives import record
from history.row_policies import OWN, WITHHELD, statements
from history.tenant import Tenant
from tests.history.conftest import REAL_SERVER
from tests.history.sla_world import HOUR, MINUTE, OCT, Row, fill, level
from tests.history.test_sla_causes import incident, series, store_incidents

PASSWORD = "a long password"
SHA256 = hashlib.sha256(PASSWORD.encode()).hexdigest()
START, END = OCT.span(level().zone)


class Recorded:
    """A store that notes what it is asked."""

    def __init__(self, store):
        self._store, self.tables = store, set()

    def query(self, sql, parameters=None):
        self._note(sql)
        return self._store.query(sql, parameters)

    def query_arrow(self, sql, parameters=None):
        self._note(sql)
        return self._store.query_arrow(sql, parameters)

    def _note(self, sql):
        self.tables |= set(re.findall(r"\b(?:FROM|JOIN)\s+(\w+)", sql))


def two_customers(store):
    """Minutes, an objective and an incident of acme, and of beta."""
    for name in ("acme", "beta"):
        fill(store, [Row(START + i * MINUTE, failures=50, customer=name) for i in range(30)])
        record(store, [level(customer=name)], "ana", 0)
    store_incidents(
        store, incident(customers=("acme",), series=(series("acme"),), onset=START, newest=START, detected_at=START)
    )
    return store


def test_every_table_with_rows_of_customers_is_granted_or_withheld_for_a_reason():
    of_customers = set()
    for migration in migrations():
        for statement in migration.statements:
            found = re.search(r"CREATE TABLE IF NOT EXISTS (\w+)\s*\((.*)\)\s*ENGINE", statement, re.DOTALL)
            if found and re.search(r"^\s*customer\b", found[2], re.MULTILINE):
                of_customers.add(found[1])
    assert len(of_customers) > 10
    assert of_customers - set(WITHHELD) == set(OWN)
    assert set(WITHHELD) <= {m.name for m in migrations()}


def test_what_a_customer_is_told_comes_from_these_tables(store):
    asked = Recorded(two_customers(store))
    tenant = Tenant(asked, "acme")
    now = START + 2 * HOUR
    assert tenant.months(now)[0] == tenant.current_month(now) == OCT
    assert tenant.report(OCT, now)["objectives"][0]["lost"]
    assert tenant.services() == ("vod",)
    assert tenant.incidents(START, now)["incidents"]
    for step in ("1m", "5m", "1h", "1d"):
        assert tenant.quality(START, now, step)["steps"]
    of_history = asked.tables & {m.name for m in migrations()}
    assert len(of_history) > 5
    assert of_history <= {*OWN, *WITHHELD}


def test_the_account_comes_first_and_grants_after_what_confines_them():
    found = statements("acme", SHA256, "dipper", "default")
    assert found[0] == (
        f"CREATE USER OR REPLACE `dipper_acme` IDENTIFIED WITH sha256_hash BY '{SHA256}' SETTINGS readonly = 1"
    )
    assert found[1:3] == [
        "CREATE ROW POLICY OR REPLACE `dipper` ON `dipper`.`minutes` USING 1 TO `default`",
        "CREATE ROW POLICY OR REPLACE `dipper_acme` ON `dipper`.`minutes` USING customer = 'acme' TO `dipper_acme`",
    ]
    assert found[-len(OWN) :] == [f"GRANT SELECT ON `dipper`.`{table}` TO `dipper_acme`" for table in OWN]
    assert len(found) == 1 + 3 * len(OWN)


def test_on_a_cluster_the_tables_that_hold_rows_are_confined_as_well():
    found = statements("acme", SHA256, "dipper", "default", "main")
    assert all(" ON CLUSTER 'main' " in statement for statement in found)
    assert "GRANT ON CLUSTER 'main' SELECT ON `dipper`.`minutes_local` TO `dipper_acme`" in found
    assert (
        "CREATE ROW POLICY OR REPLACE `dipper_acme` ON CLUSTER 'main' ON `dipper`.`hours_local`"
        " USING customer = 'acme' TO `dipper_acme`"
    ) in found
    assert len(found) == 1 + 3 * 2 * len(OWN)


def test_names_end_where_they_end():
    with pytest.raises(ContractError, match="customer: expected 1 to 64"):
        statements("acme' OR '1", SHA256, "dipper", "default")
    with pytest.raises(ContractError, match="password_sha256: expected 64 hex digits"):
        statements("acme", "' --", "dipper", "default")
    odd = statements("acme", SHA256, "dipper", "li`; DROP")[1]
    assert odd.endswith("TO `li\\`; DROP`")


@pytest.mark.parametrize("cluster", [None, "main", "{cluster}"])
def test_the_engine_parses_every_statement(served, cluster):
    store = served.empty()
    for statement in statements("a.b:c-d", SHA256, "dipper", "default", cluster):
        assert store.query(f"EXPLAIN AST {statement}")["explain"]


@pytest.mark.skipif(REAL_SERVER not in os.environ, reason=f"{REAL_SERVER} names no server")
def test_a_server_shows_a_customer_its_own_rows_and_nothing_else(served, server_url):
    from clickhouse_driver import Client
    from clickhouse_driver.errors import ServerException

    store, at = two_customers(served.empty()), servers(server_url)
    for statement in statements("acme", SHA256, at.database, at.user, at.cluster):
        store.query(statement)
    try:
        host, port = at.hosts[0]
        client = Client(host, port, at.database, "dipper_acme", PASSWORD, secure=at.secure, ca_certs=at.ca)
        for table in OWN:
            assert {name for (name,) in client.execute(f"SELECT DISTINCT customer FROM {table}")} <= {"acme"}
        assert client.execute("SELECT count() FROM minutes FINAL") == [(30,)]
        assert store.query("SELECT count() AS n FROM minutes FINAL")["n"] == [60]  # Dipper itself sees all
        for table in WITHHELD:
            with pytest.raises(ServerException, match="Not enough privileges"):
                client.execute(f"SELECT count() FROM {table}")
    finally:
        for statement in dropped("acme", at):
            store.query(statement)


def dropped(customer, at):
    """What takes the account away again."""
    on = f" ON CLUSTER '{at.cluster}'" if at.cluster else ""
    names = [t for name in OWN for t in ([name, f"{name}_local"] if at.cluster else [name])]
    policies = [(p, t) for p in ("dipper", f"dipper_{customer}") for t in names]
    found = [f"DROP USER IF EXISTS `dipper_{customer}`{on}"]
    return found + [f"DROP ROW POLICY IF EXISTS `{p}`{on} ON `{at.database}`.`{t}`" for p, t in policies]
