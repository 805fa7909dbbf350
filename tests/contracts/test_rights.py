"""Rights on Kafka: the page operators follow, the program's own groups, and the lines for Kafka's tool agree."""

import json
import re
from pathlib import Path

import pytest

from contracts.rights import RIGHTS, acl_commands
from contracts.topics import BY_NAME
from dipper.cli import main
from dipper.cluster import log_part
from dipper.health_cli import GROUP as HEALTH_GROUP
from dipper.history_writer import GROUP as SINK_GROUP
from dipper.triage_cli import GROUP as TRIAGE_GROUP
from ingest.raw import GROUP as INTAKE_GROUP
from ingest.registry.topic import transactional_id
from streams.faust_app import GROUP as WORKER_GROUP
from streams.health_local import INPUTS as HEALTH_INPUTS
from streams.incident_inputs import INPUTS as TRIAGE_INPUTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
COLUMNS = (("Read", "topic"), ("Write", "topic"), ("Read", "group"), ("Write", "transactional-id"))


def held(component, operation, resource):
    return {r.name for r in RIGHTS[component] if (r.operation, r.resource) == (operation, resource)}


@pytest.mark.parametrize("component", RIGHTS)
def test_the_page_states_each_components_rights(component):
    section = PAGE.split("### Rights in Kafka")[1].split("###")[0]
    [row] = [line for line in section.splitlines() if line.startswith(f"| {component} |")]
    stated = [set(re.findall(r"`([^`]+)`", cell)) for cell in row.strip("|").split("|")[1:]]
    assert stated == [held(component, *column) for column in COLUMNS]


def test_groups_and_transactional_ids_are_those_the_program_uses():
    assert held("intake", "Read", "group") == {INTAKE_GROUP}
    assert held("worker", "Read", "group") == {WORKER_GROUP}
    assert held("sink", "Read", "group") == {SINK_GROUP}
    assert held("triage", "Read", "group") == {TRIAGE_GROUP}
    assert held("health", "Read", "group") == {HEALTH_GROUP}
    assert held("gateway", "Write", "transactional-id") == {transactional_id("registry")}


def test_jobs_may_read_what_they_take_in():
    assert set(TRIAGE_INPUTS) <= held("triage", "Read", "topic")
    assert set(HEALTH_INPUTS) <= held("health", "Read", "topic")


class Asked:
    """A log that remembers which topics it was asked about."""

    def __init__(self):
        self.topics = set()

    def end_offsets(self, topic):
        self.topics.add(topic)
        return [0]


@pytest.mark.parametrize("component", ["gateway", "intake", "worker", "sink", "triage", "health", "feed"])
def test_processes_ask_whether_brokers_answer_about_a_topic_they_may_see(component):
    log = Asked()
    assert log_part(log, component).ready(0) == []
    assert len(log.topics) == 1
    assert log.topics <= held(component, "Read", "topic") | held(component, "Write", "topic")
    source = (ROOT / "dipper" / f"{component}_cli.py").read_text()
    assert f'log_part(log, "{component}")' in source


def test_who_takes_policy_while_it_runs_and_speaks_of_it_may_record_the_change():
    sources = {c: ROOT / "dipper" / f"{c}_cli.py" for c in RIGHTS}
    speakers = [c for c, path in sources.items() if path.exists() and "def speaks()" in path.read_text()]
    assert speakers == ["triage", "health"]
    assert all("changes" in held(component, "Write", "topic") for component in speakers)


def test_only_who_needs_it_reads_the_registry():
    readers = {component for component in RIGHTS if "registry" in held(component, "Read", "topic")}
    assert readers == {"gateway", "intake", "triage", "feed", "dashboards"}
    assert {r.name for rights in RIGHTS.values() for r in rights if r.resource == "topic"} <= set(BY_NAME)


def test_lines_for_kafkas_tool(capsys, monkeypatch):
    lines = acl_commands("k1:9092")
    assert (
        "kafka-acls.sh --bootstrap-server k1:9092 --add --allow-principal User:dipper-node --operation Write "
        "--topic telemetry.raw"
    ) in lines
    assert len(lines) == sum(len(rights) for rights in RIGHTS.values())
    monkeypatch.delenv("DIPPER_KAFKA", raising=False)
    assert main(["topics", "rights", "--kafka", "k1:9092"]) == 0
    assert capsys.readouterr().out.splitlines() == lines
    assert main(["topics", "rights", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == set(RIGHTS)
