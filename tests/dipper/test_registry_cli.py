"""The registry's commands: what they print, what they refuse, with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contracts.entities import Objective
from dipper import registry_cli
from dipper.clock import wall_clock
from ingest.registry import SqliteRegistry

ROOT = Path(__file__).parents[2]
BOX = ["--isp", "telecom", "--region", "guangdong", "--nat", "full_cone", "--cohort", "stable", "--capacity", "30"]


class Shell:
    """Runs commands on one data directory; `out` and `err` are of the last one."""

    def __init__(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data = data
        self._capsys = capsys
        self.out = ""
        self.err = ""

    def __call__(self, *arguments: str) -> int:
        self._capsys.readouterr()
        try:
            code = registry_cli.main([*arguments, "--data", str(self.data)])
        except SystemExit as left:
            code = int(left.code or 0)
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self, *arguments: str) -> Any:
        assert self(*arguments, "--json") == 0, self.err
        return json.loads(self.out)

    def registry(self) -> SqliteRegistry:
        return SqliteRegistry(self.data / "registry.sqlite")


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path / "data", capsys)


def test_a_device_from_registration_to_revocation(shell: Shell) -> None:
    assert shell("devices", "add", "box-1", *BOX, "--from", "2026-01-01T00:00:00Z", "--token") == 0
    token = shell.out.splitlines()[1]
    assert shell.json("devices", "list")[0]["state"] == "no key"
    with shell.registry() as registry:
        key = registry.enroll("box-1", token, wall_clock())
    assert [k["key_id"] for k in shell.json("devices", "show", "box-1")["keys"]] == [key.key_id]
    rotated = shell.json("devices", "rotate", "box-1", "--overlap", "30m")
    with shell.registry() as registry:
        assert [(k.key_id, k.secret.hex()) for k in registry.keys("box-1")] == [
            (rotated["key_id"], rotated["key"]),
            (key.key_id, key.secret.hex()),
        ]
    assert shell("devices", "revoke", "box-1") == 0
    assert shell.json("devices", "list")[0]["state"] == "revoked"
    with shell.registry() as registry:
        assert list(registry.keys("box-1")) == []


def test_the_list_is_an_aligned_table_and_remarks_go_to_stderr(shell: Shell) -> None:
    shell("devices", "add", "box-1", *BOX)
    shell("devices", "add", "a-much-longer-name", *BOX[:-1], "7.5")
    assert shell("devices", "list") == 0
    header, first, second = shell.out.splitlines()
    assert header.index("ISP") == first.index("telecom") == second.index("telecom")
    assert first.startswith("a-much-longer-name")
    assert first.endswith(" 7.5")
    assert len(first) == len(second)
    assert shell.err == "2 devices\n"


def test_filters_and_limit_of_the_list(shell: Shell) -> None:
    for i, region in enumerate(["hubei", "hunan", "hubei"]):
        shell("devices", "add", f"box-{i}", *BOX, "--region", region)
    assert [d["device"] for d in shell.json("devices", "list", "--region", "hubei")] == ["box-0", "box-2"]
    assert shell("devices", "list", "--region", "hubei", "--limit", "1") == 0
    assert "box-2" not in shell.out
    assert shell.err == "2 devices, 1 shown\n"


def test_set_keeps_what_is_not_named_and_the_row_before(shell: Shell) -> None:
    shell("devices", "add", "box-1", *BOX, "--from", "2026-01-01T00:00:00Z")
    assert shell("devices", "set", "box-1", "--cohort", "canary", "--from", "2026-02-01T08:00:00+08:00") == 0
    rows = shell.json("devices", "show", "box-1")["attributes"]
    assert [(r["valid_from"], r["cohort"], r["device_isp"]) for r in rows] == [
        ("2026-01-01T00:00:00.000Z", "stable", "telecom"),
        ("2026-02-01T00:00:00.000Z", "canary", "telecom"),
    ]


def test_enrolment_tokens_for_one_and_for_any_device(shell: Shell) -> None:
    shell("devices", "add", "box-1", *BOX)
    bound = shell.json("devices", "token", "box-1", "--valid", "7d")
    free = shell.json("devices", "token", "--any")
    pending = shell.json("tokens", "list")["enrolment"]
    assert {t["device"] for t in pending} == {"box-1", None}
    assert bound["token"] not in json.dumps(pending)
    with shell.registry() as registry:
        assert registry.enroll("box-9", free["token"], wall_clock()) in registry.keys("box-9")
    assert shell("devices", "token") == 2
    assert "--any" in shell.err
    assert shell("devices", "token", "box-1", "--any") == 2


def test_customers_with_objectives(shell: Shell) -> None:
    arguments = [
        "customers", "add", "acme", "--name", "阿克梅", "--timezone", "Asia/Shanghai",
        "--objective", "measure=failures,service=video,target=0.995",
        "--objective", "measure=slow_requests,service=video,target=0.95,threshold=800",
    ]  # fmt: skip
    assert shell(*arguments) == 0
    with shell.registry() as registry:
        customer = registry.customer("acme")
    assert customer is not None
    assert customer.objectives == (
        Objective("acme", "video", "failures", 0.995),
        Objective("acme", "video", "slow_requests", 0.95, 800.0),
    )
    assert shell("customers", "show", "acme") == 0
    assert "0.5 %" in shell.out
    assert "800 ms" in shell.out
    assert shell("customers", "list") == 0
    assert "阿克梅" in shell.out
    assert shell(*arguments) == 2
    assert "acme" in shell.err
    assert shell(*arguments, "--replace") == 0


def test_rules_and_operators_tokens(shell: Shell) -> None:
    assert shell("rules", "add", "near", "--version", "3", "--name", "Nearest first", "--owner", "traffic") == 0
    assert shell.json("rules", "show", "near@3")[0]["owner"] == "traffic"
    assert shell.json("rules", "list", "--owner", "nobody") == []
    made = shell.json("tokens", "add", "robot", "--scope", "changes:write")
    with shell.registry() as registry:
        assert registry.check_api_token(made["token"], "changes:write") == "robot"
    assert shell("tokens", "list") == 0
    assert "robot" in shell.out
    assert made["token"] not in shell.out
    assert shell("tokens", "revoke", "robot") == 0
    with shell.registry() as registry:
        assert registry.check_api_token(made["token"], "changes:write") is None


def test_imports_are_counted_and_all_or_nothing(shell: Shell, tmp_path: Path) -> None:
    good = tmp_path / "fleet.csv"
    header = "device,device_isp,device_region,nat_type,cohort,capacity_mbps\n"
    good.write_text(header + "a,x,y,z,c,1\nb,x,y,z,c,2\n")
    assert shell.json("devices", "import", str(good)) == {"added": 2, "changed": 0, "unchanged": 0}
    good.write_text(header + "a,x,y,z,canary,1\nb,x,y,z,c,2\n")
    assert shell("devices", "import", str(good)) == 0
    assert "0 added, 1 changed, 1 unchanged" in shell.out
    good.write_text(header + "new,x,y,z,c,1\nb,x,y,z,c,fast\n")
    assert shell("devices", "import", str(good)) == 2
    assert "line 3, column capacity_mbps" in shell.err
    assert "'fast'" in shell.err
    assert [d["device"] for d in shell.json("devices", "list")] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["devices", "show", "ghost"], 1, "ghost"),
        (["devices", "set", "ghost", "--cohort", "x"], 1, "ghost"),
        (["devices", "set", "box-1"], 2, "--cohort"),
        (["devices", "revoke", "ghost"], 1, "ghost"),
        (["devices", "rotate", "ghost"], 1, "ghost"),
        (["devices", "rotate", "box-1", "--overlap", "soon"], 2, "30m"),
        (["devices", "token", "ghost"], 1, "ghost"),
        (["devices", "add", "box-1", *BOX], 2, "not taken"),
        (["devices", "add", "box 2", *BOX], 2, "box 2"),
        (["devices", "add", "box-2", *BOX[:-1], "fast"], 2, "expected a number"),
        (["devices", "add", "box-2", *BOX[:-1], "nan"], 2, "capacity_mbps"),
        (["devices", "add", "box-2", *BOX, "--from", "2026-01-01"], 2, "zone"),
        (["devices", "list", "--limit", "0"], 2, "from 1"),
        (["devices", "import", "nowhere.csv"], 2, "nowhere.csv"),
        (["devices", "import", "nowhere.txt"], 2, "--format"),
        (["customers", "show", "ghost"], 1, "ghost"),
        (["customers", "add", "c", "--name", "C", "--objective", "failures"], 2, "name=value"),
        (["customers", "add", "c", "--name", "C", "--timezone", "Mars/Base"], 2, "Mars/Base"),
        (["rules", "show", "ghost@1"], 1, "ghost@1"),
        (["rules", "add", "r", "--version", "x", "--name", "n", "--owner", "o"], 2, "integer"),
        (["tokens", "add", "t", "--scope", "all"], 2, "feed:read"),
        (["tokens", "revoke", "ghost"], 1, "ghost"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(shell: Shell, arguments: list[str], code: int, said: str) -> None:
    shell("devices", "add", "box-1", *BOX)
    assert shell(*arguments) == code
    assert said in shell.err
    assert "Traceback" not in shell.err
    assert shell.out == ""


def test_looking_does_not_make_a_registry(shell: Shell) -> None:
    for group in ("devices", "customers", "rules", "tokens"):
        assert shell(group, "list") == 1
        assert "--data" in shell.err
    assert not shell.data.exists()


def test_a_file_that_is_not_utf8_is_refused_with_its_line(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    file.write_bytes(b"device\n\xff\n")
    assert shell("devices", "import", str(file)) == 2
    assert "line 2" in shell.err


def test_the_examples_of_the_help_work(shell: Shell, tmp_path: Path) -> None:
    for teaching, group, name in (
        (registry_cli.DEVICES_HELP, "devices", "fleet.csv"),
        (registry_cli.CUSTOMERS_HELP, "customers", "customers.csv"),
        (registry_cli.CUSTOMERS_HELP, "customers", "customers.json"),
        (registry_cli.RULES_HELP, "rules", "rules.csv"),
    ):
        block = teaching.split(f"\n{name}", 1)[1].split("\n", 1)[1]
        lines = []
        for line in block.splitlines():
            if not line.startswith("  "):
                break
            lines.append(line.strip())
        file = tmp_path / name
        file.write_text("\n".join(lines) + "\n")
        assert shell(group, "import", str(file)) == 0, shell.err


def test_it_runs_as_a_module_with_the_directory_from_the_environment(tmp_path: Path) -> None:
    environment = {**os.environ, "DIPPER_DATA": str(tmp_path)}
    command = [sys.executable, "-m", "dipper.registry_cli"]
    document = b'[{"id": "near", "version": 1, "name": "Near", "owner": "traffic"}]'
    subprocess.run(
        [*command, "rules", "import", "-", "--format", "json"],
        input=document, env=environment, cwd=ROOT, check=True, timeout=60, capture_output=True,
    )  # fmt: skip
    listed = subprocess.run(
        [*command, "rules", "list"], env=environment, cwd=ROOT, check=True, timeout=60, capture_output=True
    )
    assert b"near@1" in listed.stdout
    assert (tmp_path / "registry.sqlite").stat().st_mode & 0o777 == 0o600


def test_names_of_the_self_test_are_nobody_elses(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "customers.json"
    file.write_text(json.dumps([{"id": "acme", "name": "Acme"}, {"id": "dipper-self-test", "name": "Me"}]))
    for command in (
        ("customers", "add", "dipper-self-test", "--name", "Me"),
        ("customers", "import", str(file)),
        ("devices", "add", "dipper-self-test-1", *BOX),
    ):
        assert shell(*command) == 2
        assert "expected an id other than those of the self-test" in shell.err
    assert shell.json("customers", "list") == []
    assert shell.json("devices", "list") == []
