"""Commands to a running Dipper over a socket file: one JSON line in, one JSON line out, one request a connection.

Who may open the socket (mode 0600, in a 0700 directory) may read the data anyway; see decision 0006.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from contracts.protocols import LogError, StoreError
from dipper.errors import DipperError

logger = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 1 << 20
MAX_ANSWER_BYTES = 1 << 28
ANSWER_TIMEOUT_S = 600.0
EXPECTED = (DipperError, LogError, StoreError)


class ControlError(DipperError):
    """The running process refused the command, or did not answer as expected; the message is for people."""


class NotRunning(ControlError):
    """Nothing listens on the socket."""


Handler = Callable[[str, Mapping[str, Any]], Any]


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """A name of the socket that fits the kernel's 107 bytes however deep the directory lies."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


async def serve(path: Path, handle: Handler) -> asyncio.Server:
    """Answer `{"command": name, "arguments": {..}}` with `{"result": ..}` or `{"error": sentence}`.

    `handle(command, arguments)` runs in a worker thread; a ValueError or KeyError of it is the caller's mistake.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), 10.0)
            document = await asyncio.to_thread(_respond, handle, line)
            writer.write(json.dumps(document, default=str).encode() + b"\n")
            await writer.drain()
        except (TimeoutError, ValueError, ConnectionError) as error:
            logger.warning("control: connection dropped: %s", error)
        finally:
            writer.close()

    path.unlink(missing_ok=True)
    with _address(path) as address:
        server = await asyncio.start_unix_server(answer, address, limit=MAX_REQUEST_BYTES)
    path.chmod(0o600)
    return server


def _respond(handle: Handler, line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
        command, arguments = str(request["command"]), dict(request.get("arguments", {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {"error": f"request: expected a JSON object with command and arguments, got {error}"}
    try:
        return {"result": handle(command, arguments)}
    except KeyError as error:
        return {"error": f"argument missing: {error}"}
    except (ValueError, *EXPECTED) as error:
        return {"error": str(error)}
    except Exception as error:  # the asker gets a sentence, the log gets the trace
        logger.exception("control: command failed")
        return {"error": f"{type(error).__name__}: {error}"}


def ask(path: Path, command: str, arguments: Mapping[str, Any]) -> Any:
    """Send a command to the process that listens on `path`. Raises NotRunning or ControlError."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            with _address(path) as address:
                connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(f"{path}: no running Dipper answers here") from None
        connection.settimeout(ANSWER_TIMEOUT_S)
        connection.sendall(json.dumps({"command": command, "arguments": dict(arguments)}).encode() + b"\n")
        chunks: list[bytes] = []
        size = 0
        while chunk := connection.recv(1 << 16):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise ControlError(f"{command}: answer larger than {MAX_ANSWER_BYTES} bytes")
    try:
        document = json.loads(b"".join(chunks))
    except ValueError:
        raise ControlError(f"{command}: the running process ended before it answered") from None
    if "error" in document:
        raise ControlError(document["error"])
    return document["result"]
