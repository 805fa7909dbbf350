"""compose.yaml is for users with a container engine; here its words are checked against the code."""

import re
from pathlib import Path

import yaml

from dipper import cli, settings

ROOT = Path(__file__).parent.parent
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


def commands():
    for service in COMPOSE["services"].values():
        yield service["command"]
        test = service["healthcheck"]["test"]
        assert test[0] == "CMD"
        yield test[1:]


def test_every_command_is_one_the_program_takes():
    parser = cli.build_parser()
    seen = [command for command in commands() if command[0] == "dipper"]
    assert len(seen) == 2
    for command in seen:
        assert callable(parser.parse_args(command[1:]).run)


def test_every_environment_variable_is_one_the_program_reads():
    known = set(settings.ENVIRONMENT)
    for service in COMPOSE["services"].values():
        assert set(service["environment"]) <= known


def test_no_secret_has_a_default():
    for service in COMPOSE["services"].values():
        for name, value in service["environment"].items():
            if re.search("PASSWORD|SECRET|TOKEN|KEY", name):
                assert re.fullmatch(r"\$\{\w+:-\}|\$\{\w+:\?.*\}", value), f"{name} has a default value"


def test_every_service_has_limits_and_a_health_check():
    for service in COMPOSE["services"].values():
        assert {"memory", "cpus"} <= set(service["deploy"]["resources"]["limits"])
        assert service["healthcheck"]["test"]


def test_every_volume_is_declared():
    declared = set(COMPOSE["volumes"])
    for service in COMPOSE["services"].values():
        for mount in service["volumes"]:
            assert mount.split(":")[0] in declared
