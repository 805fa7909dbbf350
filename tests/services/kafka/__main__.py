"""Run a broker until Ctrl-C or SIGTERM: python -m tests.services.kafka --folder F [--nodes N] [--port P]
With --resolve it only has the jars ready and says where."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from tests.services.kafka import Broker, BrokerError, prepare


def main() -> int:
    """Exit code 0 when asked to end, 1 with a sentence when there is no broker."""
    parser = argparse.ArgumentParser(prog="python -m tests.services.kafka", description="Kafka on loopback ports")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--resolve", action="store_true", help="fetch the jars if they are missing, start nothing")
    what.add_argument("--folder", type=Path, help="data, configuration and logs; kept")
    parser.add_argument("--nodes", type=int, default=1, help="combined brokers and controllers (default: 1)")
    parser.add_argument("--port", type=int, help="port of the first node (default: free ones)")
    chosen = parser.parse_args()
    try:
        if chosen.resolve:
            print(prepare())
            return 0
        return serve(chosen.folder, chosen.nodes, chosen.port)
    except BrokerError as error:
        print(f"kafka: {error}", file=sys.stderr)
        return 1


def serve(folder: Path, nodes: int, port: int | None) -> int:
    """Until a signal ends it."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with Broker(folder, nodes, port=port) as broker:
        print(f"DIPPER_KAFKA={','.join(broker.settings.brokers)}", flush=True)
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
