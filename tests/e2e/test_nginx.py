"""From nginx's access log to a customer's quality: nothing lost, nothing doubled, whatever happens on the way.

nginx serves and fails on purpose under wrk; a real agent tails its log and posts through a network to a real
`dipper up`. The log is counted independently (tests/e2e/site.py) and compared with what history answers.
"""

import contextlib
import json
import time

import pytest

from tests.e2e.deployment import Box, Server
from tests.e2e.processes import until
from tests.e2e.proxy import Network
from tests.e2e.site import Load, Site, abort_transfers, count_by_customer

pytestmark = pytest.mark.verify

CUSTOMERS = ("acme", "beta")
LOAD_S = 12
SETTLE_S = 120
HISTOGRAM_ERROR = 2 ** (1 / 16) - 1  # docs/wire.md: bucket ratio 2^(1/8), answered with the geometric middle
QUANTITIES = ("requests", "s2xx", "s3xx", "s4xx", "s5xx", "f_server", "f_timeout", "f_reset", "f_incomplete", "bytes")


class World:
    """Everything of one run."""

    def __init__(self, folder, stack):
        self.server = Server(folder)
        stack.callback(self.server.process.stop)
        self.server.start()
        for customer in CUSTOMERS:
            self.server.run("customers", "add", customer, "--name", customer.title())
        self.network = Network(self.server.port)
        stack.callback(self.network.close)
        self.site = Site(folder, CUSTOMERS)
        stack.callback(self.site.close)
        self.tasks = folder / "tasks.log"
        self.tasks.write_text("")
        self.box = Box(folder, self.server, self.network.port, [(self.site.log, "nginx"), (self.tasks, "tasks")])
        stack.callback(self.box.process.stop)
        self.box.process.start()

    def wait_until_shown(self):
        """Wait until the customers' minutes cover what is stored."""

        def shown():
            stored = self.server.ledger()["requests"]["stored"]
            return sum(row["requests"] for row in self.server.quality().values()) == stored

        until(shown, SETTLE_S, "the customers' minutes show what is stored")

    def settle(self):
        """Wait until history answers as many requests as nginx logged, in sum with what was refused."""
        logged = len(self.site.lines())

        def accounted():
            requests = self.server.ledger()["requests"]
            return requests["stored"] + requests["rejected"] >= logged

        until(accounted, SETTLE_S, f"{logged} logged requests are stored: {self.server.ledger()['requests']}")
        self.wait_until_shown()
        return logged


@pytest.fixture
def world(tmp_path):
    with contextlib.ExitStack() as stack:
        yield World(tmp_path, stack)


def nothing_happens(world, load):
    abort_transfers(world.site.port, world.site.url("acme", "/big.bin"), 3)


def log_is_rotated(world, load):
    for number in (1, 2):
        wait_for_lines(world, 300 * number)
        world.site.rotate(number)


def agent_is_killed(world, load):
    for at in (300, 700):
        wait_for_lines(world, at)
        world.box.process.kill()
        wait_for_lines(world, at + 150)
        world.box.process.start()


def agent_is_killed_while_the_log_rotates(world, load):
    wait_for_lines(world, 300)
    world.box.process.kill()
    wait_for_lines(world, 400)
    world.site.rotate()
    wait_for_lines(world, 600)
    world.box.process.start()


def server_is_killed(world, load):
    for at in (300, 700):
        wait_for_lines(world, at)
        world.server.process.kill()
        wait_for_lines(world, at + 150)
        world.server.start()


def network_is_cut(world, load):
    wait_for_lines(world, 300)
    world.network.cut = True
    until(lambda: world.network.refused >= 2, 30, "the agent met the cut network")
    wait_for_lines(world, 900)
    world.network.cut = False


def everything_arrives_twice(world, load):
    world.network.doubled = True


def wait_for_lines(world, number):
    until(lambda: len(world.site.lines()) >= number, 60, f"nginx logged {number} lines")


@pytest.mark.parametrize(
    "trouble",
    [
        nothing_happens,
        log_is_rotated,
        agent_is_killed,
        agent_is_killed_while_the_log_rotates,
        server_is_killed,
        network_is_cut,
        everything_arrives_twice,
    ],
)
def test_history_equals_the_log(world, trouble):
    load = Load(world.site, LOAD_S)
    trouble(world, load)
    load.wait()
    logged = world.settle()
    assert logged > 1000

    expected = count_by_customer(world.site.lines())
    stored = world.server.quality()
    for customer in CUSTOMERS:
        want = expected[customer]
        got = stored[customer]
        assert {q: got[q] for q in QUANTITIES} == {q: want.counts[q] for q in QUANTITIES}, customer
        p95_ms = want.latency_ms(0.95)
        assert got["latency_p95_ms"] == pytest.approx(p95_ms, rel=HISTOGRAM_ERROR + 1e-9), customer

    # Unsigned URLs belong to no customer the registry knows: refused row by row, counted, never dropped in silence.
    ledger = world.server.ledger()
    unsigned = expected["unknown"].counts["requests"]
    assert unsigned > 0
    assert ledger["requests"]["rejected"] == unsigned
    for quantity in ("requests", "slices"):
        books = ledger[quantity]
        assert books["lost"] == books["pending"] == books["double_counted"] == books["declared_dropped"] == 0
    assert ledger["requests"]["stored"] == logged - unsigned
    assert ledger["balanced"]
    if trouble is everything_arrives_twice:
        assert world.network.answers[200] >= 10
    if trouble is network_is_cut:
        assert world.network.refused >= 2


def test_tasks_and_malformed_lines_are_accounted(world):
    at = int(time.time() * 1000)
    tasks = [
        {"at": at + i, "customer": "acme", "app": "transcoder", "duration_ms": 2500, "outcome": o}
        for i, o in enumerate(["ok", "ok", "ok", "error", "timeout"])
    ]
    with world.tasks.open("a") as f:
        for task in tasks:
            f.write(json.dumps(task) + "\n")
        f.write("this is not a task\n")

    def accounted():
        requests = world.server.ledger()["requests"]
        return requests["stored"] == 5 and requests["declared_dropped"] == 1

    until(accounted, SETTLE_S, "five tasks stored, one malformed line declared")
    world.wait_until_shown()
    ledger = world.server.ledger()
    assert ledger["balanced"]
    assert ledger["requests"]["reported"] == 6
    got = world.server.quality()["acme"]
    assert (got["requests"], got["f_server"], got["f_timeout"]) == (5, 1, 1)
