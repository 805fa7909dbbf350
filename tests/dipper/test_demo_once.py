"""A small checked run: everything from the simulator to the ledger, in one process."""

import json

import pytest

from dipper import cli


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    code = cli.main(["demo", "--once", "--minutes", "12", "--devices", "20", "--seed", "3", "--out", str(out)])
    return code, out


def test_a_checked_run_balances_and_equals_the_simulators_own_count(run):
    code, out = run
    books = json.loads((out / "ledger.json").read_text())
    assert code == 0
    assert books["balanced"] is True
    assert books["matches_truth"] is True
    assert books["devices"] == 20
    for quantity in ("requests", "slices"):
        account = books[quantity]
        assert account["reported"] + account["double_counted"] == sum(
            account[term] for term in ("stored", "rejected", "declared_dropped", "pending", "lost")
        )
        assert account["lost"] == account["pending"] == account["double_counted"] == 0
        assert account["stored"] > 1000


def test_the_truth_names_what_was_generated(run):
    _, out = run
    truth = json.loads((out / "truth.json").read_text())
    books = json.loads((out / "ledger.json").read_text())
    assert (truth["seed"], truth["minutes"], truth["devices"]) == (3, 12, 20)
    assert sum(c["requests"] for c in truth["counts"].values()) == books["requests"]["reported"]


def test_only_the_two_files_stay(run):
    _, out = run
    assert sorted(p.name for p in out.iterdir()) == ["ledger.json", "truth.json"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["--devices", "0"], "devices"), (["--minutes", "-1"], "minutes"), (["--start", "yesterday"], "start")],
)
def test_wrong_knobs_are_refused_by_name(tmp_path, capsys, arguments, word):
    assert cli.main(["demo", "--once", "--out", str(tmp_path), *arguments]) == 2
    assert word in capsys.readouterr().err
