"""Scans that run beside the pages: started by a viewer, watched, stopped, forgotten. A viewer has one at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from contracts.errors import ContractError
from contracts.protocols import StoreError
from history.query_cells import CellQuestion
from history.query_raw import Scan

MOST = 2  # at a time, of all viewers: they share the engine's readers with every page
_log = logging.getLogger(__name__)
_free = threading.BoundedSemaphore(MOST)


@dataclass
class Job:
    """A running scan. `newest`: how far it has come; `why`: what ended it early, in words for the viewer."""

    question: CellQuestion
    newest: Scan
    done: bool = False
    why: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread = field(default_factory=threading.Thread)

    @property
    def running(self) -> bool:
        """Whether it still reads."""
        return not self.done

    @property
    def whole(self) -> bool:
        """Whether everything was read."""
        return self.newest.reached <= self.question.start


def start(question: CellQuestion, pieces: Iterator[Scan]) -> Job | None:
    """Begin reading `pieces` in a thread; None when too many scans run already."""
    if not _free.acquire(blocking=False):
        return None
    job = Job(question, Scan(question.end))
    job.thread = threading.Thread(target=_run, args=(job, pieces), name="scan", daemon=True)
    job.thread.start()
    return job


def _run(job: Job, pieces: Iterator[Scan]) -> None:
    try:
        for piece in pieces:
            job.newest = piece
            if job.stop.is_set():
                break
    except (ContractError, StoreError) as error:
        job.why = str(error)
    except Exception:
        _log.exception("a scan of slices failed")
        job.why = "a fault of ours, see the log"
    finally:
        job.done = True
        _free.release()
