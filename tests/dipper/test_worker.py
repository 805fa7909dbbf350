import random
import threading

from contracts.protocols import StoreUnavailable
from dipper.worker import LONGEST_BACKOFF_S, Worker

DEADLINE_S = 10.0


class NoWait(random.Random):
    """Draws the shortest back-off, and remembers the ceilings it was asked for."""

    def __init__(self):
        super().__init__(1)
        self.ceilings = []

    def uniform(self, a, b):
        self.ceilings.append(b)
        return 0.0


def run_until(outcomes, chance):
    """A worker whose step ends as `outcomes` say, in order, and then reports that it has seen them all."""
    script = iter(outcomes)
    done = threading.Event()

    def step():
        outcome = next(script, None)
        if outcome is None:
            done.set()
            return
        if isinstance(outcome, Exception):
            raise outcome

    worker = Worker("sink", step, lambda: 1234, chance)
    worker.start()
    assert done.wait(DEADLINE_S)
    assert worker.stop(DEADLINE_S)
    return worker.status()


def test_a_failing_step_is_tried_again_until_it_works():
    status = run_until([StoreUnavailable("away"), ValueError("odd"), "ok"], NoWait())
    assert status.failures == 0
    assert status.last_success_ms == 1234
    assert status.last_error == "ValueError: odd"


def test_backoff_doubles_and_stops_doubling_at_its_ceiling():
    chance = NoWait()
    run_until([StoreUnavailable("away")] * 10, chance)
    assert chance.ceilings[:4] == [0.2, 0.4, 0.8, 1.6]
    assert chance.ceilings[-1] == LONGEST_BACKOFF_S


def test_a_worker_that_never_succeeded_says_so():
    worker = Worker("streams", lambda: None, lambda: 0, random.Random(1))
    assert worker.status().last_success_ms is None
    assert not worker.status().alive
