"""`dipper history policies`: SQL for a server's administrator, of the server that the settings name."""

import json

import pytest

from dipper.cli import main
from history.row_policies import statements

HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
STORE = "clickhouse://dipper_rw:geheim@db-1,db-2/edge?cluster=main"


def ask(*arguments):
    return main(["history", "policies", *arguments])


def test_statements_are_of_the_server_in_the_settings(capsys, monkeypatch):
    monkeypatch.setenv("DIPPER_STORE", STORE)
    assert ask("acme", "--password-sha256", HASH) == 0
    said = capsys.readouterr().out
    assert said.split(";\n")[:-1] == statements("acme", HASH, "edge", "dipper_rw", "main")
    assert "geheim" not in said
    assert ask("acme", "--password-sha256", HASH, "--json") == 0
    assert json.loads(capsys.readouterr().out) == said.split(";\n")[:-1]


@pytest.mark.parametrize(
    ("store", "customer", "sha256", "words"),
    [
        ("chdb:///tmp/x", "acme", HASH, "DIPPER_STORE: expected clickhouse://"),
        ("", "acme", HASH, "DIPPER_STORE: expected clickhouse://"),
        (STORE, "acme'--", HASH, "customer: expected 1 to 64 of"),
        (STORE, "acme", "geheim", "password_sha256: expected 64 hex digits"),
    ],
)
def test_what_is_wrong_is_named(capsys, monkeypatch, store, customer, sha256, words):
    monkeypatch.setenv("DIPPER_STORE", store)
    assert ask(customer, "--password-sha256", sha256) == 2
    assert words in capsys.readouterr().err
