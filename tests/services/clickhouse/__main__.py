"""`python -m tests.services.clickhouse --folder F [--port P]`: a server until it is ended. User `dipper`; the password
is CLICKHOUSE_PASSWORD of the environment, or a new one. The first line it prints is its connection string."""

import argparse
import os
import secrets
import signal
import ssl
import sys
import threading
from pathlib import Path

from tests.services.clickhouse.server import Server


def _end_with(parent: int) -> None:
    """End when the process that holds the other end of the pipe does."""
    os.read(parent, 1)
    os._exit(0)


def main() -> None:
    """Parse, listen, serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.services.clickhouse", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the engine's data; a folder of its own")
    parser.add_argument("--port", type=int, default=0, help="of 127.0.0.1; 0: a free one")
    parser.add_argument("--database", default="dipper")
    parser.add_argument("--user", default="dipper")
    parser.add_argument("--memory-bytes", type=int, default=800 * 1024 * 1024, help="what the engine may use")
    parser.add_argument("--cert", type=Path, help="with --key: speak TLS")
    parser.add_argument("--key", type=Path)
    parser.add_argument("--while-stdin", action="store_true", help="end when standard input does")
    arguments = parser.parse_args()
    password = os.environ.get("CLICKHOUSE_PASSWORD") or secrets.token_hex(12)
    tls = None
    if arguments.cert is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(arguments.cert, arguments.key)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    server = Server(
        arguments.folder.absolute(),
        port=arguments.port,
        database=arguments.database,
        user=arguments.user,
        password=password,
        memory_bytes=arguments.memory_bytes,
        tls=tls,
    )
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    if arguments.while_stdin:
        threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    secure = "?secure=1" if tls else ""
    print(f"clickhouse://{arguments.user}:{password}@127.0.0.1:{server.port}/{arguments.database}{secure}", flush=True)
    server.serve()


if __name__ == "__main__":
    main()
