"""Topics as this project declares them: made, compared and corrected on Kafka."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from contracts.errors import ContractError
from contracts.kafka import KafkaSettings
from contracts.protocols import LogUnavailable
from contracts.times import DAY_MS
from contracts.topics import (
    ALL,
    BY_NAME,
    DEVICE_EVIDENCE,
    QUALITY_CUBE,
    QUALITY_MEMORY,
    QUALITY_MINUTES,
    RAW,
    REGISTRY,
    SLICES,
    Topic,
)
from ingest.log.kafka_client import options, require_reachable, translated

HOUR_MS = 3_600_000
MIB = 1024 * 1024
LEAST_RETENTION_MS = 75 * 60_000  # streams read back this far at a restart
# One task writes partition p of each.
TOGETHER = (SLICES, QUALITY_MINUTES, QUALITY_CUBE, DEVICE_EVIDENCE, QUALITY_MEMORY)
# A changed count sends a key's later records to another partition than its earlier ones.
UNKEYED = frozenset({"telemetry.rejected"})
CONNECT_S = 10.0
SETTLE_S = 10.0
EVERY_TOPIC = "(all)"
ENOUGH_BROKERS = 3  # to keep three copies of everything, so that one may fail


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """What every topic shall be. `partitions`: of topics that do not state their own. `retention_ms`: how long an
    outage of history may last before telemetry is lost. `retention_bytes`: a bound per partition; -1: only age decides.
    `own_partitions`: other counts for single topics. `prefix`: of names on Kafka. Raises ContractError."""

    partitions: int = 12
    replication: int = 1
    retention_ms: int = 48 * HOUR_MS
    retention_bytes: int = -1
    max_message_bytes: int = 24 * MIB
    segment_bytes: int = 256 * MIB
    own_partitions: Mapping[str, int] = field(default_factory=dict)
    prefix: str = ""

    def __post_init__(self) -> None:
        for name in ("partitions", "replication", "max_message_bytes", "segment_bytes"):
            value = getattr(self, name)
            if value < 1:
                raise ContractError("bad_setting", f"topics.{name}", "at least 1", value)
        if self.retention_ms < LEAST_RETENTION_MS:
            raise ContractError(
                "bad_setting", "topics.retention_ms", f"at least {LEAST_RETENTION_MS}", self.retention_ms
            )
        if self.retention_bytes != -1 and self.retention_bytes < self.max_message_bytes:
            raise ContractError(
                "bad_setting", "topics.retention_bytes", "-1, or room for a message", self.retention_bytes
            )
        unknown = sorted(set(self.own_partitions) - set(BY_NAME))
        if unknown:
            raise ContractError("bad_setting", "topics.own_partitions", "names of declared topics", unknown[0])
        counts = {self.count(topic) for topic in TOGETHER}
        if len(counts) > 1:
            names = ", ".join(t.name for t in TOGETHER)
            raise ContractError("bad_setting", "topics.own_partitions", f"one count for {names}", sorted(counts))

    def count(self, topic: Topic) -> int:
        """Partitions of a topic."""
        return topic.partitions or self.own_partitions.get(topic.name, self.partitions)

    def configuration(self, topic: Topic, copies: int | None = None) -> dict[str, str]:
        """Settings of a topic on Kafka; `copies`: that it has, where these are not the planned ones."""
        shared = {
            "min.insync.replicas": str(least_in_sync(self.replication if copies is None else copies)),
            "max.message.bytes": str(self.max_message_bytes),
            "compression.type": "producer",
            "segment.bytes": str(self.segment_bytes),
            # Gateways stamp records; a simulated clock may be ahead of the broker's. What boxes write themselves is
            # stamped by the broker: it is the time of receipt, which a box's clock must not choose.
            "message.timestamp.type": "LogAppendTime" if topic == RAW else "CreateTime",
            "message.timestamp.after.max.ms": str(2**63 - 1),
            "unclean.leader.election.enable": "false",
        }
        if topic.compacted:
            # A deleted key's tombstone outlives a reader that is away for as long as telemetry is kept.
            kept = {"cleanup.policy": "compact", "delete.retention.ms": str(self.retention_ms)}
            if topic == REGISTRY:
                kept["max.compaction.lag.ms"] = str(DAY_MS)  # overwritten secrets of devices must go
        else:
            kept = {
                "cleanup.policy": "delete",
                "retention.ms": str(self.retention_ms),
                "retention.bytes": str(self.retention_bytes),
            }
        return {**shared, **kept}


def least_in_sync(copies: int) -> int:
    """Copies that must hold a record before it is acknowledged: one node may fail without loss or standstill. More than
    a topic has would refuse every record."""
    return max(1, copies - 1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What apply did to a topic: `created`, `configured`, `extended` or `unchanged`, with details in words; or a
    `remark` about EVERY_TOPIC."""

    topic: str
    action: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is not as planned, in words. `fatal`: processes cannot work, or would give wrong results; otherwise it is a
    matter of durability or space."""

    topic: str
    problem: str
    fatal: bool


@dataclass(frozen=True, slots=True)
class _Actual:
    """A topic as it is. `replication`: the least of its partitions."""

    partitions: int
    replication: int
    leaderless: int
    configuration: Mapping[str, str]


def apply(settings: KafkaSettings, plan: TopicPlan, *, extend: bool = False) -> list[Outcome]:
    """Create what is missing, correct settings that differ; a second call changes nothing. Never deletes or lowers.
    With `extend`, raise partition counts of topics whose keys need no fixed partition; refused for the others. Raises
    LogError, ContractError `partitions`."""
    with _admin(settings) as admin:
        actual = _describe(admin, plan)
        _refuse_extension(plan, actual, extend)
        missing = [topic for topic in ALL if topic.name not in actual]
        if missing:
            admin.create_topics(
                {
                    plan.prefix + topic.name: {
                        "num_partitions": plan.count(topic),
                        "replication_factor": plan.replication,
                        "configs": plan.configuration(topic),
                    }
                    for topic in missing
                },
                wait_for_metadata=True,
            )
        outcomes = []
        for topic in ALL:
            if topic in missing:
                outcomes.append(
                    Outcome(topic.name, "created", f"{plan.count(topic)} partitions, {plan.replication} copies")
                )
            else:
                outcomes.append(_correct(admin, plan, topic, actual[topic.name], extend))
        _await_effect(admin, plan, extend)
        return outcomes + [Outcome(EVERY_TOPIC, "remark", why) for why in _single_copies(admin, plan)]


def check(settings: KafkaSettings, plan: TopicPlan) -> list[Finding]:
    """What is not as planned, nothing changed; empty when all is well. Raises LogError."""
    with _admin(settings) as admin:
        actual = _describe(admin, plan)
        remarks = _single_copies(admin, plan)
    findings = [Finding(EVERY_TOPIC, problem, False) for problem in remarks]
    findings += [finding for topic in ALL for finding in _compare(plan, topic, actual.get(topic.name))]
    counts = {topic.name: actual[topic.name].partitions for topic in TOGETHER if topic.name in actual}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        findings.append(
            Finding(SLICES.name, f"these topics need one number of partitions: {told}; a task writes them all", True)
        )
    return findings


def _compare(plan: TopicPlan, topic: Topic, actual: _Actual | None) -> list[Finding]:
    if actual is None:
        return [Finding(topic.name, "does not exist; run `dipper topics apply`", True)]
    findings = []
    if actual.partitions != plan.count(topic):
        problem = f"has {actual.partitions} partitions, planned are {plan.count(topic)}"
        findings.append(Finding(topic.name, problem, topic.partitions is not None))
    if actual.replication < plan.replication:
        findings.append(Finding(topic.name, f"has {_too_few(plan, actual)}", False))
    if actual.leaderless:
        problem = f"{actual.leaderless} of {actual.partitions} partitions have no leader: brokers are away"
        findings.append(Finding(topic.name, problem, True))
    for name, planned, found in _differences(plan, topic, actual):
        wrong = name in ("cleanup.policy", "message.timestamp.type")
        findings.append(Finding(topic.name, f"{name} is {found}, planned is {planned}", wrong))
    return findings


def _single_copies(admin: Any, plan: TopicPlan) -> list[str]:
    brokers = len(admin.describe_cluster()["brokers"])
    if plan.replication > 1 or brokers < ENOUGH_BROKERS:
        return []
    how = "say --replication 3, or [topics] replication in the policy, before topics are made"
    return [
        f"planned is one copy of each record on {brokers} brokers: one that fails takes its partitions along; {how}"
    ]


def _too_few(plan: TopicPlan, actual: _Actual) -> str:
    copies = f"{actual.replication} {'copy' if actual.replication == 1 else 'copies'}"
    return f"{copies}, planned are {plan.replication}; reassign its replicas"


def _differences(plan: TopicPlan, topic: Topic, actual: _Actual) -> list[tuple[str, str, str]]:
    planned = plan.configuration(topic, actual.replication).items()
    return [(n, v, actual.configuration.get(n, "unset")) for n, v in planned if actual.configuration.get(n) != v]


def _refuse_extension(plan: TopicPlan, actual: Mapping[str, _Actual], extend: bool) -> None:
    if not extend:
        return
    for topic in ALL:
        found = actual.get(topic.name)
        if found and found.partitions < plan.count(topic) and topic.name not in UNKEYED:
            raise ContractError(
                "partitions",
                topic.name,
                f"its {found.partitions} partitions, for a key's records stay in one partition; to have more, stop "
                "intake, let everything be read, delete the topic and apply again",
                plan.count(topic),
            )


def _correct(admin: Any, plan: TopicPlan, topic: Topic, actual: _Actual, extend: bool) -> Outcome:
    name = plan.prefix + topic.name
    action, details = "unchanged", []
    differences = _differences(plan, topic, actual)
    if differences:
        wanted = {key: planned for key, planned, _ in differences}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, wanted)])
        action = "configured"
        details += [f"{key}: {found} -> {planned}" for key, planned, found in differences]
    if actual.partitions < plan.count(topic):
        if extend:
            admin.create_partitions({name: plan.count(topic)})
            action = "extended"
            details.append(f"partitions: {actual.partitions} -> {plan.count(topic)}")
        else:
            details.append(f"keeps its {actual.partitions} partitions, planned are {plan.count(topic)}")
    if actual.replication < plan.replication:
        details.append(f"keeps its {_too_few(plan, actual)}")
    return Outcome(topic.name, action, "; ".join(details))


def _await_effect(admin: Any, plan: TopicPlan, extend: bool) -> None:
    """Until brokers show what was asked of them: they learn it from the controller a moment later. Raises LogError."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        actual = _describe(admin, plan)
        behind = [
            topic.name
            for topic in ALL
            if topic.name not in actual
            or _differences(plan, topic, actual[topic.name])
            or (extend and actual[topic.name].partitions < plan.count(topic))
        ]
        if not behind:
            return
        if time.monotonic() > deadline:
            raise LogUnavailable(f"topics {', '.join(behind)}: brokers don't show the change after {SETTLE_S:g} s")
        time.sleep(0.1)


def _describe(admin: Any, plan: TopicPlan) -> dict[str, _Actual]:
    """Declared topics that exist, by declared name."""
    existing = set(admin.list_topics())
    names = [topic.name for topic in ALL if plan.prefix + topic.name in existing]
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, plan.prefix + name) for name in names]
    settings = admin.describe_configs(resources, config_filter="all")["topic"]
    result = {}
    for topic in admin.describe_topics([plan.prefix + name for name in names]):
        partitions: Sequence[Mapping[str, Any]] = topic["partitions"]
        found = {key: entry["value"] for key, entry in settings[topic["name"]].items()}
        result[topic["name"][len(plan.prefix) :]] = _Actual(
            partitions=len(partitions),
            replication=min(len(p["replica_nodes"]) for p in partitions),
            leaderless=sum(p["leader_id"] < 0 for p in partitions),
            configuration=found,
        )
    return result


@contextlib.contextmanager
def _admin(settings: KafkaSettings) -> Iterator[Any]:
    """A client for administration, its errors as LogError."""
    require_reachable(settings)
    try:
        client = KafkaAdminClient(
            **options(settings, "dipper-topics", CONNECT_S), request_timeout_ms=int(CONNECT_S * 1000)
        )
        try:
            yield client
        finally:
            client.close()
    except kafka_errors.KafkaError as error:
        raise translated(error, "topics") from None
