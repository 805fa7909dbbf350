"""The intake of trusted nodes: reports from the topic telemetry.raw, judged and stored as the gateway would.

Several processes share the topic's partitions as one consumer group. Positions are committed after what became of the
records is durable, so a crash between the two repeats records; that changes nothing, because a report's rows keep their
identity, its receipt is the brokers' append time, and a refusal its id.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from contracts.kafka import KafkaSettings
from contracts.protocols import Log, LogError, LogUnavailable
from contracts.topics import RAW
from ingest.errors import Refusal
from ingest.follower import Follower
from ingest.known import KnownReports
from ingest.log.kafka_client import FAST_CRC, missing, options, translated
from ingest.pipeline import Arrival, Pipeline, process_each
from ingest.registry.errors import RegistryUnavailable
from ingest.settings import GatewaySettings
from ingest.stages import stages
from ingest.telemetry import Keys, check_media, check_signature, judge, read_envelope, unauthenticated

GROUP = "dipper-intake"
SOURCE = "kafka"  # what telemetry.rejected says of the door
BROKER_STAMPED = 1  # ConsumerRecord.timestamp_type of LogAppendTime
MAX_RECORDS = 500  # of one poll
APPEND_S = 30.0  # how long an append may take; the log itself gives up sooner
ANSWER_S = 5.0  # how long brokers may take for one answer
SESSION_S = 10.0  # after which a silent process loses its partitions to the others
# A member that got no partition joins anew after this long, then after twice as long and so on: a group leader of this
# library that lacked the topic's metadata for a moment gives nobody anything, and leaves it at that.
IDLE_S, MAX_IDLE_S = 10.0, 600.0
MAX_PAUSE_S = 2.0  # after a failure, full jitter
SAY_EVERY_MS = 60_000  # unauthenticated records are logged at most this often, with their number

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Lag:
    """How far behind the topic's end the last step left this process, over its partitions."""

    partitions: tuple[int, ...] = ()
    records: int = 0
    oldest_ms: int | None = None  # append time of the last record handled where more wait, the oldest of them


class RawIntake:
    """One member of the group. Call `step` again and again from one thread; `status` from any. `log` takes what is
    stored and refused; `settings`: the same bounds as at the gateway (its quotas do not apply: give producers a quota
    on the brokers). `clock`: ms UTC; only paces and dates the memory of duplicates. `prefix`: of topic names on Kafka.
    """

    def __init__(
        self,
        log: Log,
        registry: Keys,
        kafka: KafkaSettings,
        settings: GatewaySettings,
        clock: Callable[[], int],
        *,
        group: str = GROUP,
        prefix: str = "",
    ) -> None:
        self._log = log
        self._registry = registry
        self._kafka = kafka
        self._settings = settings
        self._clock = clock
        self._group = prefix + group
        self._topic = prefix + RAW.name
        self._known = KnownReports(settings.max_boots, settings.digests_per_boot)
        self._pipeline: Pipeline | None = None
        self._consumer: Any = None
        self._new_partitions = False
        self._timestamps: dict[int, int] = {}  # append time of the last record handled, by partition
        self._lag = _Lag()
        self._counts: Counter[str] = Counter()
        self._unauthenticated: Counter[str] = Counter()
        self._said_at = 0
        self._unsaid = 0
        self._error = ""
        self._stepped_at: int | None = None
        self._idle_since: float | None = None  # monotonic
        self._patience_s = IDLE_S
        self._closing = threading.Event()

    def step(self, timeout_s: float) -> int:
        """Handle the records that come within timeout_s; returns how many. An outage of Kafka, log or registry is
        logged once, shown in `status`, and waited for: the records come again."""
        try:
            count = self._step(timeout_s)
        except (LogError, RegistryUnavailable) as error:
            self._fail(error, timeout_s)
            return 0
        except kafka_errors.KafkaError as error:
            self._disconnect()
            self._fail(translated(error, f"topic {self._topic}"), timeout_s)
            return 0
        if self._error:
            logger.warning("intake: going on")
            self._error = ""
        self._stepped_at = self._clock()
        return count

    def status(self, now: int) -> dict[str, Any]:
        """Figures for metrics and readiness. `lag_records` wait behind what was handled, `lag_s` is the age of the last
        record handled where some wait (watermarks follow the time of receipt: what waits longer than they allow reaches
        history only); `stepped_ago_s` since the last step without failure, None before; `error`: empty while all is
        well; totals count since the start."""
        lag = self._lag
        return {
            "partitions": list(lag.partitions),
            "lag_records": lag.records,
            "lag_s": 0.0 if lag.oldest_ms is None else max(0, now - lag.oldest_ms) / 1000,
            "stepped_ago_s": None if self._stepped_at is None else (now - self._stepped_at) / 1000,
            "error": self._error,
            **{f"{name}_total": self._counts[name] for name in COUNTS},
            "unauthenticated_total": dict(self._unauthenticated),
        }

    def close(self) -> None:
        """Leave the group; another process takes the partitions over at once."""
        self._closing.set()
        self._disconnect()

    # --- one step ---

    def _step(self, timeout_s: float) -> int:
        if self._pipeline is None:
            self._pipeline = Pipeline(self._registry, self._log, self._known)
        if self._consumer is None:
            self._consumer = self._connect()
        polled = self._consumer.poll(round(timeout_s * 1000), max_records=MAX_RECORDS)
        records = [record for place in sorted(polled) for record in polled[place]]
        try:
            if self._new_partitions:
                self._learn()
                self._new_partitions = False
            self._handle(records)
        except (LogError, RegistryUnavailable):
            for place, some in polled.items():
                self._consumer.seek(place, some[0].offset)
            raise
        self._commit({place: some[-1].offset + 1 for place, some in polled.items()})
        self._timestamps.update((place.partition, self._received_at(some[-1])) for place, some in polled.items())
        self._lag = self._measure()
        self._heed_idleness(time.monotonic())
        return len(records)

    def _handle(self, records: Sequence[Any]) -> None:
        """Make durable what becomes of records: some at a time, each name at most once among them, so that a repeat is
        judged when the fate of the first is known."""
        waiting: list[Arrival] = []
        names: set[tuple[str, str, int]] = set()
        size = 0
        for record in records:
            self._counts["records"] += 1
            arrival = self._admit(record)
            if arrival is None:
                continue
            name = (arrival.device, arrival.boot, arrival.seq)
            if name in names or size >= self._settings.flush_bytes:
                self._store(waiting)
                waiting, names, size = [], set(), 0
            counted = judge(arrival, self._known, self._settings)
            if counted is None:
                self._counts["reports_duplicate"] += 1
                continue
            waiting.append(arrival)
            names.add(name)
            size += counted
        self._store(waiting)

    def _admit(self, record: Any) -> Arrival | None:
        """An authenticated arrival; None, counted, when nobody known has signed the record."""
        received_at = self._received_at(record)
        try:
            headers = _headers(record)
            check_media(headers)
            envelope = read_envelope(headers)
            body = record.value or b""
            keys = self._registry.keys(envelope.device)
            if not keys:
                raise unauthenticated()
            check_signature(keys, envelope, body, received_at)
        except Refusal as refusal:
            self._ignore(record, refusal)
            return None
        place = f"topic {record.topic} partition {record.partition} offset {record.offset}"
        name = (envelope.device, envelope.boot, envelope.seq)
        return Arrival(*name, envelope.sent_at, received_at, body, source=SOURCE, place=place)

    def _received_at(self, record: Any) -> int:
        """The brokers' append time. A topic that takes the sender's word for the time is not believed."""
        if record.timestamp_type == BROKER_STAMPED:
            return int(record.timestamp)
        self._counts["not_stamped_by_broker"] += 1
        return self._clock()

    def _store(self, arrivals: list[Arrival]) -> None:
        if not arrivals:
            return
        assert self._pipeline is not None
        for part in stages(self._log, process_each(self._pipeline, arrivals)):
            try:
                self._log.submit(part).result(APPEND_S)
            except TimeoutError:
                raise LogUnavailable(f"an append took longer than {APPEND_S:g} s") from None
        self._pipeline.learn(arrivals)
        stored = [a for a in arrivals if a.refusal is None]
        refused_rows = sum(len(a.refused_rows) for a in stored)
        self._counts["reports_stored"] += len(stored)
        self._counts["reports_refused"] += len(arrivals) - len(stored)
        self._counts["slices_refused"] += refused_rows
        self._counts["slices_stored"] += sum(a.report.row_count for a in stored if a.report is not None) - refused_rows

    def _ignore(self, record: Any, refusal: Refusal) -> None:
        self._unauthenticated[refusal.reason] += 1
        self._unsaid += 1
        now = self._clock()
        if now - self._said_at >= SAY_EVERY_MS:
            logger.warning(
                "intake: %d records that no known device signed in time were not counted, the last one in topic %s "
                "partition %d offset %d: %s: %s",
                self._unsaid, record.topic, record.partition, record.offset, refusal.reason, refusal.detail,
            )  # fmt: skip
            self._said_at, self._unsaid = now, 0

    # --- the group ---

    def _connect(self) -> Any:
        consumer = KafkaConsumer(
            **options(self._kafka, GROUP, ANSWER_S),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=round(SESSION_S * 1000),
            heartbeat_interval_ms=round(SESSION_S * 100),  # also how fast a member hears of others that come and go
            check_crcs=FAST_CRC,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        try:
            # Before joining, so that a leader knows what it shares out.
            if not consumer.partitions_for_topic(self._topic):
                raise missing(self._topic)
            consumer.subscribe([self._topic], listener=_Assigned(self))
        except BaseException:
            consumer.close(autocommit=False)
            raise
        return consumer

    def _learn(self) -> None:
        """What was stored of the partitions that others had: their next records are judged by it."""
        follower = Follower(self._known)
        try:
            follower.catch_up(self._log, self._clock() - self._settings.rebuild_ms)
        finally:
            follower.stop()

    def _assigned(self, places: Sequence[TopicPartition]) -> None:
        self._new_partitions = self._new_partitions or bool(places)
        self._timestamps = {}

    def _commit(self, following: Mapping[TopicPartition, int]) -> None:
        """What is not committed is repeated, by this process or the next; no reason to stop."""
        if not following:
            return
        offsets = {place: OffsetAndMetadata(offset, "", -1) for place, offset in following.items()}
        try:
            self._consumer.commit(offsets, timeout_ms=round(ANSWER_S * 1000))
        except kafka_errors.KafkaError as error:
            self._counts["commit_errors"] += 1
            logger.warning("intake: positions are not committed: %s", error or type(error).__name__)

    def _heed_idleness(self, now_s: float) -> None:
        if self._lag.partitions:
            self._idle_since, self._patience_s = None, IDLE_S
        elif self._idle_since is None:
            self._idle_since = now_s
        elif now_s - self._idle_since > self._patience_s:
            logger.info("intake: no partition in %g s; joining the group anew", self._patience_s)
            self._idle_since, self._patience_s = None, min(MAX_IDLE_S, 2 * self._patience_s)
            self._disconnect()

    def _measure(self) -> _Lag:
        places = sorted(self._consumer.assignment())
        waiting, oldest = 0, None
        for place in places:
            position = self._consumer.position(place, timeout_ms=0)
            end = self._consumer.highwater(place)
            if position is None or end is None or end <= position:
                continue
            waiting += end - position
            handled = self._timestamps.get(place.partition)
            if handled is not None and (oldest is None or handled < oldest):
                oldest = handled
        return _Lag(tuple(place.partition for place in places), waiting, oldest)

    def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        self._lag = _Lag()
        if consumer is not None:
            with contextlib.suppress(kafka_errors.KafkaError):
                consumer.close(autocommit=False, timeout_ms=round(ANSWER_S * 1000))

    def _fail(self, error: Exception, timeout_s: float) -> None:
        self._counts["errors"] += 1
        if not self._error:
            logger.error("intake: trying again: %s", error)
        self._error = str(error) or type(error).__name__
        self._closing.wait(min(timeout_s, random.uniform(0, MAX_PAUSE_S)))


COUNTS = (
    "records",
    "reports_stored",
    "reports_duplicate",
    "reports_refused",
    "slices_stored",
    "slices_refused",
    "not_stamped_by_broker",
    "commit_errors",
    "errors",
)


class _Assigned(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells the intake of partitions it got. Those it lost need nothing: each step ends with a commit."""

    def __init__(self, intake: RawIntake) -> None:
        self._intake = intake

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """As the client library calls it, inside poll."""
        self._intake._assigned(assigned)

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """As the client library calls it, inside poll."""


def _headers(record: Any) -> dict[bytes, bytes]:
    """Headers as the gateway's door reads them. One that comes twice counts once, the last."""
    return {str(name).lower().encode("utf-8", "replace"): value or b"" for name, value in record.headers or ()}
