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


def test_the_sla_holds_every_customers_objectives_over_the_run(run):
    _, out = run
    rows = json.loads((out / "sla.json").read_text())
    customers = {row["customer"] for row in rows}
    assert len(customers) == 8
    for row in rows:
        assert {
            "customer", "objective", "target", "lower", "upper", "coverage", "good", "bad", "unmeasured", "no_traffic",
            "credits",
        } <= set(row)  # fmt: skip
        counted = row["good"] + row["bad"] + row["unmeasured"]
        assert 1 <= counted <= 12
        assert row["lower"] == pytest.approx(row["good"] / counted)
        assert row["upper"] == pytest.approx((row["good"] + row["unmeasured"]) / counted)
        assert 0 <= row["credits"] <= row["credits_at_most"] <= 0.5
        assert row["coverage"] <= 1
    # Every report came in the end, so next to nothing of so short a run stays unmeasured.
    assert sum(row["unmeasured"] for row in rows) <= 0.05 * sum(row["good"] + row["bad"] for row in rows)


def test_only_its_files_stay(run):
    _, out = run
    assert {p.name for p in out.iterdir()} >= {"ledger.json", "truth.json", "sla.json"}
    assert all(p.suffix == ".json" for p in out.iterdir())


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["--devices", "0"], "devices"), (["--minutes", "-1"], "minutes"), (["--start", "yesterday"], "start")],
)
def test_wrong_knobs_are_refused_by_name(tmp_path, capsys, arguments, word):
    assert cli.main(["demo", "--once", "--out", str(tmp_path), *arguments]) == 2
    assert word in capsys.readouterr().err


def test_incidents_and_their_score_have_the_agreed_form(run):
    _, out = run
    score = json.loads((out / "score.json").read_text())
    assert {
        "faults", "found", "recall", "precision", "false_incidents", "seconds_to_detect", "cause_exact", "cause_top3",
        "intervals",
    } <= set(score)  # fmt: skip
    for incident in json.loads((out / "incidents.json").read_text()):
        assert list(incident)[:12] == [
            "id", "kind", "state", "customers", "measures", "onset", "detected_at", "resolved_at", "severity",
            "verdict", "causes", "changes",
        ]  # fmt: skip
