"""The log on Kafka keeps the contract of every log, on a real broker."""

import pytest

from ingest.log.kafka import KafkaLog
from tests.ingest.log_contract import REPORTS, SIGNALS, SLICES, LogContract
from tests.services.kafka import create_topics


@pytest.fixture
def make_log(kafka, request):
    prefix = f"{request.node.name}."
    create_topics(kafka.settings, {prefix + SLICES: 4, prefix + REPORTS: 4, prefix + SIGNALS: 1})
    opened = []

    def make():
        log = KafkaLog(kafka.settings, client_id="contract", prefix=prefix)
        opened.append(log)
        return log

    yield make
    for log in opened:
        log.close()


class TestKafkaLog(LogContract):
    pass
