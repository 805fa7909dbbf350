"""ClickHouse servers as a Store, over the native protocol.

Callers may come from any thread. Queries share a pool of connections, statements and inserts take turns on one. When a
host is away the next one is asked; what may be repeated is said at each call.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self, TypeVar

import pyarrow as pa

from contracts.protocols import ArrowStream, StoreError, StoreUnavailable
from history.chdb_store import MIB, check_block
from history.clickhouse_cluster import for_cluster
from history.clickhouse_connection import NativeConnection
from history.clickhouse_pool import Hosts, Pool
from history.clickhouse_url import Servers, servers
from history.migrate import check, migrate
from history.native_block import encode
from history.native_read import Block
from history.native_types import arrow_type, kind_of
from history.parameters import bind

_T = TypeVar("_T")
_NAME = re.compile(r"[a-z_]+\Z")
_COLUMNS = """SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}
AND default_kind != 'MATERIALIZED' ORDER BY position"""
_ENGINE = "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = {table:String}"

# As for the embedded engine: nothing is promised that is not stored, and an insert is one part, so that readers see it
# whole.
_SETTINGS = {
    "async_insert": "0",
    "max_insert_threads": "1",
    "min_insert_block_size_rows": "16000000",
    "min_insert_block_size_bytes": str(1024 * MIB),
    "max_insert_block_size": "16000000",
    "do_not_merge_across_partitions_select_final": "1",
    "optimize_move_to_prewhere_if_final": "1",
    "max_query_size": str(64 * MIB),
    "max_partitions_per_insert_block": "1000",
    "insert_deduplicate": "1",
}
# On a cluster: an insert returns when every shard it concerns has it on most of its replicas, and a replica that lacks
# such an insert answers no query, so whoever takes over after a failure reads what was written. Subqueries see all
# shards. INSERT .. SELECT reads all shards before it groups.
_CLUSTER_SETTINGS = {
    "distributed_foreground_insert": "1",
    "insert_quorum": "auto",
    "insert_quorum_parallel": "0",
    "select_sequential_consistency": "1",
    "distributed_product_mode": "global",
    "parallel_distributed_insert_select": "0",
    "prefer_localhost_replica": "1",
    "load_balancing": "in_order",
}
# The servers then refuse anything but questions, whatever the account may do.
_READ_ONLY = {"readonly": "2"}


class ClickHouseStore:
    """contracts.protocols.Store on servers. `where`: a connection string, or what `servers` made of one. The database
    must exist. Migrations are applied on opening; with `read_only` they are only checked, and an account that may do no
    more than SELECT suffices.

    Raises BadStoreUrl, StoreUnavailable when no host can be reached, SchemaBehind when a reader finds tables missing,
    StoreError when servers refuse."""

    def __init__(self, where: str | Servers, *, read_only: bool = False) -> None:
        self.servers = servers(where) if isinstance(where, str) else where
        self.read_only = read_only
        self._settings = {**_SETTINGS, **(_CLUSTER_SETTINGS if self.servers.cluster else {})}
        if read_only:
            self._settings |= _READ_ONLY
        self._tables: dict[str, tuple[dict[str, str], bool]] = {}
        self._closed = False
        hosts = Hosts(self.servers)
        read_s, write_s = self.servers.query_timeout_s, self.servers.statement_timeout_s
        self._readers = Pool(self.servers, hosts, self.servers.readers, read_s)
        self._writer = Pool(self.servers, hosts, 1, write_s)
        try:
            if read_only:
                check(self)
            else:
                migrate(self)
        except BaseException:
            self.close()
            raise

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement. It is given to another host only if no host can have run it."""
        self._may_write()
        bound = bind(parameters)
        cluster = self.servers.cluster
        timeout = self.servers.statement_timeout_s
        for statement in for_cluster(sql, cluster) if cluster else [sql]:
            run = partial(_run, sql=statement, bound=bound, settings=self._settings, timeout_s=timeout)
            self._on(self._writer, run, repeatable=False)

    def insert(self, table: str, rows: ArrowStream) -> int:
        """Insert rows of columns that the table has; returns how many. RowsRefused for rows it can never take.

        After a broken connection nobody knows whether the block was stored. It is then given again, to the same host or
        another: replicated tables know the insert by its token, and tables that keep one row per key (the newest
        version, or equal repeats of one identity) hide the repeat under FINAL. Plain tables are given it once only."""
        self._may_write()
        block = pa.table(rows)
        if block.num_rows == 0:
            return 0
        columns, repeatable = self._table(table)
        check_block(table, columns, block.schema)
        names = ", ".join(f"`{name}`" for name in block.column_names)
        # The names were compared with the table's own columns.
        sql = f"INSERT INTO {table} ({names}) FORMAT Native"
        settings = {**self._settings, "insert_deduplication_token": uuid.uuid4().hex}

        def run(connection: NativeConnection) -> None:
            kinds = connection.begin_insert(sql, settings, self.servers.statement_timeout_s)
            try:
                parts = encode(block, kinds)
            except BaseException:
                connection.close()  # the server waits for rows
                raise
            connection.finish_insert(parts)

        self._on(self._writer, run, repeatable=repeatable)
        return int(block.num_rows)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> dict[str, list[Any]]:
        """Columns of a result as Python lists, in select order."""
        table = self.query_arrow(sql, parameters)
        return {name: table.column(i).to_pylist() for i, name in enumerate(table.column_names)}

    def query_arrow(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """A result as a pyarrow.Table; low-cardinality text comes dictionary-encoded."""
        bound = bind(parameters)
        timeout = self.servers.query_timeout_s
        run = partial(_run, sql=sql, bound=bound, settings=self._settings, timeout_s=timeout)
        return _joined(self._on(self._readers, run, repeatable=True))

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        for pool in (self._readers, self._writer):
            pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _may_write(self) -> None:
        if self.read_only:
            raise StoreError("history: expected questions only, for it was opened to be read")

    def _on(self, pool: Pool, work: Callable[[NativeConnection], _T], *, repeatable: bool) -> _T:
        if self._closed:
            raise StoreUnavailable("history: the store is closed")
        return pool.run(work, repeatable=repeatable)

    def _table(self, table: str) -> tuple[dict[str, str], bool]:
        """A table's columns (name -> type) and whether an insert into it may be repeated."""
        if table not in self._tables:
            if not _NAME.match(table):
                raise StoreError(f"history: table: expected a name of a-z and _, got {table!r}")
            rows = self.query(_COLUMNS, {"table": table})
            if not rows["name"]:
                raise StoreError(f"history: table: expected one that exists, got {table!r}")
            engine = self.query(_ENGINE, {"table": table})["engine"][0]
            repeatable = engine.startswith("Replacing") or self.servers.cluster is not None
            self._tables[table] = (dict(zip(rows["name"], rows["type"], strict=True)), repeatable)
        return self._tables[table]


def _run(
    connection: NativeConnection, *, sql: str, bound: Mapping[str, str], settings: Mapping[str, str], timeout_s: float
) -> list[Block]:
    return connection.query(sql, bound, settings, timeout_s)


def _joined(blocks: list[Block]) -> pa.Table:
    """One table of all blocks; the first names the columns of a result without rows."""
    if not blocks:
        return pa.table({})
    names = [name for name, _ in blocks[0].kinds]
    filled = [block.columns for block in blocks if block.rows]
    if not filled:
        empty = [pa.array([], arrow_type(kind_of(kind))) for _, kind in blocks[0].kinds]
        return pa.Table.from_arrays(empty, names=names)
    return pa.Table.from_arrays([pa.chunked_array(chunks) for chunks in zip(*filled, strict=True)], names=names)
