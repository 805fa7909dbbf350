"""What the measured processes share: arguments, the core they are pinned to, the clock, the file with their result."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.streams.steps import State, Value, partials_of, rows_of

_EXPAND: dict[str, Callable[[bytes], Iterable[Value]]] = {"rows": rows_of, "batches": partials_of}


@dataclass(frozen=True, slots=True)
class Job:
    """What a process is told. `topic`: of slices; `messages`: records in it; `mode`: see the process."""

    brokers: str
    topic: str
    prefix: str
    messages: int
    mode: str
    run: str
    folder: Path
    out: Path


class Clock:
    """Wall and CPU time, all threads, from the first `start` to the last `stop`."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0
        self._began: tuple[float, float] | None = None

    def start(self) -> None:
        """Everything is imported, set up and connected."""
        if self._began is None:
            self._began = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """A result is there."""
        assert self._began is not None
        self.wall_s, self.cpu_s = time.perf_counter() - self._began[0], time.process_time() - self._began[1]


def expander(job: Job, clock: Clock) -> Callable[[bytes], list[Value]]:
    """The function that makes values of a message, by the job's mode. The clock starts with the first message: joining
    a consumer group takes seconds that a longer topic would not notice."""
    expand = _EXPAND[job.mode]

    def timed(message: bytes) -> list[Value]:
        clock.start()
        return list(expand(message))

    return timed


def read_job() -> Job:
    """The process's arguments; pins it to its core before any thread starts."""
    parser = argparse.ArgumentParser()
    for name in ("brokers", "topic", "prefix", "mode", "run"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("folder", "out"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--messages", required=True, type=int)
    parser.add_argument("--core", required=True, type=int)
    arguments = vars(parser.parse_args())
    os.sched_setaffinity(0, {arguments.pop("core")})
    return Job(**arguments)


def write(job: Job, clock: Clock, windows: dict[str, State], **more: object) -> None:
    """Leave the result for the command."""
    result = {"wall_s": clock.wall_s, "cpu_s": clock.cpu_s, "windows": windows, **more}
    job.out.write_text(json.dumps(result))
