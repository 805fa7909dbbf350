"""What each component may do on Kafka, and nothing beyond: the ACLs of a cluster. One declaration, many readers."""

from __future__ import annotations

from dataclasses import dataclass

from contracts import topics

WRITE, READ = "Write", "Read"
GROUP, TRANSACTION, TOPIC = "group", "transactional-id", "topic"


@dataclass(frozen=True, slots=True)
class Right:
    """Leave for one operation (`Read`, `Write`; each includes `Describe`) on one resource named in full."""

    operation: str
    resource: str
    name: str


def _topics(operation: str, *chosen: topics.Topic) -> tuple[Right, ...]:
    return tuple(Right(operation, TOPIC, topic.name) for topic in chosen)


_INTAKE = _topics(WRITE, topics.REPORTS, topics.SLICES, topics.VITALS, topics.REJECTED)
_REGISTRY = (
    *_topics(READ, topics.REGISTRY),
    *_topics(WRITE, topics.REGISTRY),
    Right(WRITE, TRANSACTION, "dipper-registry"),
)
_OUTPUTS = (topics.QUALITY_MINUTES, topics.QUALITY_CUBE, topics.DEVICE_EVIDENCE, topics.QUALITY_MEMORY)

RIGHTS: dict[str, tuple[Right, ...]] = {
    "gateway": (*_INTAKE, *_topics(WRITE, topics.CHANGES), *_topics(READ, topics.REPORTS), *_REGISTRY),
    "intake": (
        *_INTAKE,
        *_topics(READ, topics.RAW, topics.REPORTS, topics.REGISTRY),
        Right(READ, GROUP, "dipper-intake"),
    ),
    "worker": (
        *_topics(READ, topics.SLICES, topics.REPORTS, *_OUTPUTS),
        *_topics(WRITE, *_OUTPUTS, topics.REJECTED),
        Right(READ, GROUP, "dipper-quality"),
    ),
    "sink": (
        *_topics(
            READ, topics.SLICES, topics.REPORTS, topics.VITALS, topics.REJECTED, topics.CHANGES, topics.QUALITY_MINUTES
        ),
        *_topics(READ, topics.SIGNALS, topics.INCIDENTS, topics.INCIDENT_ACTIONS),
        *_topics(WRITE, topics.REJECTED),
        Right(READ, GROUP, "dipper-sink"),
    ),
    "triage": (
        *_topics(READ, topics.QUALITY_MINUTES, topics.QUALITY_CUBE, topics.REPORTS, topics.VITALS, topics.CHANGES),
        *_topics(READ, topics.INCIDENT_ACTIONS, topics.HEALTH_SCORES, topics.REGISTRY),
        *_topics(READ, topics.SIGNALS, topics.INCIDENTS),
        *_topics(WRITE, topics.SIGNALS, topics.INCIDENTS, topics.CHANGES),
        Right(READ, GROUP, "dipper-triage"),
    ),
    "health": (
        *_topics(READ, topics.DEVICE_EVIDENCE, topics.VITALS, topics.SLICES, topics.HEALTH_SCORES),
        *_topics(WRITE, topics.HEALTH_SCORES, topics.CHANGES),
        Right(READ, GROUP, "dipper-health"),
    ),
    "feed": _topics(READ, topics.HEALTH_SCORES, topics.REGISTRY),
    "dashboards": (
        *_topics(READ, topics.HEALTH_SCORES, topics.REGISTRY),
        *_topics(WRITE, topics.INCIDENT_ACTIONS),
    ),
    "notify": _topics(READ, topics.INCIDENTS),
    "node": _topics(WRITE, topics.RAW),
}
"""Component -> its rights; `node`: a trusted node that writes telemetry.raw itself. Leave to write a topic includes
leave to write it idempotently (KIP-679)."""


def acl_commands(brokers: str, *, prefix: str = "dipper-") -> list[str]:
    """Shell lines for Kafka's own kafka-acls.sh: one user per component, named `prefix` + component."""
    return [
        f"kafka-acls.sh --bootstrap-server {brokers} --add --allow-principal User:{prefix}{component} "
        f"--operation {right.operation} --{right.resource} {right.name}"
        for component, rights in RIGHTS.items()
        for right in rights
    ]
