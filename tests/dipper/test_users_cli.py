"""`dipper users`: passwords never on the command line, changes noted, names given once."""

from __future__ import annotations

import io
import json
import stat

import pytest

from contracts.entities import Customer
from dipper.cli import main
from dipper.customer_side import AUDIT_FILE
from ingest.registry import SqliteRegistry, passwords
from ingest.registry.passwords import Cost

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch):
    monkeypatch.setattr(passwords, "COST", Cost(log2_n=4, r=8, p=1))
    for name in ("DIPPER_KAFKA", "DIPPER_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def users(tmp_path, monkeypatch, capsys):
    """`users(*arguments, said=TEXT)` runs the command with a text on stdin: (exit code, stdout, stderr)."""

    def run(*arguments, said="", terminal=False):
        stdin = io.StringIO(said)
        stdin.isatty = lambda: terminal
        monkeypatch.setattr("sys.stdin", stdin)
        code = main(["users", arguments[0], "--data", str(tmp_path), *arguments[1:]])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_an_account_from_the_first_day_to_the_last(users, tmp_path):
    assert users("add", "ana", "--role", "operator", said=f"{PASSWORD}\n")[:2] == (
        0,
        "account ana: added, operator\n",
    )
    assert users("passwd", "ana", said="another long password\n")[0] == 0
    assert users("role", "ana", "--role", "admin")[1] == "account ana: now admin\n"
    assert users("disable", "ana")[0] == 0
    assert json.loads(users("list", "--json")[1])[0] | {"created_at": ""} == {
        "name": "ana", "role": "admin", "customer": None, "state": "disabled", "created_at": "",
    }  # fmt: skip
    assert users("enable", "ana")[0] == 0
    with SqliteRegistry(tmp_path / "registry.sqlite") as registry:
        assert registry.check_password("ana", "another long password") is not None
    assert users("remove", "ana")[0] == 0
    assert "removed" in users("list")[1]
    noted = [json.loads(line) for line in (tmp_path / AUDIT_FILE).read_text().splitlines()]
    assert [line["what"].partition(": ")[2] for line in noted] == [
        "added, operator", "new password", "now admin", "disabled", "enabled", "removed",
    ]  # fmt: skip
    assert all(line["who"].startswith("command of ") for line in noted)
    assert "password" not in json.dumps(noted).replace("new password", "")
    assert stat.S_IMODE((tmp_path / AUDIT_FILE).stat().st_mode) == 0o600


def test_a_customers_account_needs_its_customer(users, tmp_path):
    code, _, error = users("add", "portal", "--role", "customer", "--customer", "acme", said=f"{PASSWORD}\n")
    assert (code, "registered customer" in error) == (2, True)
    with SqliteRegistry(tmp_path / "registry.sqlite") as registry:
        registry.add_customer(Customer("acme", "Acme"))
    assert users("add", "portal", "--role", "customer", "--customer", "acme", said=f"{PASSWORD}\n")[1] == (
        "account portal: added, customer acme\n"
    )


@pytest.mark.parametrize("said", ["", "short\n", "aaaaaaaaaaaaaaaa\n"])
def test_a_weak_or_missing_password_is_refused_in_a_sentence(users, said):
    code, out, error = users("add", "ana", "--role", "viewer", said=said)
    assert (code, out) == (2, "")
    assert "password: expected" in error
    assert not said or said.strip() not in error


def test_there_is_no_argument_for_a_password(users, capsys):
    with pytest.raises(SystemExit):
        users("add", "ana", "--role", "viewer", "--password", PASSWORD)
    assert "unrecognized arguments" in capsys.readouterr().err


def test_whoever_is_not_there_is_named(users):
    users("add", "ana", "--role", "viewer", said=f"{PASSWORD}\n")
    code, _, error = users("disable", "bo")
    assert (code, error) == (1, "dipper: account: nobody is named 'bo'\n")


def test_a_prompt_asks_twice(users, monkeypatch):
    answers = iter([PASSWORD, "correct horse bettery", PASSWORD, PASSWORD])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    assert users("add", "ana", "--role", "viewer", terminal=True)[0] == 2
    assert users("add", "ana", "--role", "viewer", terminal=True)[0] == 0
    with pytest.raises(StopIteration):
        next(answers)
