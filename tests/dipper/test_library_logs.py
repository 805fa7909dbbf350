"""What of the client libraries' logging reaches a user."""

import logging
import subprocess
import sys

import pytest

from dipper.library_logs import LibraryLogs


def record(name, message, *arguments, level=logging.ERROR, at=1_000.0, error=None):
    found = logging.LogRecord(
        name, level, __file__, 1, message, arguments, (type(error), error, None) if error else None
    )
    found.created = at
    return found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kafka.net.manager", "Connection failed: KafkaConnectionError: 111 ECONNREFUSED"),
        ("kafka.net.transport", "<KafkaTCPTransport [none]>: Error receiving network data closing socket"),
        ("kafka.net.selector", "Task <object> ran for 0.162s (>0.100s threshold). It is blocking the event loop"),
        ("kafka.cluster", "No node available for metadata refresh - backoff/retry"),
        ("aiokafka.client", "Unable connect to node with id 1: [Errno 111] Connect call failed ('127.0.0.1', 2)"),
        ("aiokafka.consumer.group_coordinator", "Group Coordinator Request failed: NodeNotReadyError: Attempt to send"),
        ("faust.app", "Timer commit is overlapping (interval=2.8 runtime=3.1)"),
    ],
)
def test_an_outage_of_a_broker_is_told_by_our_own_lines_alone(name, message):
    assert not LibraryLogs().filter(record(name, message))


def test_our_own_lines_pass_with_their_tracebacks():
    ours = record("ingest.log.kafka", "log: Kafka did not acknowledge within %d s", 10, error=OSError("away"))
    told = LibraryLogs()
    assert told.filter(ours)
    assert told.filter(ours)
    assert ours.exc_info is not None


def test_what_else_a_library_says_passes_once_a_minute_without_a_traceback():
    told = LibraryLogs()
    first = record("kafka.sasl", "Authentication failed: %s", "wrong password", error=ValueError("no"))
    assert told.filter(first)
    assert first.exc_info is None
    assert first.getMessage() == "Authentication failed: wrong password"
    assert not told.filter(record("kafka.sasl", "Authentication failed: %s", "again", at=1_030.0))
    assert told.filter(record("kafka.sasl", "Another thing", at=1_030.0))
    assert told.filter(record("kafka.sasl", "Authentication failed: %s", "again", at=1_061.0))


def test_a_broker_that_refuses_us_is_not_an_outage():
    message = "Connection failed: KafkaConnectionError: SSL: CERTIFICATE_VERIFY_FAILED"
    assert LibraryLogs().filter(record("kafka.net.manager", message))


def test_the_life_of_a_service_is_not_told():
    assert not LibraryLogs().filter(record("streams.faust_app", "[^_App]: Starting...", level=logging.INFO))
    assert LibraryLogs().filter(record("streams.faust_app", "partition 3: rebuilt", level=logging.INFO))


def test_a_process_filters_what_loggers_below_a_library_write():
    program = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(message)s")
from dipper.library_logs import tame
tame()
try:
    raise ConnectionResetError(104, "Connection reset by peer")
except OSError:
    logging.getLogger("kafka.net.transport").exception("Error receiving network data closing socket")
    logging.getLogger("kafka.net.other").exception("something else")
logging.getLogger("kafka.net.other").info("connected")
logging.getLogger("history.sink").warning("sink: works again")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["something else", "sink: works again"]
