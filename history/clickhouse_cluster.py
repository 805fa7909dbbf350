"""The same statements for a cluster: each table becomes a replicated one per shard, `NAME_local`, and a distributed one
over all shards with the plain name, to which all queries and inserts go.

A table is sharded by the first of device, customer, id that its sorting key has, else by the key's first column. So all
versions and repeats of a row lie on one shard, where FINAL sees them together. Statements that recompute a minute read
from all shards at the server that was asked and write through the distributed table, so a minute is whole.
"""

from __future__ import annotations

import re

_SHARD_BY = ("device", "customer", "id")
_CREATE = re.compile(
    r"(?P<head>(?:\s*--[^\n]*\n)*\s*CREATE TABLE IF NOT EXISTS )(?P<name>\w+)(?P<columns>\s*\(.*\)\s*)"
    r"ENGINE = (?P<engine>(?:Replacing)?MergeTree)(?P<rest>.*)\Z",
    re.DOTALL,
)
_SORTED_BY = re.compile(r"ORDER BY \(?([^)\n]+)\)?")
_CHANGE = re.compile(
    r"(?P<verb>\s*(?:ALTER TABLE|DELETE FROM|TRUNCATE TABLE(?: IF EXISTS)?)) (?P<name>\w+)(?P<rest>.*)\Z", re.DOTALL
)
_DROP = re.compile(r"(?P<verb>\s*DROP TABLE IF EXISTS) (?P<name>\w+)\s*\Z")


def for_cluster(statement: str, cluster: str) -> list[str]:
    """Statements to run in place of one: of a migration, or one that changes a table's parts. Others stay as they are.
    Raises ValueError for a CREATE TABLE it does not understand, rather than make a table on one server only."""
    create = _CREATE.match(statement)
    if create:
        return _created(create, cluster)
    change = _CHANGE.match(statement)
    if change:
        return [f"{change['verb']} {change['name']}_local ON CLUSTER '{cluster}'{change['rest']}"]
    drop = _DROP.match(statement)
    if drop:
        names = (drop["name"], f"{drop['name']}_local")
        return [f"{drop['verb']} {name} ON CLUSTER '{cluster}' SYNC" for name in names]
    if re.match(r"(?:\s*--[^\n]*\n)*\s*(CREATE|ALTER|DROP|RENAME|TRUNCATE|DELETE)\b", statement, re.IGNORECASE):
        raise ValueError(f"history: expected a statement with a form for clusters, got {statement.strip()[:80]!r}")
    return [statement]


def sharding_key(sorted_by: str) -> str:
    """The columns by which rows go to shards, from the columns of a sorting key."""
    columns = [column.strip() for column in sorted_by.split(",")]
    return next((name for name in _SHARD_BY if name in columns), columns[0])


def _created(found: re.Match[str], cluster: str) -> list[str]:
    name, local = found["name"], f"{found['name']}_local"
    sorted_by = _SORTED_BY.search(found["rest"])
    if sorted_by is None:
        raise ValueError(f"history: table {name}: expected ORDER BY in its definition, got none")
    key = sharding_key(sorted_by[1])
    engine = f"ENGINE = Replicated{found['engine']}{found['rest']}"
    head = found["head"]
    spread = f"ENGINE = Distributed('{cluster}', currentDatabase(), '{local}', cityHash64({key}))"
    return [
        f"{head}{local} ON CLUSTER '{cluster}'{found['columns']}{engine}",
        f"CREATE TABLE IF NOT EXISTS {name} ON CLUSTER '{cluster}' AS {local}\n{spread}",
    ]
