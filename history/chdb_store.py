"""ClickHouse's engine in this process (chDB) as a Store.

The engine allows one data path per process and many sessions on it, one per thread: one thread writes, a few read,
each with its own session. Callers may come from any thread. A lock file keeps a second process out, which the engine
itself would answer with a hang or a riddle.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import pyarrow as pa

from contracts.protocols import ArrowStream, StoreError, StoreFull, StoreUnavailable
from history.errors import RowsRefused, StoreLocked, from_engine
from history.migrate import migrate
from history.parameters import bind

DATABASE = "dipper"
MIB = 1024 * 1024
_NAME = re.compile(r"[a-z_]+\Z")
_T = TypeVar("_T")

# Asynchronous inserts would promise what is not stored yet. One block per insert makes an insert one part, so that
# readers see it whole. External aggregation and sorting keep big queries inside the memory limit.
_SETTINGS = {
    "async_insert": "0",
    "max_threads": "1",
    "max_insert_threads": "1",
    "min_insert_block_size_rows": "16000000",
    "min_insert_block_size_bytes": str(1024 * MIB),
    "max_insert_block_size": "16000000",
    "output_format_arrow_low_cardinality_as_dictionary": "1",
    "output_format_arrow_string_as_string": "1",
    "output_format_arrow_compression_method": "'none'",
    "do_not_merge_across_partitions_select_final": "1",
    "optimize_move_to_prewhere_if_final": "1",
    "max_query_size": str(64 * MIB),
    "max_partitions_per_insert_block": "1000",
}


class ChdbStore:
    """contracts.protocols.Store on chDB. `path`: a folder of its own. `memory_limit_bytes`: the engine's, all queries
    and merges together. `min_free_bytes`: inserts stop with StoreFull while the disk has less. `query_timeout_s`
    bounds a query, `statement_timeout_s` a statement or insert. `restore_from`: what `backup_to` wrote, to start from.
    Migrations are applied on opening.

    Raises StoreLocked when another process holds the path, StoreError when the engine cannot open it."""

    def __init__(
        self,
        path: str | Path,
        *,
        memory_limit_bytes: int = 600 * MIB,
        min_free_bytes: int = 512 * MIB,
        readers: int = 3,
        query_timeout_s: float = 20.0,
        statement_timeout_s: float = 600.0,
        restore_from: Path | None = None,
        free_bytes: Callable[[Path], int] | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        self.path.mkdir(parents=True, exist_ok=True)
        self.memory_limit_bytes = memory_limit_bytes
        self.min_free_bytes = min_free_bytes
        self._free_bytes = free_bytes or (lambda folder: shutil.disk_usage(folder).free)
        self._lock = _lock(self.path)
        self._columns: dict[str, dict[str, str]] = {}
        self._sessions: list[Any] = []
        self._local = threading.local()
        self._closed = False
        self._timeouts = {"write": statement_timeout_s, "read": query_timeout_s}
        self._writer = ThreadPoolExecutor(1, "history-write")
        self._readers = ThreadPoolExecutor(readers, "history-read")
        try:
            make = f"CREATE DATABASE IF NOT EXISTS {DATABASE}"
            if restore_from is not None:
                make = f"RESTORE DATABASE {DATABASE} FROM {_file(restore_from)}"
            self._on(self._writer, "write", lambda s: s.query(make), use=False)
            migrate(self)
        except BaseException:
            self.close()
            raise

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement on the writer's thread."""
        bound = bind(parameters)
        self._on(self._writer, "write", lambda s: s.query(sql, "Null", params=bound))

    def insert(self, table: str, rows: ArrowStream) -> int:
        """Insert rows of columns that the table has; returns how many. StoreFull while the disk is nearly full,
        RowsRefused for rows that the table can never take."""
        block = pa.table(rows)
        if block.num_rows == 0:
            return 0
        check_block(table, self._insertable(table), block.schema)
        self.check_space(block.nbytes)
        names = ", ".join(f"`{name}`" for name in block.column_names)

        def run(session: Any) -> None:
            incoming = block.combine_chunks()
            assert incoming.num_rows  # the engine finds `incoming` by its name in this frame
            # The names were compared with the table's own columns.
            session.query(f"INSERT INTO {table} ({names}) SELECT {names} FROM Python(incoming)", "Null")  # noqa: S608

        self._on(self._writer, "write", run, rows=True)
        return int(block.num_rows)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> dict[str, list[Any]]:
        """Columns of a result as Python lists, in select order."""
        table = self.query_arrow(sql, parameters)
        return {name: table.column(i).to_pylist() for i, name in enumerate(table.column_names)}

    def query_arrow(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """A result as a pyarrow.Table; low-cardinality text comes dictionary-encoded."""
        bound = bind(parameters)
        return self._on(self._readers, "read", lambda s: _table(s.query(sql, "Arrow", params=bound)))

    def check_space(self, coming_bytes: int = 0) -> None:
        """Raises StoreFull when the disk would keep less than `min_free_bytes`."""
        free = self._free_bytes(self.path)
        if free < self.min_free_bytes + coming_bytes:
            raise StoreFull(
                f"history: {self.path}: expected at least {self.min_free_bytes} bytes free, got {free};"
                " free space or run `dipper history expire`"
            )

    def backup_to(self, folder: Path) -> None:
        """Copy all tables, as of now, into a folder that does not exist yet."""
        self.check_space(self.size_bytes())
        self.execute(f"BACKUP DATABASE {DATABASE} TO {_file(folder)}")

    def size_bytes(self) -> int:
        """Bytes of the active parts on disk."""
        rows = self.query(
            "SELECT sum(bytes_on_disk) AS n FROM system.parts WHERE active AND database = currentDatabase()"
        )
        return int(rows["n"][0])

    def close(self) -> None:
        """Finish what runs, then release sessions and lock."""
        if self._closed:
            return
        self._closed = True
        for pool in (self._readers, self._writer):
            pool.shutdown(wait=True)
        for session in self._sessions:
            with contextlib.suppress(Exception):
                session.close()
        self._sessions.clear()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _on(
        self, pool: ThreadPoolExecutor, role: str, work: Callable[[Any], _T], *, use: bool = True, rows: bool = False
    ) -> _T:
        if self._closed:
            raise StoreUnavailable("history: the store is closed")

        def run() -> _T:
            try:
                return work(self._session(role, use=use))
            except StoreError:
                raise
            except Exception as error:
                self._forget_session()
                raise from_engine(error, rows=rows) from None

        try:
            future = pool.submit(run)
        except RuntimeError:
            raise StoreUnavailable("history: the store is closing") from None
        return future.result()

    def _session(self, role: str, *, use: bool) -> Any:
        session = getattr(self._local, "session", None)
        if session is None:
            from chdb.session import Session

            options = [f"max_server_memory_usage={self.memory_limit_bytes}", "backups.allowed_path=/"]
            session = Session(f"{self.path / 'engine'}?{'&'.join(options)}")  # type: ignore[no-untyped-call]
            self._sessions.append(session)
            self._local.session = session
            self._local.used = False
        if use and not self._local.used:
            settings = {**_SETTINGS, "max_execution_time": str(self._timeouts[role])}
            half = self.memory_limit_bytes // 2
            settings["max_bytes_before_external_group_by"] = str(half)
            settings["max_bytes_before_external_sort"] = str(half)
            session.query(f"USE {DATABASE}")
            session.query("SET " + ", ".join(f"{k} = {v}" for k, v in settings.items()))
            self._local.used = True
        return session

    def _forget_session(self) -> None:
        """What a failed query had written so far would be answered in front of the next one's result."""
        session, self._local.session = getattr(self._local, "session", None), None
        if session is not None:
            self._sessions.remove(session)
            with contextlib.suppress(Exception):
                session.close()

    def _insertable(self, table: str) -> dict[str, str]:
        if table not in self._columns:
            if not _NAME.match(table):
                raise StoreError(f"history: table: expected a name of a-z and _, got {table!r}")
            rows = self.query(
                "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
                " AND default_kind != 'MATERIALIZED' ORDER BY position",
                {"table": table},
            )
            if not rows["name"]:
                raise StoreError(f"history: table: expected one that exists, got {table!r}")
            self._columns[table] = dict(zip(rows["name"], rows["type"], strict=True))
        return self._columns[table]


_KINDS: tuple[tuple[str, Callable[[pa.DataType], bool]], ...] = (
    ("Array(", pa.types.is_list),
    ("String", lambda t: pa.types.is_string(t) or pa.types.is_binary(t)),
    ("Float", pa.types.is_floating),
    ("Bool", pa.types.is_boolean),
    ("Int", pa.types.is_integer),
)


def check_block(table: str, columns: Mapping[str, str], schema: pa.Schema) -> None:
    """Whether rows can go into a table's columns (name -> engine type): the engine itself would read text as a number
    and keep 0 for what is none. Raises RowsRefused that names the column of a wrong type, StoreError for a column that
    the table lacks: then tables and program differ."""
    for field in schema:
        if field.name not in columns:
            raise StoreError(f"history: table {table}: expected columns among {list(columns)}, got {field.name!r}")
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        fits = next(check for name, check in _KINDS if name in columns[field.name])
        if not fits(kind):
            raise RowsRefused(f"history: {table}.{field.name}: expected {columns[field.name]}, got {kind}")


def _table(result: Any) -> pa.Table:
    data = result.bytes()
    return pa.ipc.open_file(pa.py_buffer(data)).read_all()


def _file(folder: Path) -> str:
    quoted = str(folder.absolute()).replace("\\", "\\\\").replace("'", "\\'")
    return f"File('{quoted}/')"


def _lock(folder: Path) -> IO[str]:
    file = (folder / "lock").open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise StoreLocked(
            f"history: {folder}: expected to be the only process, got process {holder} holding it;"
            " stop that one or choose another path"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
