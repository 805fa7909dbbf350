"""An action taken on a page is in the log, as the job reads it."""

import json

import pytest

from contracts import topics
from contracts.incidents import Action, action_from_json
from contracts.protocols import LogUnavailable
from dipper import incident_operations
from dipper.incident_operations import record_action
from tests.history.builders import MemoryLog

ACTION = Action("a1", "inc-1", "note", "王伟", 1_700_000_000_000, "看一下")


def test_an_action_is_appended_under_its_incident_and_reads_back_the_same():
    log = MemoryLog(partitions=1)
    record_action(log, ACTION)
    (record,) = log.reader({(topics.INCIDENT_ACTIONS.name, 0): 0}).poll(10, 0.0)
    assert (record.key, record.timestamp_ms) == (b"inc-1", ACTION.at)
    assert action_from_json(json.loads(record.value)) == ACTION


def test_a_log_that_does_not_answer_is_told(monkeypatch):
    class Silent:
        def submit(self, records):
            from concurrent.futures import Future

            return Future()

    monkeypatch.setattr(incident_operations, "_SUBMIT_TIMEOUT_S", 0.01)
    with pytest.raises(LogUnavailable, match=r"incident\.actions: no answer"):
        record_action(Silent(), ACTION)
