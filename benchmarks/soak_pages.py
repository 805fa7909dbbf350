"""A browser's page as the server sees it: a websocket that asks for re-runs and reads until each has finished."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

RERUN_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Viewer:
    """A page kept open and re-run. `page`: its path, empty for the overview. `content`: an element that only a page
    with data has. `took_s`: of each re-run that drew it; `empty`: re-runs that had nothing to draw yet."""

    name: str
    page: str
    query: str
    content: str
    took_s: list[float] = field(default_factory=list)
    empty: int = 0
    failed: int = 0

    async def look(self, port: int, every_s: float, stop: asyncio.Event) -> None:
        """Re-run every `every_s` until `stop`, on a new connection after one broke."""
        while not stop.is_set():
            try:
                address = f"ws://127.0.0.1:{port}/_stcore/stream"
                async with websockets.connect(address, subprotocols=["streamlit"], max_size=None) as socket:  # type: ignore[list-item]
                    while not stop.is_set():
                        await self._rerun(socket)
                        await _pause(stop, every_s)
            except (OSError, TimeoutError, websockets.WebSocketException):
                self.failed += 1
                await _pause(stop, every_s)

    async def _rerun(self, socket: websockets.ClientConnection) -> None:
        ask = BackMsg()
        ask.rerun_script.query_string = self.query
        ask.rerun_script.page_name = self.page
        began = time.perf_counter()
        drawn = False
        async with asyncio.timeout(RERUN_TIMEOUT_S):
            await socket.send(ask.SerializeToString())
            while True:
                message = ForwardMsg()
                message.ParseFromString(await socket.recv(decode=False))
                kind = message.WhichOneof("type")
                drawn = drawn or (kind == "delta" and self.content in _element(message))
                if kind == "script_finished":
                    break
        if not drawn:
            self.empty += 1
            return
        self.took_s.append(time.perf_counter() - began)


def _element(message: ForwardMsg) -> str:
    """Kind of a new element, with the markup it carries."""
    element = message.delta.new_element
    kind = element.WhichOneof("type") or ""
    return f"{kind} {element.html.body}" if kind == "html" else kind


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
