"""Single topics for tests that need few: the declared set is made by ingest.log.kafka_topics.apply."""

from __future__ import annotations

from collections.abc import Mapping

from contracts.kafka import KafkaSettings, client_options
from kafka import KafkaAdminClient


def create_topics(
    settings: KafkaSettings, partitions: Mapping[str, int], copies: int = 1, **configuration: str
) -> None:
    """Make topics with their numbers of partitions and wait until they can be used. `configuration`: further settings,
    `_` for `.` in names."""
    configs = {"max.message.bytes": str(24 * 1024 * 1024)}
    configs |= {name.replace("_", "."): value for name, value in configuration.items()}
    client = KafkaAdminClient(**client_options(settings), client_id="tests")
    try:
        client.create_topics(
            {
                name: {"num_partitions": count, "replication_factor": copies, "configs": configs}
                for name, count in partitions.items()
            },
            wait_for_metadata=True,
        )
    finally:
        client.close()
