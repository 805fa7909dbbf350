"""`dipper fleet` against a running Dipper: what it wrote as the truth is what the books say."""

import json

import pytest

from contracts.times import DAY_MS, rfc3339
from dipper.cli import build_parser
from dipper.clock import wall_clock
from dipper.fleet_cli import fleet_of
from simulator.errors import SimulatorError
from simulator.truth import compare_ledger
from tests.e2e.deployment import Server
from tests.e2e.processes import Process, free_port, python, run_to_end, until


def fleet_command(*arguments):
    return python(
        "-m", "dipper", "fleet", "--devices", 40, "--customers", 3, "--seed", 5, "--fault-rate", 0, *arguments
    )


def test_the_truth_of_the_fleet_is_what_the_books_say(tmp_path):
    server = Server(tmp_path).start()
    truth_at = tmp_path / "truth.json"
    minute = 60_000
    start = rfc3339(wall_clock() // minute * minute - 3 * minute)
    try:
        code, _, errors = run_to_end(
            fleet_command(
                *("--data", server.data, "--start", start, "--minutes", 1, "--truth", truth_at),
                *("--gateway", f"http://127.0.0.1:{free_port()}", "--gateway", server.url),
            )
        )
        assert code == 0, errors
        truth = json.loads(truth_at.read_text())
        assert truth["unsent"] == 0
        assert truth["sent"]["moved"] > 0  # half of the boxes had chosen the gateway that is away

        def settled():
            same, _ = compare_ledger(truth["ledger"], server.ledger())
            return same

        until(settled, 60, "the books equal the truth")
        requests = {}
        for row in truth["minutes_of_history"]:
            requests[row["customer"]] = requests.get(row["customer"], 0) + row["requests"]

        def stored():
            return {name: row["requests"] for name, row in server.quality().items()}

        # minutes are computed a moment after their slices are stored
        until(lambda: stored() == requests, 60, f"quality equals {requests}, last {stored()}")
        assert sum(requests.values()) == truth["ledger"]["requests"]["stored"] > 0
    finally:
        server.process.stop()


def test_a_signal_ends_the_traffic_and_still_sends_what_boxes_hold(tmp_path):
    server = Server(tmp_path).start()
    truth_at = tmp_path / "truth.json"
    started = wall_clock()
    command = fleet_command(
        *("--data", server.data, "--gateway", server.url, "--minutes", 600, "--truth", truth_at),
        *("--start", rfc3339(started // 10_000 * 10_000 - 20_000)),
    )
    fleet = Process(command, tmp_path / "fleet.out").start()
    try:
        until(lambda: "reporting from" in fleet.tail(), 60, "the fleet reports")
        until(lambda: server.ledger()["requests"]["reported"] > 0, 60, "a first report is stored")
        assert fleet.stop() == 0, fleet.tail()
        truth = json.loads(truth_at.read_text())
        assert truth["unsent"] == 0
        assert truth["written_at"] - started < DAY_MS
        until(lambda: compare_ledger(truth["ledger"], server.ledger())[0], 60, "the books equal the truth")
    finally:
        fleet.stop()
        server.process.stop()


def test_a_wrong_gateway_is_refused_with_a_sentence(tmp_path):
    code, _, errors = run_to_end(fleet_command("--data", tmp_path, "--gateway", "somewhere", "--minutes", 1))
    assert code == 2
    assert "gateway: expected http://HOST:PORT" in errors
    assert "Traceback" not in errors


def fleet_with(*arguments):
    start = ("--start", "2026-01-05T10:00:00Z", "--fault-rate", "0", "--minutes", "120")
    return fleet_of(build_parser().parse_args(["fleet", "--devices", "40", *start, *arguments]))


def test_single_boxes_fall_ill_when_asked_for():
    fallen = fleet_with("--ill-boxes", "3").faults
    assert len({fault.scope["device"] for fault in fallen}) == 6  # three an hour for two hours, another box each time
    assert not fleet_with().faults


@pytest.mark.parametrize("per_hour", ["-1", "121", "nan"])
def test_an_impossible_number_of_ill_boxes_is_refused(per_hour):
    with pytest.raises(SimulatorError, match="ill-boxes: expected 0 to 120 boxes an hour"):
        fleet_with("--ill-boxes", per_hour)
