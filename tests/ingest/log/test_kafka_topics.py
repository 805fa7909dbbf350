"""Declared topics on a real broker: made once, compared, corrected; what readers meet in them."""

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from contracts.errors import ContractError
from contracts.kafka import client_options
from contracts.protocols import LogError
from contracts.topics import ALL
from ingest.log.kafka import KafkaLog
from ingest.log.kafka_topics import TopicPlan, apply, check
from tests.ingest.log_contract import DEADLINE_S, SIGNALS, SLICES, append, record, until
from tests.services.kafka import create_topics


@pytest.fixture
def admin(kafka):
    client = KafkaAdminClient(**client_options(kafka.settings))
    yield client
    client.close()


def test_topics_are_made_once_compared_and_corrected(kafka, admin):
    plan = TopicPlan(partitions=3, prefix="plan.")
    assert {f.problem for f in check(kafka.settings, plan)} == {"does not exist; run `dipper topics apply`"}
    assert {o.topic: o.action for o in apply(kafka.settings, plan)} == {t.name: "created" for t in ALL}
    assert check(kafka.settings, plan) == []
    assert {o.action for o in apply(kafka.settings, plan)} == {"unchanged"}

    with KafkaLog(kafka.settings, client_id="plan", prefix="plan.") as log:
        assert {t.name: log.partitions(t.name) for t in ALL} == {t.name: t.partitions or 3 for t in ALL}
        append(log, *(record(b"v", topic=t.name) for t in ALL))

    changed = {"retention.ms": "1000", "cleanup.policy": "compact"}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "plan." + SLICES, changed)])
    findings = check(kafka.settings, plan)
    assert {(f.topic, f.problem, f.fatal) for f in findings} == {
        (SLICES, "retention.ms is 1000, planned is 172800000", False),
        (SLICES, "cleanup.policy is compact, planned is delete", True),
    }
    actions = {o.topic: o.action for o in apply(kafka.settings, plan)}
    assert actions == {t.name: "configured" if t.name == SLICES else "unchanged" for t in ALL}
    assert check(kafka.settings, plan) == []


def test_partitions_grow_only_where_keys_need_no_fixed_one_and_never_shrink(kafka):
    apply(kafka.settings, TopicPlan(partitions=2, prefix="grow."))
    more = TopicPlan(partitions=3, prefix="grow.")
    assert "has 2 partitions, planned are 3" in {f.problem for f in check(kafka.settings, more)}
    with pytest.raises(ContractError, match=r"telemetry\.reports.*one partition"):
        apply(kafka.settings, more, extend=True)
    assert {o.action for o in apply(kafka.settings, more)} == {"unchanged"}
    one = TopicPlan(partitions=2, own_partitions={"telemetry.rejected": 4}, prefix="grow.")
    assert [(o.topic, o.detail) for o in apply(kafka.settings, one, extend=True) if o.action != "unchanged"] == [
        ("telemetry.rejected", "partitions: 2 -> 4")
    ]
    assert check(kafka.settings, one) == []
    less = TopicPlan(partitions=2, prefix="grow.")
    assert {o.action for o in apply(kafka.settings, less, extend=True)} == {"unchanged"}


def test_topics_that_one_task_writes_must_have_one_number_of_partitions(kafka, admin):
    plan = TopicPlan(partitions=2, prefix="equal.")
    apply(kafka.settings, plan)
    admin.create_partitions({"equal.quality.cube": 5})
    found = []
    until(lambda: found.extend(f for f in check(kafka.settings, plan) if "need one number" in f.problem) or found, "it")
    [together] = found
    assert together.fatal
    assert "telemetry.slices 2, quality.minutes 2, quality.cube 5, device.evidence 2" in together.problem


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"partitions": 0}, "topics.partitions"),
        ({"retention_ms": 74 * 60_000}, "topics.retention_ms"),
        ({"retention_bytes": 1000}, "topics.retention_bytes"),
        ({"own_partitions": {"nothing": 3}}, "topics.own_partitions"),
        ({"own_partitions": {"quality.cube": 3}}, "one count for telemetry.slices, quality.minutes"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(settings, named):
    with pytest.raises(ContractError, match=named):
        TopicPlan(**settings)


def test_three_copies_let_one_node_fail():
    plan = TopicPlan(replication=3)
    assert {plan.configuration(t)["min.insync.replicas"] for t in ALL} == {"2"}


def test_a_topic_that_does_not_exist_says_what_to_do(kafka):
    with KafkaLog(kafka.settings, client_id="none", prefix="nowhere.") as log:
        for call in (log.partitions, log.end_offsets, lambda topic: log.submit([record(topic=topic)])):
            with pytest.raises(LogError, match="dipper topics apply"):
                call(SLICES)


def test_a_position_that_retention_overtook_continues_at_the_oldest_kept(kafka, admin):
    create_topics(kafka.settings, {"expired." + SIGNALS: 1})
    with KafkaLog(kafka.settings, client_id="expired", prefix="expired.") as log:
        append(log, *(record(b"%d" % i, topic=SIGNALS) for i in range(6)))
        early = log.reader({(SIGNALS, 0): 0})
        admin.delete_records({TopicPartition("expired." + SIGNALS, 0): 4})
        assert log.start_offsets(SIGNALS) == [4]
        late = log.reader({(SIGNALS, 0): 1})
        assert late.positions() == {(SIGNALS, 0): 4}
        for reader in (early, late):
            got = []
            while len(got) < 2:
                got += reader.poll(10, DEADLINE_S)
            assert [r.offset for r in got] == [4, 5]
        late.seek(SIGNALS, 0, 9)
        with pytest.raises(LogError, match="beyond the end 6"):
            late.poll(10, DEADLINE_S)
        early.close()
        late.close()


def test_a_key_of_a_compacted_topic_ends_with_an_empty_value(kafka):
    create_topics(kafka.settings, {"ended.incidents": 1}, cleanup_policy="compact")
    with KafkaLog(kafka.settings, client_id="ended", prefix="ended.") as log:
        append(log, record(b"", topic="incidents", key=b"i-1"))
        reader = log.reader({("incidents", 0): 0})
        [ended] = reader.poll(10, DEADLINE_S)
        reader.close()
    assert (ended.key, ended.value) == (b"i-1", b"")
    raw = KafkaConsumer(**client_options(kafka.settings), auto_offset_reset="earliest", consumer_timeout_ms=20_000)
    raw.assign([TopicPartition("ended.incidents", 0)])
    assert next(raw).value is None, "what compaction removes"
    raw.close()
