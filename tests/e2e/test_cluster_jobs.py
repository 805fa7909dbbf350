"""Detection, incidents, health scores and the feed on a cluster: the same incident as in one process, through a kill.

The fleet's time is simulated, so that half an hour passes in seconds: its gateway runs in this process and writes to
the cluster's Kafka; workers, sink, triage, health and feed are processes.
"""

import asyncio
import json
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from contracts import topics
from contracts.times import MINUTE_MS, rfc3339
from dipper import settings
from dipper.clock import wall_clock
from dipper.demo_incidents import WARM_UP_MINUTES
from dipper.demo_once import run_once
from dipper.fleet import Announcer, register
from dipper.registries import opened_registry
from ingest.gateway import Gateway
from ingest.log.kafka import KafkaLog
from ingest.settings import GatewaySettings
from simulator.asgi import post
from simulator.drive import SimulatedClock, run_simulated
from simulator.settings import Settings, build_fleet
from streams.runner import read_between
from tests.e2e.cluster import Cluster
from tests.e2e.processes import until

pytestmark = pytest.mark.verify

MINUTES, FAULT_FROM, LOOK_AT = 20, 12, 16
DEVICES, CUSTOMERS, SEED = 40, 4, 11
WHERE = {"client_isp": "China-Unicom"}
FAULT = {
    "kind": "degradation",
    "scope": WHERE,
    "effect": {"f_server": 0.15},
    "start_minute": FAULT_FROM,
    "minutes": 60,
}
FOUND_S, TAKEN_OVER_S, READY_S = 90, 60, 60


@pytest.fixture(scope="module")
def run_settings(tmp_path_factory):
    """A run whose last minute is now: scores are of the present."""
    script = tmp_path_factory.mktemp("script") / "faults.json"
    script.write_text(json.dumps({"fault": [FAULT]}))
    start = wall_clock() // MINUTE_MS * MINUTE_MS - MINUTES * MINUTE_MS
    return Settings(devices=DEVICES, customers=CUSTOMERS, seed=SEED, minutes=MINUTES, script=script, start_ms=start)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, run_settings):
    folder = tmp_path_factory.mktemp("cluster")
    # The fleet's clock runs behind that of the processes, on purpose.
    policy = f"[detector]\nwarm_up_minutes = {WARM_UP_MINUTES}\n[incident]\nlag_limit_ms = {24 * 60 * MINUTE_MS}\n"
    (folder / "policy.toml").write_text(policy)
    given = {"DIPPER_POLICY": str(folder / "policy.toml")}
    with Cluster(folder, gateways=0, dashboards=False, jobs=True, partitions=3, settings=given) as running:
        yield running


def quality(incidents):
    return [i for i in incidents if i["kind"] == "quality"]


def answers(incident):
    return [cause["where"] for cause in incident["causes"] if cause["answer"]]


def of_cluster(cluster):
    return quality(cluster.run("incidents", "list"))


class Story:
    """What is done to the cluster while the fleet's minutes pass, and what was seen."""

    def __init__(self, cluster):
        self.cluster = cluster
        (self.first,) = cluster.of("triage")
        self.second = cluster.add("triage")
        self.found = None

    async def go_on(self, interval):
        if interval == LOOK_AT * 6:
            await asyncio.to_thread(self.acknowledge_and_kill)
        return True

    def acknowledge_and_kill(self):
        opened = "dipper_open_incidents"
        until(lambda: self.first.metrics().get(opened), FOUND_S, "an incident opens")
        until(lambda: of_cluster(self.cluster), FOUND_S, "history holds it")
        self.second.start()
        assert self.second.metrics()['dipper_active{part="incidents"}'] == 0
        (self.found,) = of_cluster(self.cluster)
        self.cluster.run("incidents", "ack", self.found["id"], "--why", "mine", "--author", "ana")
        self.first.kill()
        until(
            lambda: self.second.metrics().get('dipper_active{part="incidents"}') == 1, TAKEN_OVER_S, "the second works"
        )


@pytest.fixture(scope="module")
def story(cluster, run_settings):
    """Half an hour of the fleet through the cluster."""
    told = Story(cluster)
    process = settings.from_environment(cluster.environment)
    policy = settings.load_policy(process.policy)
    clock = SimulatedClock(run_settings.start_ms)
    limits = settings.settings_of(GatewaySettings, {**policy["gateway"], "manual": True})
    with KafkaLog(process.needs_kafka(), client_id="test") as log, opened_registry(process, "test") as registry:
        asyncio.run(drive(Gateway(log, registry, limits, clock), registry, clock, run_settings, told))
        yield told
    assert told.second.stop() == 0


async def drive(gateway, registry, clock, run_settings, told):
    fleet = build_fleet(run_settings)
    token = register(registry, fleet.world, clock())

    async def in_process(path, headers, body):
        answering = asyncio.ensure_future(post(gateway, path, headers, body))
        while not answering.done():
            await asyncio.sleep(0)
            await gateway.flush()
        return answering.result()

    announcer = Announcer(registry, fleet, token, in_process)

    async def on_tick(now):
        await announcer.announce(now)
        await gateway.heartbeat(now)

    await gateway.start()
    try:
        stats = await run_simulated(
            fleet, gateway, clock, MINUTES, on_tick, flush=gateway.flush, go_on=told.go_on
        )  # fmt: skip
        assert stats.unsent == 0
    finally:
        await gateway.stop()


@pytest.fixture(scope="module")
def embedded(run_settings, tmp_path_factory):
    """The incident of the same run in one process, at its end."""
    folder = tmp_path_factory.mktemp("embedded")
    run_once(run_settings, settings.load_policy(), folder)
    (incident,) = quality(json.loads((folder / "incidents.json").read_text()))
    return incident


def test_four_minutes_into_the_fault_it_is_the_incident_of_the_embedded_run(story, embedded, run_settings):
    assert answers(embedded) == [WHERE]
    assert answers(story.found) == answers(embedded)
    assert set(story.found["customers"]) <= set(embedded["customers"])
    assert story.found["onset"] == run_settings.start_ms + FAULT_FROM * MINUTE_MS


def test_it_outlives_a_kill_of_the_job_and_keeps_what_was_done_to_it(story, cluster, embedded, run_settings):
    newest = run_settings.start_ms + (MINUTES - 1) * MINUTE_MS

    def grown():
        found = of_cluster(cluster)
        return found if found[0]["newest"] >= newest else None

    (incident,) = until(grown, FOUND_S, "it goes on to the end of the run")
    assert incident["id"] == story.found["id"]
    assert incident["state"] == "acknowledged"
    assert [(line["verb"], line["author"], line["text"]) for line in incident["history"]] == [
        ("acknowledge", "ana", "mine")
    ]
    assert rfc3339(incident["onset"]) == embedded["onset"]
    assert incident["customers"] == embedded["customers"]
    assert answers(incident) == answers(embedded) == [WHERE]


def test_every_minute_was_judged_once(story, cluster, run_settings):
    name = topics.SIGNALS.name
    with KafkaLog(cluster.broker.settings, client_id="test") as log:
        ends = {(name, 0): log.end_offsets(name)[0]}
        records = [r for batch in read_between(log, {(name, 0): 0}, ends) for r in batch]
    judged = Counter(int(record.headers["minute"]) for record in records)
    assert set(judged.values()) == {1}
    assert {run_settings.start_ms + n * MINUTE_MS for n in range(MINUTES)} <= set(judged)


def test_the_feed_answers_with_every_box(story, cluster):
    (feed,) = cluster.of("feed")
    token = cluster.run("tokens", "add", "scheduler", "--scope", "feed:read")["token"]

    def snapshot():
        request = urllib.request.Request(
            f"{feed.boxes}/v1/health/devices", headers={"authorization": f"Bearer {token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                rows = json.load(answer)["devices"]
        except OSError:  # the feed has not heard of the token yet
            return None
        return rows if len(rows) == DEVICES else None

    rows = until(snapshot, READY_S, f"scores of {DEVICES} boxes")
    assert {row["device"] for row in rows} == {box["device"] for box in cluster.run("devices", "list")}
    assert all(0 <= row["value"] <= 1 for row in rows)
    for path in ("/v1/health/openapi.json", "/v1/customers/openapi.json"):
        with urllib.request.urlopen(feed.boxes + path, timeout=10) as answer:
            assert json.load(answer)["openapi"]
    assert feed.metrics()["dipper_feed_boxes"] == DEVICES


def test_everybody_is_ready(story, cluster):
    for member in (*cluster.of("health"), *cluster.of("feed"), *cluster.of("worker"), *cluster.of("sink")):
        until(lambda member=member: member.metrics().get("dipper_ready") == 1, READY_S, f"{member.name} is ready")
    until(lambda: story.second.metrics().get("dipper_ready") == 1, READY_S, "the second triage is ready")


def test_a_policy_that_is_saved_is_taken_by_who_works_and_recorded(story, cluster):
    file = Path(cluster.environment["DIPPER_POLICY"])
    file.write_text(file.read_text() + "end_after_ms = 240000\n[health]\nexpires_minutes = 9\n")
    wanted = {"incident.end_after_ms: 300000 -> 240000", "health.expires_minutes: 10 -> 9"}

    def recorded():
        found = cluster.run("changes", "--to", rfc3339(wall_clock() + 10 * MINUTE_MS))
        notes = [change["note"] for change in found if change["kind"] == "configuration"]
        return wanted <= {note.removeprefix("Dipper: ") for note in notes}

    until(recorded, READY_S, "triage and health record what they took")
    assert all(member.metrics()["dipper_ready"] == 1 for member in cluster.of("health"))
