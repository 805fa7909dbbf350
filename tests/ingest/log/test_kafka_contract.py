"""The log on Kafka keeps the contract of every log, on a real broker."""

import pytest

from ingest.log.kafka import KafkaLog
from tests.ingest.log_contract import REPORTS, SIGNALS, SLICES, LogContract, append, read, record
from tests.services.kafka import create_topics
from tests.services.kafka.stranger import send_odd


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
    def test_headers_of_another_writer_hold_no_reader_up(self, make_log, kafka, request):
        log = make_log()
        odd = [("kind", None), ("latin", b"caf\xe9"), ("n", "é".encode())]
        send_odd(kafka.settings, f"{request.node.name}.{SLICES}", b"odd", odd, partition=0)
        append(log, record(b"next", partition=0))
        stored = [(r.value, dict(r.headers)) for r in read(log)]
        assert stored == [(b"odd", {"kind": "", "latin": "caf\ufffd", "n": "é"}), (b"next", {})]
