"""Copies of topics: said where they are too few, and never asked for more of than there are. Against a fake of Kafka's
administration, for brokers of a test are few."""

import contextlib
from types import SimpleNamespace

import pytest

from contracts.topics import ALL
from ingest.log import kafka_topics
from ingest.log.kafka_topics import TopicPlan, apply, check


class Admin:
    """As KafkaAdminClient, of a cluster with so many brokers. `topics`: name -> (partitions, copies, settings)."""

    def __init__(self, brokers):
        self.brokers, self.topics = brokers, {}

    def describe_cluster(self):
        return {"brokers": [{"node_id": n} for n in range(self.brokers)]}

    def list_topics(self):
        return list(self.topics)

    def create_topics(self, wanted, *, wait_for_metadata):
        for name, w in wanted.items():
            self.topics[name] = w["num_partitions"], w["replication_factor"], dict(w["configs"])

    def describe_topics(self, names):
        return [
            {"name": n, "partitions": [{"replica_nodes": list(range(copies)), "leader_id": 0}] * count}
            for n in names
            for count, copies, _ in [self.topics[n]]
        ]

    def describe_configs(self, resources, *, config_filter):
        names = [resource.name for resource in resources]
        return {"topic": {n: {k: {"value": v} for k, v in self.topics[n][2].items()} for n in names}}

    def alter_configs(self, resources):
        for resource in resources:
            self.topics[resource.name][2].update(resource.configs)

    def least(self):
        """min.insync.replicas of all topics."""
        return {settings["min.insync.replicas"] for _, _, settings in self.topics.values()}


@pytest.fixture
def kafka(monkeypatch):
    made = SimpleNamespace(admin=None, settings=None)
    monkeypatch.setattr(kafka_topics, "_admin", lambda _: contextlib.nullcontext(made.admin))
    return made


@pytest.mark.parametrize(("brokers", "replication", "said"), [(3, 1, True), (5, 1, True), (1, 1, False), (3, 3, False)])
def test_one_copy_where_three_brokers_could_keep_three_is_remarked_by_apply_and_by_check(
    kafka, brokers, replication, said
):
    kafka.admin = Admin(brokers)
    plan = TopicPlan(replication=replication)
    remarks = [o.detail for o in apply(kafka.settings, plan) if o.action == "remark"]
    assert len(remarks) == said
    assert [(f.problem, f.fatal) for f in check(kafka.settings, plan)] == [(why, False) for why in remarks]
    assert all(f"{brokers} brokers" in why and "--replication 3" in why for why in remarks)


def test_topics_with_fewer_copies_than_planned_are_named_by_apply_and_go_on_taking_records(kafka):
    kafka.admin = Admin(3)
    apply(kafka.settings, TopicPlan(replication=1))
    plan = TopicPlan(replication=3)
    outcomes = apply(kafka.settings, plan)
    assert {(o.action, o.detail) for o in outcomes} == {
        ("unchanged", "keeps its 1 copy, planned are 3; reassign its replicas")
    }
    assert len(outcomes) == len(ALL)
    assert kafka.admin.least() == {"1"}, "two copies in sync cannot be had of one"
    assert {f.problem for f in check(kafka.settings, plan)} == {"has 1 copy, planned are 3; reassign its replicas"}


def test_a_plan_with_fewer_copies_takes_no_safety_from_topics_that_have_more(kafka):
    kafka.admin = Admin(3)
    apply(kafka.settings, TopicPlan(replication=3))
    assert kafka.admin.least() == {"2"}
    assert {o.action for o in apply(kafka.settings, TopicPlan(replication=1))} == {"unchanged", "remark"}
    assert kafka.admin.least() == {"2"}
