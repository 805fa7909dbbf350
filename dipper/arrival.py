"""When a request arrived, as opposed to when a busy process came to read it.

The kernel takes connections and their bytes in while a process starts, or is held up by thousands of boxes that all
come back at once. A report that waited five seconds for its reader must not be told from its clock to be five
seconds behind, so the wait is asked of the kernel (TCP_INFO, where there is such a thing; 0 elsewhere).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dipper.clock import wall_clock
from ingest.http import ARRIVED_AT

_TCP_INFO = getattr(socket, "TCP_INFO", None)
# struct tcp_info of linux/tcp.h: 8 bytes of flags, then 32-bit fields; tcpi_last_data_recv is the twelfth, in ms.
_LAST_DATA_RECEIVED = struct.Struct("=52xI")


def waited_ms(transport: asyncio.BaseTransport) -> int:
    """How long the last bytes of a connection have been there, ms; 0 where the system does not tell."""
    sock = transport.get_extra_info("socket")
    if _TCP_INFO is None or sock is None:
        return 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LAST_DATA_RECEIVED.size)
    except OSError:  # not TCP, or closed meanwhile
        return 0
    return int(_LAST_DATA_RECEIVED.unpack(info)[0]) if len(info) == _LAST_DATA_RECEIVED.size else 0


class ArrivalProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, and in `scope["state"]` when the request arrived, ms UTC."""

    def on_message_begin(self) -> None:
        """A request begins in the bytes just read."""
        super().on_message_begin()
        state: dict[str, Any] = self.scope["state"]
        state[ARRIVED_AT] = wall_clock() - waited_ms(self.transport)
