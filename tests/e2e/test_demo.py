"""`dipper demo`: past first, then live, on a folder of its own; and the checked run of the front page."""

import json

import pytest

from tests.e2e.deployment import dipper
from tests.e2e.processes import Process, free_port, python, run_to_end, until

pytestmark = pytest.mark.verify


def start_demo(folder, data):
    command = python(
        "-m", "dipper", "demo", "--data", data, "--port", free_port(), "--devices", "20", "--history", "15"
    )
    process = Process(command, folder / "demo.out").start()
    live = until(
        lambda: "live now" in process.tail() or not process.running(), 300, "the simulated past reaches the present"
    )
    assert live
    assert process.running(), process.tail()
    return process


def test_a_demo_goes_live_and_begins_anew_on_its_own_folder(tmp_path):
    data = tmp_path / "demo"
    for _ in range(2):
        (tmp_path / "demo.out").unlink(missing_ok=True)
        process = start_demo(tmp_path, data)
        try:
            settled = until(
                lambda: (books := dipper("ledger", data=data)) and books["devices"] == 20 and books,
                60,
                "all boxes seen",
            )
            assert settled["balanced"]
            assert settled["requests"]["lost"] == settled["requests"]["double_counted"] == 0
            quality = dipper("quality", "--all", data=data)["customers"]
            assert sum(row["requests"] for row in quality) > 0
        finally:
            assert process.stop() == 0
    assert "Traceback" not in process.tail(100_000)


def test_a_demo_never_touches_a_folder_that_is_not_its_own(tmp_path):
    (tmp_path / "precious.txt").write_text("keep")
    code, _, errors = run_to_end(python("-m", "dipper", "demo", "--data", tmp_path, "--port", "0"))
    assert code == 2
    assert "expected a new folder or one of an earlier demo" in errors
    assert (tmp_path / "precious.txt").read_text() == "keep"


def test_the_checked_run_of_an_hour(tmp_path):
    out = tmp_path / "out"
    command = ["demo", "--once", "--minutes", "60", "--devices", "300", "--seed", "7", "--out", out]
    code, _, errors = run_to_end(python("-m", "dipper", *command), deadline_s=1200)
    assert code == 0, errors
    books = json.loads((out / "ledger.json").read_text())
    truth = json.loads((out / "truth.json").read_text())
    assert books["balanced"] is True
    assert books["matches_truth"] is True
    for quantity in ("requests", "slices"):
        assert books[quantity]["lost"] == books[quantity]["pending"] == books[quantity]["double_counted"] == 0
    assert books["requests"]["stored"] > 1_000_000
    assert len(truth["faults"]) >= 1
