"""A server that speaks ClickHouse's native protocol in front of the engine in this process (chDB).

It is test support: one user, no compression, results whole. What the engine stores and answers passes through as it is.
Every connection has a thread with a session of its own.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.services.clickhouse.wire import BLOCK_INFO, Gone, Source, pass_column, text, varint

REVISION = 54468
HELLO, QUERY, DATA, CANCEL, PING = range(5)
S_HELLO, S_DATA, S_EXCEPTION, S_PROGRESS, S_PONG, S_END = range(6)
S_PROFILE_EVENTS = 14
_ERROR = re.compile(r"Code: (\d+)\. DB::(?:Err)?[Ee]xception: (.*)", re.DOTALL)
_INSERT = re.compile(
    r"\s*INSERT\s+INTO\s+(?:TABLE\s+)?([\w.`]+)\s*\(([^)]*)\)\s*(?:VALUES|FORMAT\s+Native)?\s*;?\s*\Z", re.IGNORECASE
)
_READS = re.compile(r"\s*(?:SELECT|WITH|\()", re.IGNORECASE)
_ESCAPES = {"b": "\b", "f": "\f", "r": "\r", "n": "\n", "t": "\t", "0": "\0", "a": "\a", "v": "\v"}


class Refused(Exception):
    """What the server itself answers with an exception: code and sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {sentence}")


class Engine:
    """One session of the engine, made anew after a failed query, whose leftovers it would answer."""

    def __init__(self, folder: Path, memory_bytes: int) -> None:
        self._path = f"{folder}?max_server_memory_usage={memory_bytes}&backups.allowed_path=/"
        self._session: Any = None
        self._database = ""
        self._settings: dict[str, str] = {}

    def use(self, database: str) -> None:
        """The database that names without one mean."""
        self._database = database
        self.close()
        self.run("SELECT 1", {}, {})

    def run(self, sql: str, settings: Mapping[str, str], parameters: Mapping[str, str]) -> bytes:
        """A result in the engine's Native format; empty for statements, and for results without rows."""
        try:
            if self._session is None:
                self._open()
            if settings != self._settings:
                assignments = [f"{name} = {_literal(value)}" for name, value in settings.items()]
                self._session.query("SET " + ", ".join(assignments))
                self._settings = dict(settings)
            return bytes(self._session.query(sql, "Native", params=dict(parameters)).bytes())
        except Exception:
            self.close()
            raise

    def insert(self, table: str, columns: str, block: int, settings: Mapping[str, str]) -> None:
        """Rows of a file descriptor that holds one block in Native format."""
        self.run(f"INSERT INTO {table} ({columns}) FROM INFILE '/proc/self/fd/{block}' FORMAT Native", settings, {})

    def close(self) -> None:
        """Release the session."""
        session, self._session, self._settings = self._session, None, {}
        if session is not None:
            with contextlib.suppress(Exception):
                session.close()

    def _open(self) -> None:
        from chdb.session import Session

        self._session = Session(self._path)
        if self._database:
            self._session.query(f"USE `{self._database}`")


class Conversation:
    """One client's connection."""

    def __init__(self, sock: socket.socket, engine: Engine, user: str, password: str) -> None:
        self._sock = sock
        self._source = Source(sock=sock)
        self._engine = engine
        self._account = (user, password)
        self._file = os.memfd_create("blocks")  # what is inserted, for the engine to read

    def close(self) -> None:
        """Release what it holds."""
        os.close(self._file)
        self._engine.close()
        self._sock.close()

    def serve(self) -> None:
        """Answer until the client goes away."""
        if not self._answering(self._hello):
            return
        while True:
            self._source.rewind()
            packet = self._source.varint()
            if packet == PING:
                self._sock.sendall(varint(S_PONG))
            elif packet == QUERY:
                self._answering(self._query)
            elif packet == DATA:
                self._block()  # of an insert that was refused before its rows came
            elif packet != CANCEL:
                return

    def _answering(self, work: Any) -> bool:
        try:
            work()
        except (Gone, OSError):
            raise
        except Exception as error:
            found = _ERROR.search(str(error))
            code, sentence = (int(found[1]), found[2]) if found else (1002, str(error))
            body = struct.pack("<i", code) + text("DB::Exception") + text(sentence) + text("") + b"\0"
            self._sock.sendall(varint(S_EXCEPTION) + body)
            return False
        return True

    def _hello(self) -> None:
        source = self._source
        if source.varint() != HELLO:
            raise Refused(101, "Unexpected packet from client")
        source.text()
        source.varint()
        source.varint()
        revision, database, user, password = source.varint(), source.text(), source.text(), source.text()
        given, wanted = (f"{u}\0{p}".encode() for u, p in ((user, password), self._account))
        if not hmac.compare_digest(given, wanted):
            raise Refused(
                516, f"{user}: Authentication failed: password is incorrect, or there is no user with such name."
            )
        if revision < REVISION:
            raise Refused(1002, f"expected a client of revision {REVISION}, got {revision}")
        self._engine.use(database)
        name = text("ClickHouse") + varint(26) + varint(9) + varint(REVISION) + text("UTC") + text("test server")
        self._sock.sendall(varint(S_HELLO) + name + varint(1) + varint(0) + bytes(8))
        source.text()  # quota key

    def _query(self) -> None:
        source = self._source
        source.text()
        self._client_info()
        settings = self._named()
        source.text()
        source.varint()
        compression, sql = source.varint(), source.text()
        parameters = {name: _unquoted(value) for name, value in self._named().items()}
        while self._block():
            pass  # external tables, which nobody sends
        if compression:
            raise Refused(48, "this server takes no compressed blocks")
        insert = _INSERT.match(sql)
        if insert:
            self._insert(insert[1], insert[2], settings)
            return
        self._answer(sql, settings, parameters)
        self._sock.sendall(varint(S_END))

    def _client_info(self) -> None:
        source = self._source
        source.skip(1)
        for _ in range(3):
            source.text()
        source.skip(9)
        for _ in range(3):
            source.text()
        for _ in range(3):
            source.varint()
        source.text()
        source.varint()
        source.varint()
        if source.number("<B"):
            source.skip(24)
            source.text()
            source.skip(1)
        for _ in range(3):
            source.varint()

    def _named(self) -> dict[str, str]:
        found: dict[str, str] = {}
        while name := self._source.text():
            self._source.varint()
            found[name] = self._source.text()
        return found

    def _block(self) -> list[memoryview]:
        """A block of the client's, as the engine's Native format writes it; empty at the end of the data."""
        source = self._source
        if source.at and source.end - source.at == 0:
            source.rewind()
        packet = source.varint()
        if packet != DATA:
            raise Refused(101, f"Unexpected packet {packet} from client")
        source.text()
        _block_info(source)
        columns, rows = source.varint(), source.varint()
        spans = []
        for _ in range(columns):
            begin = source.at
            source.text()
            kind = source.text()
            spans.append((begin, source.at))
            if source.number("<B"):
                raise Refused(48, "this server takes no sparse columns")
            begin = source.at
            pass_column(source, kind, rows)
            spans.append((begin, source.at))
        if not columns:
            return []
        head = varint(columns) + varint(rows)
        return [memoryview(head), *(source.view[begin:end] for begin, end in spans)]

    def _insert(self, table: str, columns: str, settings: Mapping[str, str]) -> None:
        described = self._engine.run(f"DESCRIBE TABLE {table}", settings, {})
        types = dict(_described(described))
        names = [name.strip().strip("`") for name in columns.split(",")]
        unknown = [name for name in names if name not in types]
        if unknown:
            raise Refused(16, f"No such column {unknown[0]} in table {table}")
        self._sock.sendall(_packet([(name, types[name]) for name in names]))
        os.lseek(self._file, 0, os.SEEK_SET)
        while parts := self._block():
            for part in parts:
                _write(self._file, part)
            del parts, part
            self._sock.sendall(_profile_events())
        # Cut, not emptied first: pages that are there already cost nothing.
        os.ftruncate(self._file, os.lseek(self._file, 0, os.SEEK_CUR))
        self._engine.insert(table, columns, self._file, settings)
        self._sock.sendall(_profile_events() + varint(S_END))

    def _answer(self, sql: str, settings: Mapping[str, str], parameters: Mapping[str, str]) -> None:
        result = Source(self._engine.run(sql, settings, parameters))
        reads = _READS.match(sql) is not None
        header = list(_columns(result)) if result.end else []
        result.at = 0
        if reads and (not header or any(kind.startswith("DateTime") for _, kind in header)):
            # The format names no time zones, and writes nothing at all for a result without rows.
            described = self._engine.run(f"DESCRIBE ({sql.strip().rstrip(';')}\n)", settings, parameters)
            header = list(_described(described))
        if header:
            self._sock.sendall(_packet(header))
        while result.at < result.end:
            for part in _packets(result, header):
                self._sock.sendall(part)


def _packet(header: list[tuple[str, str]]) -> bytes:
    columns = b"".join(text(name) + text(kind) + b"\0" for name, kind in header)
    return varint(S_DATA) + text("") + BLOCK_INFO + varint(len(header)) + varint(0) + columns


def _packets(result: Source, header: list[tuple[str, str]]) -> Iterator[bytes | memoryview]:
    columns, rows = result.varint(), result.varint()
    head = varint(S_DATA) + text("") + BLOCK_INFO + varint(columns) + varint(rows)
    for i in range(columns):
        name, kind = result.text(), result.text()
        begin = result.at
        pass_column(result, kind, rows)
        yield head + text(name) + text(header[i][1]) + b"\0"
        yield result.view[begin : result.at]
        head = b""


def _columns(result: Source) -> Iterator[tuple[str, str]]:
    columns, rows = result.varint(), result.varint()
    for _ in range(columns):
        name, kind = result.text(), result.text()
        yield name, kind
        pass_column(result, kind, rows)


def _described(result: bytes) -> Iterator[tuple[str, str]]:
    """Names and types, the first two columns of what DESCRIBE answers."""
    source = Source(result)
    while source.at < source.end:
        columns, rows = source.varint(), source.varint()
        found: list[list[str]] = []
        for _ in range(columns):
            source.text()
            kind = source.text()
            if len(found) < 2:
                found.append([source.text() for _ in range(rows)])
            else:
                pass_column(source, kind, rows)
        yield from zip(*found, strict=True)


def _profile_events() -> bytes:
    return varint(S_PROFILE_EVENTS) + text("") + BLOCK_INFO + varint(0) + varint(0)


def _block_info(source: Source) -> None:
    while field := source.varint():
        source.skip(1 if field == 1 else 4)


def _write(file: int, part: memoryview) -> None:
    while part:
        part = part[os.write(file, part) :]


def _unquoted(value: str) -> str:
    if value[:1] != "'":
        return value
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), value[1:-1], flags=re.DOTALL)


def _literal(value: str) -> str:
    return "'" + value.strip("'").replace("\\", "\\\\").replace("'", "\\'") + "'"


class Server:
    """Listens on a loopback port; `tls`: what a client's connection is wrapped with."""

    def __init__(
        self, folder: Path, *, port: int, database: str, user: str, password: str, memory_bytes: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._account = (user, password)
        self._tls = tls
        self._first = self._engine()
        self._first.run(f"CREATE DATABASE IF NOT EXISTS `{database}`", {}, {})
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port = self._listener.getsockname()[1]

    def serve(self) -> None:
        """Take connections for ever."""
        while True:
            sock, _ = self._listener.accept()
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _engine(self) -> Engine:
        return Engine(self._folder, self._memory_bytes)

    def _one(self, sock: socket.socket) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
        except OSError:  # it speaks no TLS
            sock.close()
            return
        conversation = Conversation(sock, self._engine(), *self._account)
        try:
            conversation.serve()
        except (Gone, OSError):
            pass
        finally:
            conversation.close()
