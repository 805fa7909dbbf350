"""compose.yaml is for users with a container engine; here its words are checked against the code."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from contracts import kafka
from dipper import cli, settings

ROOT = Path(__file__).parent.parent
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("image", "").startswith("dipper:")}
THEIRS = {name: service for name, service in SERVICES.items() if name not in OURS}
ONE_SHOT = {"topics"}
PROFILES = {
    "one": {"dipper"},
    "cluster": {"kafka", "clickhouse", "topics", "gateway", "worker", "sink", "triage", "health", "feed", "dashboards"},
    "trusted": {"intake"},
    "notify": {"notify"},
}


def of_profile(profile):
    return {name for name, service in SERVICES.items() if profile in service["profiles"]}


def ports_of(service):
    """(address on the host, port on the host, port inside) of each published port."""
    for port in service.get("ports", ()):
        *address, outside, inside = port.split(":")
        yield (address[0] if address else ""), int(outside), int(inside)


def test_profiles_hold_what_they_promise():
    assert {profile: of_profile(profile) for profile in PROFILES} == PROFILES


def test_every_command_is_one_the_program_takes():
    parser = cli.build_parser()
    commands = [service["command"] for service in OURS.values()]
    commands += [service["healthcheck"]["test"][1:] for name, service in OURS.items() if name not in ONE_SHOT]
    assert len(commands) == 2 * len(OURS) - len(ONE_SHOT)
    for command in commands:
        assert command[0] == "dipper"
        assert callable(parser.parse_args(command[1:]).run)


def test_every_environment_variable_is_one_the_program_reads():
    known = {*settings.ENVIRONMENT, *kafka.ENVIRONMENT}
    for service in OURS.values():
        assert set(service["environment"]) <= known


@pytest.mark.parametrize("name", OURS)
def test_the_program_accepts_the_environment_of_every_service(name):
    values = {k: re.sub(r"\$\{\w+:-\}", "given", v) for k, v in OURS[name]["environment"].items()}
    addresses = ("DIPPER_PUBLIC", "DIPPER_TLS_CERT", "DIPPER_TLS_KEY", "DIPPER_METRICS")
    values = {k: v for k, v in values.items() if k not in addresses}
    settings.from_environment(values)
    reached = kafka.kafka_settings(values)
    assert (reached is None) == (name == "dipper")
    if reached is not None:
        assert reached.password == "given"


def test_brokers_and_store_are_where_the_services_listen():
    listeners = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    published = {f"{host}:{outside}" for host, outside, _ in ports_of(SERVICES["clickhouse"])}
    inside = {f"clickhouse:{port}" for _, _, port in ports_of(SERVICES["clickhouse"])}
    for service in OURS.values():
        if broker := service["environment"].get("DIPPER_KAFKA"):
            assert f"//{broker}" in listeners
        if store := service["environment"].get("DIPPER_STORE"):
            parts = urlsplit(store.replace("${CLICKHOUSE_PASSWORD:-}", "given"))
            assert f"{parts.hostname}:{parts.port}" in (published if "network_mode" in service else inside)
            assert parts.username == SERVICES["clickhouse"]["environment"]["CLICKHOUSE_USER"]
            assert parts.path == f"/{SERVICES['clickhouse']['environment']['CLICKHOUSE_DB']}"


def test_published_ports_are_listened_on_and_only_doors_that_authenticate_face_the_network():
    open_to_all = {}
    for name, service in SERVICES.items():
        for address, outside, inside in ports_of(service):
            values = " ".join(service["environment"].values())
            assert re.search(rf":{inside}\b", values) or (name, inside) == ("clickhouse", 9000)
            if address != "127.0.0.1":
                open_to_all[name] = outside
    assert open_to_all == {"gateway": 8443, "feed": 8444}


def test_topics_are_made_by_the_program_not_by_accident():
    assert SERVICES["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    for name in ("gateway", "worker", "sink", "triage", "health", "feed", "dashboards"):
        assert SERVICES[name]["depends_on"]["topics"] == {"condition": "service_completed_successfully"}


def test_no_secret_has_a_default_and_an_empty_one_is_refused():
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            if re.search("PASSWORD|SECRET|TOKEN|TLS_KEY|SHARE_KEY", name):
                assert re.fullmatch(r"\$\{\w+:-\}|\$\{\w+:\?.*\}", value), f"{name} has a default value"
            for inner in re.findall(r"(?i)(?:password|user_\w+)=\"([^\"]*)\"", value):
                assert inner == "${KAFKA_PASSWORD:-}"
    for name, variable in (("kafka", "KAFKA_PASSWORD"), ("clickhouse", "CLICKHOUSE_PASSWORD")):
        start = " ".join(SERVICES[name].get("entrypoint", SERVICES[name].get("command")))
        assert f'test -n "$${variable}" ||' in start


def test_every_service_has_limits_and_a_health_check():
    for name, service in SERVICES.items():
        assert {"memory", "cpus"} <= set(service["deploy"]["resources"]["limits"])
        assert name in ONE_SHOT or service["healthcheck"]["test"]


def test_our_containers_have_the_least_rights():
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["user"] == "10001:10001"


def test_every_volume_is_declared_and_used():
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", ())]
    named = {mount.split(":")[0] for mount in mounts if isinstance(mount, str)}
    assert named == set(COMPOSE["volumes"])


def test_notifications_read_the_file_that_is_mounted_and_keep_what_they_told():
    service = SERVICES["notify"]
    kept, file = service["volumes"]
    assert kept == f"notify:{service['environment']['DIPPER_DATA']}"
    assert file["target"] == service["environment"]["DIPPER_NOTIFY"]
    assert file["read_only"] is True
    assert file["bind"] == {"create_host_path": False}  # a folder in its place would be no file
    assert service["deploy"].get("replicas", 1) == 1


def test_processes_that_scale_out_hold_no_volume_and_no_port_on_the_host():
    for name in ("worker", "sink"):
        assert not SERVICES[name].get("ports")
        assert not SERVICES[name].get("volumes")
