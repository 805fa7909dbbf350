"""Scans that run beside the pages: started by a viewer, watched, stopped. A viewer has one at a time. One whose
viewer has left ends: others wait for its place."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from contracts.errors import ContractError
from contracts.protocols import StoreError
from history.query_cells import CellQuestion
from history.query_raw import Scan

MOST = 2  # at a time, of all viewers: they share the engine's readers with every page
UNSEEN_S = 120.0  # without a look a scan ends; browsers let a tab in the background look once a minute
_log = logging.getLogger(__name__)
_free = threading.BoundedSemaphore(MOST)


@dataclass
class Job:
    """A running scan. `newest`: how far it has come; `why`: what ended it early, in words for the viewer; `clock`: in
    seconds."""

    question: CellQuestion
    newest: Scan
    clock: Callable[[], float]
    done: bool = False
    why: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread = field(default_factory=threading.Thread)

    def __post_init__(self) -> None:
        self.look()

    def look(self) -> None:
        """Its viewer is still there."""
        self._seen = self.clock()

    @property
    def wanted(self) -> bool:
        """Whether it may go on: not stopped, and looked at of late."""
        return not self.stop.is_set() and self.clock() - self._seen <= UNSEEN_S

    @property
    def running(self) -> bool:
        """Whether it still reads."""
        return not self.done

    @property
    def whole(self) -> bool:
        """Whether everything was read."""
        return self.newest.reached <= self.question.start


def start(question: CellQuestion, pieces: Iterator[Scan], clock: Callable[[], float] = time.monotonic) -> Job | None:
    """Begin reading `pieces` in a thread; None when too many scans run already. Who shows it calls `look`."""
    if not _free.acquire(blocking=False):
        return None
    job = Job(question, Scan(question.end), clock)
    job.thread = threading.Thread(target=_run, args=(job, pieces), name="scan", daemon=True)
    job.thread.start()
    return job


def _run(job: Job, pieces: Iterator[Scan]) -> None:
    try:
        for piece in pieces:
            job.newest = piece
            if not job.wanted:
                break
    except (ContractError, StoreError) as error:
        job.why = str(error)
    except Exception:
        _log.exception("a scan of slices failed")
        job.why = "a fault of ours, see the log"
    finally:
        job.done = True
        _free.release()
