"""Statements for a cluster, word for word; the engine parses them, though it cannot run them."""

import pytest

from history.clickhouse_cluster import for_cluster, sharding_key
from history.migrate import migrations

# By hand: rows of a box lie together, else those of a customer, else those of an id.
SHARDED_BY = {
    "slices": "device",
    "reports": "device",
    "vitals": "device",
    "exemplars": "device",
    "rejected": "id",
    "changes": "id",
    "stream_minutes": "customer",
    "minutes": "customer",
    "hours": "customer",
    "days": "customer",
    "cell_minutes": "customer",
    "cell_hours": "customer",
    "cell_days": "customer",
    "device_minutes": "device",
    "box_minutes": "device",
    "coverage_minutes": "customer",
    "heard_minutes": "minute",
    "stored_reports": "device",
    "devices": "device",
    "dirty_minutes": "minute",
    "positions": "topic",
    "restatements": "customer",
    "ledger_horizon": "device",
    "objective_versions": "customer",
    "sla_statements": "customer",
    "sla_seals": "customer",
    "erasures": "id",
    "signals": "customer",
    "imported_minutes": "customer",
    "incidents": "id",
    "incident_actions": "id",
}


def test_a_table_becomes_a_replicated_and_a_distributed_one():
    statement = """-- What it is for.
CREATE TABLE IF NOT EXISTS things
(
    device LowCardinality(String),
    minute Int64 MATERIALIZED intDiv(start, 60000) * 60000
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY intDiv(minute, 86400000)
ORDER BY (minute, device)
SETTINGS fsync_after_insert = 1"""
    assert for_cluster(statement, "main") == [
        """-- What it is for.
CREATE TABLE IF NOT EXISTS things_local ON CLUSTER 'main'
(
    device LowCardinality(String),
    minute Int64 MATERIALIZED intDiv(start, 60000) * 60000
)
ENGINE = ReplicatedReplacingMergeTree(version)
PARTITION BY intDiv(minute, 86400000)
ORDER BY (minute, device)
SETTINGS fsync_after_insert = 1""",
        """CREATE TABLE IF NOT EXISTS things ON CLUSTER 'main' AS things_local
ENGINE = Distributed('main', currentDatabase(), 'things_local', cityHash64(device))""",
    ]


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        ("ALTER TABLE slices DROP PARTITION 5", ["ALTER TABLE slices_local ON CLUSTER 'c' DROP PARTITION 5"]),
        (
            "DELETE FROM minutes WHERE minute < {before:Int64}",
            ["DELETE FROM minutes_local ON CLUSTER 'c' WHERE minute < {before:Int64}"],
        ),
        ("TRUNCATE TABLE slices", ["TRUNCATE TABLE slices_local ON CLUSTER 'c'"]),
        (
            "DROP TABLE IF EXISTS slices",
            [
                "DROP TABLE IF EXISTS slices ON CLUSTER 'c' SYNC",
                "DROP TABLE IF EXISTS slices_local ON CLUSTER 'c' SYNC",
            ],
        ),
        ("INSERT INTO minutes SELECT * FROM slices", ["INSERT INTO minutes SELECT * FROM slices"]),
        ("SELECT 1", ["SELECT 1"]),
    ],
)
def test_changes_go_to_the_tables_that_hold_rows(statement, wanted):
    assert for_cluster(statement, "c") == wanted


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE IF NOT EXISTS t (a Int64) ENGINE = Memory",
        "CREATE TABLE IF NOT EXISTS t (a Int64) ENGINE = MergeTree",
        "RENAME TABLE a TO b",
    ],
)
def test_what_would_change_one_server_only_is_refused(statement):
    with pytest.raises(ValueError, match="history:"):
        for_cluster(statement, "c")


def test_rows_that_replace_each_other_share_a_shard():
    found = {}
    for migration in migrations():
        for statement in migration.statements:
            local, spread = for_cluster(statement, "c")
            name = spread.split()[5]
            found[name] = spread.rpartition("cityHash64(")[2].removesuffix("))")
            assert "ENGINE = Replicated" in local
    assert found == SHARDED_BY


def test_a_sharding_key_is_part_of_the_sorting_key():
    assert sharding_key("minute, customer, device, boot") == "device"
    assert sharding_key("number") == "number"


@pytest.mark.parametrize("migration", migrations(), ids=lambda m: f"{m.number:04d}_{m.name}")
def test_the_engine_parses_every_statement(served, migration):
    store = served.empty()
    for statement in migration.statements:
        for one in for_cluster(statement, "main"):
            tree = store.query(f"EXPLAIN AST {one}")["explain"]
            assert tree[0].startswith("CreateQuery"), tree[0]
            assert any("Storage definition" in line for line in tree)
