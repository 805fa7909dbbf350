"""One connection to a ClickHouse server: the driver's, with blocks that are Arrow columns."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from clickhouse_driver import errors
from clickhouse_driver.block import BlockInfo, RowOrientedBlock
from clickhouse_driver.connection import Connection
from clickhouse_driver.protocol import ClientPacketTypes, ServerPacketTypes
from clickhouse_driver.varint import write_varint
from clickhouse_driver.writer import write_binary_str

from contracts.protocols import StoreError
from history.clickhouse_url import Servers
from history.errors import MAX_MESSAGE_CHARS, ReplicaAway, from_code
from history.native_block import Part
from history.native_read import Block, BlockReader

_SMALL_BYTES = 1 << 16
_KEEPALIVE = (60, 15, 4)
_ANSWER_SLACK_S = 5.0
_CLIENT_SETTINGS = {
    "server_side_params": True,
    "use_numpy": False,
    "strings_as_bytes": False,
    "quota_key": "",
    "opentelemetry_traceparent": None,
    "opentelemetry_tracestate": "",
    "input_format_null_as_default": False,
}


class _Bound:
    """A parameter's text as the protocol carries it: quoted once more. No str, which the driver would escape again."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text.replace("\\", "\\\\").replace("'", "\\'")


class NativeConnection(Connection):  # type: ignore[misc]
    """An open connection to one host. Not shared between threads; after any ReplicaAway it is of no use.

    Raises ReplicaAway, or what `history.errors` has for the server's refusal."""

    def __init__(self, servers: Servers, host: tuple[str, int]) -> None:
        super().__init__(
            host[0],
            host[1],
            database=servers.database,
            user=servers.user,
            password=servers.password,
            client_name="dipper",
            connect_timeout=servers.connect_timeout_s,
            send_receive_timeout=servers.connect_timeout_s,
            sync_request_timeout=servers.connect_timeout_s,
            secure=servers.secure,
            ca_certs=servers.ca,
            tcp_keepalive=_KEEPALIVE,
        )
        if servers.ca is None:
            self.ssl_options.pop("ca_certs", None)  # the system's, not those of a package
        self.at = host
        self.place = f"{host[0]}:{host[1]}"
        self._servers = servers
        self.context.client_settings = _CLIENT_SETTINGS
        self.context.settings = {}
        with self._talking(sent=False):
            self._init_connection(*host)

    def get_block_in_stream(self) -> BlockReader:
        """Results as Arrow."""
        return BlockReader(self.fin, self.context)

    def alive(self) -> bool:
        """Whether the server answers a ping."""
        try:
            with self._talking(sent=False):
                self.socket.settimeout(self._servers.connect_timeout_s)
                write_varint(ClientPacketTypes.PING, self.fout)
                self.fout.flush()
                self._until(ServerPacketTypes.PONG)
        except ReplicaAway:
            return False
        return True

    def query(
        self, sql: str, parameters: Mapping[str, str], settings: Mapping[str, str], timeout_s: float
    ) -> list[Block]:
        """Run a query or statement; its blocks, the header first."""
        self._begin(sql, parameters, settings, timeout_s)
        with self._talking(sent=True):
            return self._until(ServerPacketTypes.END_OF_STREAM)

    def begin_insert(self, sql: str, settings: Mapping[str, str], timeout_s: float) -> list[tuple[str, str]]:
        """Announce rows; (name, type) of the columns as the server wants them."""
        self._begin(sql, {}, settings, timeout_s)
        with self._talking(sent=False):
            return self._until(ServerPacketTypes.DATA)[0].kinds

    def finish_insert(self, parts: Sequence[Part]) -> None:
        """Send one block and wait until it is stored. RowsRefused when that cannot be because of its values."""
        with self._talking(sent=False):
            write_varint(ClientPacketTypes.DATA, self.fout)
            write_binary_str("", self.fout)
            BlockInfo().write(self.fout)
            for part in parts:
                if len(part) < _SMALL_BYTES:
                    self.fout.write(bytes(part))
                else:
                    self.fout.flush()
                    self.socket.sendall(part)
            self.fout.flush()
        with self._talking(sent=True, rows=True):
            self.send_data(RowOrientedBlock())
            self._until(ServerPacketTypes.END_OF_STREAM)

    def close(self) -> None:
        """Close without a word."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.close()
        self.reset_state()

    def _begin(self, sql: str, parameters: Mapping[str, str], settings: Mapping[str, str], timeout_s: float) -> None:
        self.context.settings = {**settings, "max_execution_time": f"{timeout_s:g}"}
        with self._talking(sent=False):
            self.socket.settimeout(timeout_s + _ANSWER_SLACK_S)
            self.send_query(sql, params={name: _Bound(text) for name, text in parameters.items()})
            self.send_external_tables(None)

    def _until(self, last: int) -> list[Block]:
        blocks: list[Block] = []
        while True:
            packet = self.receive_packet()
            if packet.type == ServerPacketTypes.EXCEPTION:
                raise packet.exception
            if packet.type == ServerPacketTypes.DATA:
                blocks.append(packet.block)
            if packet.type == last:
                return blocks

    @contextlib.contextmanager
    def _talking(self, *, sent: bool, rows: bool = False) -> Any:
        """Errors of the driver as the store's; a connection that is out of step is closed. `rows`: as of from_code."""
        try:
            yield
        except StoreError:
            self.close()
            raise
        except errors.ServerException as error:
            if self.server_info is None:
                self.close()
            raise from_code(error.code, _sentence(error), rows=rows) from None
        except ssl.SSLCertVerificationError as error:
            self.close()
            why = f"its certificate is not trusted ({error.verify_message})"
            raise ReplicaAway(f"history: {self.place}: {why}", sent=False) from None
        except TimeoutError:
            limit = self._servers.connect_timeout_s if self.server_info is None else None
            self.close()
            within = f" within {limit:g} s" if limit is not None else " in time"
            raise ReplicaAway(f"history: {self.place}: expected an answer{within}, got none", sent=sent) from None
        except (OSError, EOFError, errors.Error, UnicodeDecodeError) as error:
            self.close()
            words = str(error.strerror if isinstance(error, OSError) and error.strerror else error)
            why = words[:MAX_MESSAGE_CHARS] or "it closed the connection"
            raise ReplicaAway(f"history: {self.place}: cannot be reached ({why})", sent=sent) from None
        except BaseException:
            self.close()
            raise


def _sentence(error: errors.ServerException) -> str:
    return str(error.message).removeprefix("DB::Exception: ")
