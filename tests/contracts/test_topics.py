from __future__ import annotations

import pytest

from contracts import topics
from contracts.columns import TABLES


@pytest.mark.parametrize(
    ("key", "crc"),
    # 123456789 is the check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
    [(b"123456789", 0xCBF43926), (b"", 0), (b"a", 0xE8B7BE43), (b"abc", 0x352441C2)],
)
def test_the_partition_is_the_known_crc32_modulo_the_partitions(key: bytes, crc: int) -> None:
    for partitions in (1, 2, 7, 16, 97):
        assert topics.partition_of(key, partitions) == crc % partitions


def test_names_are_unique_and_tables_exist() -> None:
    assert len(topics.BY_NAME) == len(topics.ALL)
    for topic in topics.ALL:
        assert topics.BY_NAME[topic.name] is topic
        assert topic.table is None or topic.table in TABLES


def test_every_topic_of_the_module_is_listed() -> None:
    declared = {value for value in vars(topics).values() if isinstance(value, topics.Topic)}
    assert declared == set(topics.ALL)


def test_state_topics_are_compacted_and_signals_keep_one_order() -> None:
    assert {t.name for t in topics.ALL if t.compacted} == {"incidents", "health.scores", "registry"}
    assert {t.name for t in topics.ALL if t.partitions == 1} == {"signals", "incidents", "incident.actions", "registry"}
