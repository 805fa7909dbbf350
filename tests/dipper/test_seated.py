"""Work of which there is one: open while the seat is held, let go when it is lost or a step fails."""

import pytest

from contracts.protocols import LogUnavailable
from dipper.seated import Seated

NOW = 1_767_607_200_000


class Chair:
    """A seat whose holder the test decides."""

    def __init__(self):
        self.mine = False
        self.offered = []

    def held(self):
        return self.mine

    def offer(self, positions):
        self.offered.append(positions)


class Job:
    """Work that counts."""

    def __init__(self):
        self.steps, self.closed = [], False

    def status(self, now):
        return {"now": now, "steps": len(self.steps)}

    def positions(self):
        return {("signals", 0): len(self.steps)}

    def close(self):
        self.closed = True


class Deployment:
    def __init__(self, **options):
        self.opened, self.failing = [], None
        self.seated = Seated("work", self.open, self.run, lambda: NOW, **options)
        self.seated.seat = self.chair = Chair()
        self.seated.paused.set()  # a test does not wait

    def open(self):
        self.opened.append(Job())
        return self.opened[-1]

    def run(self, job, now):
        if self.failing:
            raise self.failing
        job.steps.append(now)


def test_without_the_seat_nothing_is_opened():
    here = Deployment()
    here.seated.step()
    assert here.opened == []
    assert here.seated.status() is None


def test_the_holder_opens_the_work_asks_again_and_steps():
    here = Deployment()
    here.chair.mine = True
    here.seated.step()
    (job,) = here.opened
    assert job.steps == []  # opening may have taken longer than the seat was held
    here.seated.step()
    assert job.steps == [NOW]
    assert here.chair.offered == [{("signals", 0): 1}]
    assert here.seated.status() == {"now": NOW, "steps": 1}


def test_work_is_opened_anew_when_its_settings_change():
    numbers = {"incident": {"end_after_ms": 300_000}}
    here = Deployment(settings=lambda: dict(numbers))
    here.chair.mine = True
    for _ in range(3):
        here.seated.step()
    assert len(here.opened) == 1
    numbers["incident"] = {"end_after_ms": 120_000}
    here.seated.step()
    old, new = here.opened
    assert (old.closed, new.closed) == (True, False)
    here.seated.step()
    assert new.steps == [NOW]


@pytest.mark.parametrize("how", ["asked", "noticed"])
def test_who_loses_the_seat_lets_go(how):
    here = Deployment()
    here.chair.mine = True
    here.seated.step()
    here.chair.mine = False
    if how == "asked":
        here.seated.release()
    else:
        here.seated.step()
    assert here.opened[0].closed
    assert here.seated.status() is None
    here.chair.mine = True
    here.seated.step()
    assert len(here.opened) == 2


@pytest.mark.parametrize(("mends", "opened"), [(False, 2), (True, 1)])
def test_work_whose_step_failed_is_opened_anew_unless_it_mends_itself(mends, opened):
    here = Deployment(mends=mends)
    here.chair.mine = True
    here.seated.step()
    here.failing = LogUnavailable("away")
    with pytest.raises(LogUnavailable):
        here.seated.step()
    assert here.opened[0].closed is not mends
    here.failing = None
    here.seated.step()
    here.seated.step()
    assert len(here.opened) == opened
    assert here.opened[-1].steps
