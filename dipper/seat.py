"""One seat, many applicants: a Kafka consumer group decides which process of several works, and who follows it.

The holder of the seat is the member that holds partition 0 of a topic. Nothing is read here. Three things keep two from
working at once: a holder that is asked to leave finishes the step under way before it agrees; one that the group
has thrown out learns of it; and one that can do neither (its process slept, its network is cut) stops by itself,
because it works only as long as the broker has confirmed its membership within the session timeout.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.abstract import (
    AbstractPartitionAssignor,
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
)
from kafka.errors import CommitFailedError, KafkaError, RebalanceInProgressError
from kafka.structs import OffsetAndMetadata

from contracts.kafka import KafkaSettings, client_options
from contracts.protocols import LogUnavailable
from contracts.protocols import TopicPartition as Place

logger = logging.getLogger(__name__)

SESSION_MS = 10_000
HEARTBEATS_PER_SESSION = 3
REBALANCE_MS = 60_000  # a step under way may take this long before the group goes on without its holder
CONFIRM_EVERY_S = 1.0
CLOSE_S = 10.0
TOPIC_WAIT_S = 10.0  # brokers learn of a new topic one after the other
TOPIC_POLL_S = 0.1
SEATED = b"seated"


class StaySeated(AbstractPartitionAssignor):
    """Gives every partition to one member: whoever has them already, else the first by id. A newcomer stands by."""

    name = "dipper-stay-seated"

    def __init__(self) -> None:
        self._seated = False

    def assign(self, cluster: Any, members: Any) -> dict[str, ConsumerProtocolAssignment]:
        """All partitions of all topics to the chosen member."""
        ranked = sorted(members, key=lambda m: (bytes(m.metadata.user_data or b"") != SEATED, m.member_id))
        topics = sorted({topic for member in members for topic in member.metadata.topics})
        everything = [(topic, sorted(cluster.partitions_for_topic(topic) or {0})) for topic in topics]
        return {
            member.member_id: ConsumerProtocolAssignment(0, everything if i == 0 else [], b"")
            for i, member in enumerate(ranked)
        }

    def metadata(self, topics: Any) -> ConsumerProtocolSubscription:
        """What a member says of itself when it joins."""
        return ConsumerProtocolSubscription(0, sorted(topics), SEATED if self._seated else b"")

    def on_assignment(self, assignment: Any, generation: int) -> None:  # noqa: ARG002
        """Remember whether we sit."""
        self._seated = any(partitions for _, partitions in assignment.assigned_partitions)

    def leave(self) -> None:
        """We were thrown out: what we had counts no longer."""
        self._seated = False


@dataclass(frozen=True, slots=True)
class SeatStatus:
    """`role`: active | standby | away (the group has not answered yet, or not for longer than the session);
    `confirmed_s`: since the broker last confirmed the membership of the active one."""

    role: str
    confirmed_s: float | None


class Seat(ConsumerRebalanceListener):
    """An application for the seat. `step` belongs to one thread and is called again and again; `held` may be asked from
    any. `release` is called, in that thread, when the seat is lost: it must return only when the work has stopped."""

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        topic: str,
        release: Callable[[], None],
        *,
        client_id: str,
        session_ms: int = SESSION_MS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = TopicPartition(topic, 0)
        self._group = group
        self._release = release
        self._session_s = session_ms / 1_000
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._member = False
        self._active = False
        self._confirmed_at = 0.0
        self._offered: dict[TopicPartition, OffsetAndMetadata] = {}
        self._assignor = StaySeated()
        try:
            self._consumer = KafkaConsumer(
                **client_options(settings),
                client_id=client_id,
                group_id=group,
                enable_auto_commit=False,
                session_timeout_ms=session_ms,
                heartbeat_interval_ms=session_ms // HEARTBEATS_PER_SESSION,
                max_poll_interval_ms=REBALANCE_MS,
                partition_assignment_strategy=[self._assignor],
                auto_offset_reset="earliest",
            )
            self._consumer.subscribe([topic], listener=self)
            self._await_partitions(topic)
        except KafkaError as error:
            raise LogUnavailable(f"group {group}: {error}") from None

    def held(self) -> bool:
        """Whether the holder may begin a step now."""
        with self._lock:
            return self._active and self._monotonic() - self._confirmed_at < self._session_s

    def offer(self, positions: Mapping[Place, int]) -> None:
        """Positions to be shown to Kafka's own tools, and by whose commit the membership is confirmed."""
        offered = {TopicPartition(*place): OffsetAndMetadata(at, "", -1) for place, at in positions.items()}
        with self._lock:
            self._offered = offered

    def step(self, timeout_s: float) -> None:
        """Take part in the group; while active, commit what was offered. Raises LogUnavailable."""
        try:
            self._consumer.poll(timeout_ms=int(timeout_s * 1_000))
            with self._lock:
                active, offered = self._active, dict(self._offered)
                due = active and self._monotonic() - self._confirmed_at >= CONFIRM_EVERY_S
            if due:
                self._confirm(offered)
        except RebalanceInProgressError:
            logger.debug("%s: the group reconsiders; the next poll takes part", self._group)
        except CommitFailedError:
            self.on_partitions_lost(())
        except KafkaError as error:
            raise LogUnavailable(f"group {self._group}: {type(error).__name__}: {error}") from None

    def status(self) -> SeatStatus:
        """Who we are in the group."""
        with self._lock:
            since = self._monotonic() - self._confirmed_at
            if self._active:
                return SeatStatus("active" if since < self._session_s else "away", since)
            return SeatStatus("standby" if self._member else "away", None)

    def close(self) -> None:
        """Leave the group, so that another may follow at once."""
        with contextlib.suppress(KafkaError):
            self._consumer.close(autocommit=False, timeout_ms=int(CLOSE_S * 1_000))
        self._stop_work()

    def _await_partitions(self, topic: str) -> None:
        """Know the topic's partitions before the first assignment. A client that joins before it knows them takes part
        in a second round at once, in which the seat is given up and positions offered meanwhile are forgotten. Asked
        after the subscription, because only then does the client compare what it learns with what it shared out."""
        end = time.monotonic() + TOPIC_WAIT_S
        while topic not in self._consumer.topics():
            if time.monotonic() >= end:
                self._consumer.close(autocommit=False)
                raise LogUnavailable(f"topic {topic}: expected one that exists; `dipper topics apply` makes it")
            time.sleep(TOPIC_POLL_S)

    # --- the group's calls, within poll ---

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """The group has decided."""
        if assigned:
            self._consumer.pause(*assigned)
        with self._lock:
            self._member = True
            self._active = self._place in assigned
            self._confirmed_at = self._monotonic()
            self._offered = {}
        logger.info("%s: %s", self._group, "active" if self._place in assigned else "standing by")

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:  # noqa: ARG002
        """The group reconsiders: stop first."""
        self._stop_work()

    def on_partitions_lost(self, lost: Sequence[TopicPartition]) -> None:  # noqa: ARG002
        """The group went on without us."""
        self._assignor.leave()
        with self._lock:
            self._member = False
        self._stop_work()

    def _confirm(self, offered: dict[TopicPartition, OffsetAndMetadata]) -> None:
        """A commit is answered only to members: it proves that nobody else holds the seat as of its sending."""
        sent_at = self._monotonic()
        place = {self._place: offered.get(self._place) or self._committed()}
        self._consumer.commit({**place, **offered}, timeout_ms=int(self._session_s * 1_000))
        with self._lock:
            self._confirmed_at = max(self._confirmed_at, sent_at)

    def _committed(self) -> OffsetAndMetadata:
        """What the group has committed before, so that a first confirmation changes nothing."""
        found = self._consumer.committed(self._place, timeout_ms=int(self._session_s * 1_000))
        return OffsetAndMetadata(found or 0, "", -1)

    def _stop_work(self) -> None:
        with self._lock:
            was_active, self._active = self._active, False
        if was_active:
            logger.info("%s: gives its seat up", self._group)
            self._release()
