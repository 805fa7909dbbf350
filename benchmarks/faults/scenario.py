"""What is done to the cluster, and the proof after each: fresh again, books balanced and equal to the simulator's."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.faults.client import LoadClient
from benchmarks.faults.compare import EmbeddedRun
from benchmarks.faults.watch import Watch, wait_for_store
from contracts.protocols import Store, StoreError
from history.ledger import Ledger, ledger
from simulator.sender import wall_ms
from tests.e2e.cluster import Cluster, ClusterError, Member

RESTART_AFTER_S = 1.0  # what a supervisor takes to notice
RECOVER_DEADLINE_S = 240.0
SETTLE_DEADLINE_S = 300.0
LOOK_EVERY_S = 3.0
FEW_BEHIND = 0.01  # of all boxes: some are in their back-off at any time
HOLD_S = 15.0  # how long three workers share the load
WITHHELD_REPORTS = 50
WITHHOLD_DEADLINE_S = 2.5  # a report held up longer would be sent again as one of a box whose clock is behind
NAMES = (
    "kill worker",
    "kill sink",
    "kill gateway between acknowledgement and reply",
    "kill broker",
    "kill engine",
    "workers 1 -> 3 -> 1",
    "everything stopped",
)
BOOKS = ("lost", "pending", "double_counted")

Say = Callable[[str], None]


@dataclass
class Result:
    """One fault and what was found after it. `recovery_s`: until everybody is there and new data is fresh in history
    and streams; `settled_s`: until the books are complete, boxes' back-off included; None: not within the deadline.
    `differences`: to the simulator's count, in words; `detail`: what the fault itself tells."""

    fault: str
    number: int
    recovery_s: float | None = None
    settled_s: float | None = None
    lost: int | None = None
    pending: int | None = None
    double_counted: int | None = None
    balanced: bool = False
    differences: list[str] = field(default_factory=list)
    detail: dict[str, float] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether everything that is promised held."""
        zeros = self.lost == self.pending == self.double_counted == 0
        return self.recovery_s is not None and self.settled_s is not None and zeros and self.balanced


class Scenario:
    """A cluster under load and what can happen to it. A fault returns the moment (ms UTC) recovery counts from."""

    def __init__(
        self, cluster: Cluster, load: LoadClient, watch: Watch, embedded: EmbeddedRun, *, stop_s: float, say: Say
    ) -> None:
        self.cluster, self.load, self.watch, self.embedded = cluster, load, watch, embedded
        self._stop_s, self._say = stop_s, say
        self._turn = 0
        actions: tuple[Callable[[Result], int], ...] = (
            lambda _: self._kill(self._one_of("worker")),
            lambda _: self._kill(self._one_of("sink")),
            self._kill_gateway,
            lambda _: self._kill_service(self.cluster.broker),
            lambda _: self._kill_service(self.cluster.engine),
            self._scale,
            self._stop_everything,
        )
        self.faults = dict(zip(NAMES, actions, strict=True))

    def order(self, rounds: int, seed: int, only: Sequence[str] = ()) -> list[str]:
        """Every fault so many times, or those whose name has one of the words of `only`; shuffled."""
        chosen = [name for name in NAMES if not only or any(words in name for words in only)]
        names = [name for name in chosen for _ in range(rounds)]
        random.Random(seed).shuffle(names)
        return names

    def run(self, name: str, number: int) -> Result:
        """Inject, wait for recovery, compare the books."""
        result = Result(name, number)
        self._say(f"{name} ({number})")
        try:
            since = self.faults[name](result)
            earlier = result.recovery_s or 0.0
            recovery_s = self.watch.wait_good(since, RECOVER_DEADLINE_S)
            result.recovery_s = None if recovery_s is None else max(earlier, recovery_s)
            if recovery_s is None:
                result.differences.append(f"not recovered within {RECOVER_DEADLINE_S:.0f} s: {self.watch.last()}")
            self.settle(result, since)
        except ClusterError as error:
            result.differences.append(str(error))
            self._heal()
        return result

    def settle(self, result: Result, since: int) -> None:
        """Wait until the books are complete and equal to what boxes counted, while load goes on."""
        self.load.mark()
        end = time.monotonic() + SETTLE_DEADLINE_S
        self._wait_for_boxes(end)
        differences = ["the ledger could not be read"]
        while True:
            began = time.monotonic()
            books = self._ledger()
            if books is not None:
                for name in BOOKS:
                    setattr(result, name, getattr(books.requests, name) + getattr(books.slices, name))
                result.balanced = books.balanced
                differences = self.load.differences(books)
                if result.balanced and not differences:
                    result.settled_s = (wall_ms() - since) / 1_000
                    return
                self._say(f"  {_incomplete(result, differences)}")
            if time.monotonic() > end:
                result.differences += differences
                return
            time.sleep(max(LOOK_EVERY_S, time.monotonic() - began))

    def _wait_for_boxes(self, end: float) -> None:
        """Until nearly all boxes have sent what they held. The ledger is of all history: to ask for it over and over
        takes the cores from those who are to complete it."""
        while time.monotonic() < end:
            status = self.load.ask(do="status")
            if status["boxes_behind"] <= FEW_BEHIND * status["boxes"]:
                return
            time.sleep(LOOK_EVERY_S)

    def _ledger(self) -> Ledger | None:
        try:
            store: Store = wait_for_store(self.cluster.engine.url)
            try:
                return ledger(store, wall_ms())
            finally:
                store.close()
        except StoreError as error:
            self._say(f"  the ledger could not be read: {error}")
            return None

    # --- what happens ---

    def _one_of(self, kind: str) -> Member:
        """A running member of a kind, another one each time."""
        running = [member for member in self.cluster.of(kind) if member.running]
        self._turn += 1
        return running[self._turn % len(running)]

    def _kill(self, member: Member) -> int:
        member.kill()
        since = wall_ms()
        time.sleep(RESTART_AFTER_S)
        member.start()
        return since

    def _kill_service(self, service: Any) -> int:
        service.kill()
        since = wall_ms()
        time.sleep(RESTART_AFTER_S)
        try:
            service.start()
        except Exception as error:
            raise ClusterError(str(error)) from None
        return since

    def _kill_gateway(self, result: Result) -> int:
        """Its acknowledgements no longer reach the boxes, though the log has their reports; then it is killed, and the
        boxes send them again to the other gateway."""
        victim = self._one_of("gateway")
        before = self.load.ask(do="status")["withheld"]
        self.load.ask(do="withhold", gateway=self.cluster.of("gateway").index(victim))
        end = time.monotonic() + WITHHOLD_DEADLINE_S
        withheld = 0
        while withheld < WITHHELD_REPORTS and time.monotonic() < end:
            time.sleep(0.05)
            withheld = self.load.ask(do="status")["withheld"] - before
        victim.kill()
        since = wall_ms()
        withheld = self.load.ask(do="deliver")["withheld"] - before
        result.detail["withheld_reports"] = withheld
        if withheld == 0:
            result.differences.append("no acknowledgement was withheld: the moment was missed")
        time.sleep(RESTART_AFTER_S)
        victim.start()
        return since

    def _scale(self, result: Result) -> int:
        """Two more workers join, work for a while, and leave in order. Recovery is the slower of both ways; books are
        complete so long after they have left."""
        joined_at = wall_ms()
        workers = self.cluster.of("worker")
        while len(workers) < 3:
            self.cluster.add("worker")
            workers = self.cluster.of("worker")
        for member in workers[1:]:
            member.launch()
        for member in workers[1:]:
            member.wait_ready()
        up_s = self.watch.wait_good(joined_at, RECOVER_DEADLINE_S)
        if up_s is None:
            raise ClusterError(f"three workers did not recover within {RECOVER_DEADLINE_S:.0f} s: {self.watch.last()}")
        time.sleep(HOLD_S)
        left_at = wall_ms()
        for member in workers[1:]:
            member.terminate()
        for member in workers[1:]:
            member.stop()
        down_s = self.watch.wait_good(left_at, RECOVER_DEADLINE_S)
        result.detail |= {"up_s": round(up_s, 1), "down_s": -1.0 if down_s is None else round(down_s, 1)}
        result.recovery_s = up_s
        return left_at

    def _stop_everything(self, result: Result) -> int:
        result.detail["stopped_s"] = self._stop_s
        members = self.cluster.wanted()
        self.cluster.stop_members()
        self.cluster.engine.stop()
        self.cluster.broker.stop()
        self.embedded.allow(self.load.ask(do="status")["intervals"])  # the machine has nothing else to do
        time.sleep(self._stop_s)
        self.embedded.pause()
        since = wall_ms()
        self.cluster.broker.start()
        self.cluster.engine.start()
        self.cluster.start_members(members)
        return since

    def _heal(self) -> None:
        """Start whatever should run and does not, so that the next fault begins from a whole cluster."""
        self.cluster.broker.start()
        self.cluster.engine.start()
        for member in self.cluster.wanted():
            if not member.running:
                member.start()


def _incomplete(result: Result, differences: Sequence[str]) -> str:
    """What the books still lack, in a line."""
    terms = [f"{name} {getattr(result, name)}" for name in BOOKS if getattr(result, name)]
    terms += [] if result.balanced else ["not balanced"]
    return ", ".join([*terms, *differences[:1], *([f"{len(differences)} differences"] if len(differences) > 1 else [])])
