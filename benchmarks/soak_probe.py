"""`dipper` with a stopwatch: runs a command line and notes how long each query of history took, and threads' CPU time.

    python -m benchmarks.soak_probe OUT up --data DIR --port 0

The time of a query runs from the caller's request to the answer in its hands: waiting for a free reader included. The
sink's own questions are left out. At the end OUT gets the seconds by question, and CPU seconds by thread.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from history.chdb_store import ChdbStore

SAMPLE_S = 5.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Stopwatch:
    """Times queries and threads of this process."""

    def __init__(self) -> None:
        self.began = time.time()
        self.queries: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.threads: dict[str, float] = {}
        threading.Thread(target=self._watch_threads, name="stopwatch", daemon=True).start()

    def timed(self, query: Callable[..., Any]) -> Callable[..., Any]:
        """The same method, with its times noted."""

        def query_arrow(store: ChdbStore, sql: str, parameters: Any = None) -> Any:
            began = time.perf_counter()
            result = query(store, sql, parameters)
            if threading.current_thread().name != "sink":
                question = " ".join(sql.split())[:90]
                self.queries[question].append((time.time(), time.perf_counter() - began))
            return result

        return query_arrow

    def _watch_threads(self) -> None:
        """Threads come and go: the last seen CPU time of each counts."""
        while True:
            time.sleep(SAMPLE_S)
            names = {t.native_id: t.name for t in threading.enumerate()}
            for task in Path("/proc/self/task").iterdir():
                try:
                    text = (task / "stat").read_text()
                except OSError:
                    continue
                comm, _, rest = text[text.index("(") + 1 :].rpartition(")")
                name = names.get(int(task.name), f"native {comm}")
                ticks = rest.split()[11:13]
                self.threads[f"{task.name} {name}"] = sum(map(int, ticks)) / TICKS_PER_S

    def threads_cpu_s(self) -> dict[str, float]:
        """CPU seconds by thread name without its number."""
        total: Counter[str] = Counter()
        for name, seconds in list(self.threads.items()):
            total[name.split(" ", 1)[1].rstrip("0123456789_-")] += seconds  # type: ignore[assignment]
        return {name: round(seconds, 1) for name, seconds in total.most_common(25)}


def main() -> int:
    """Run the command line after OUT."""
    from dipper.cli import main as dipper

    out = Path(sys.argv[1])
    watch = Stopwatch()
    ChdbStore.query_arrow = watch.timed(ChdbStore.query_arrow)  # type: ignore[method-assign]
    try:
        return int(dipper(sys.argv[2:]) or 0)
    finally:
        out.write_text(json.dumps({"queries": watch.queries, "threads_cpu_s": watch.threads_cpu_s()}))


if __name__ == "__main__":
    raise SystemExit(main())
