"""Records of topics `incidents` and `incident.actions` as rows."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from contracts.errors import ContractError
from contracts.incidents import action_from_json, action_to_json, incident_from_json, incident_to_json
from contracts.protocols import StoredRecord


def incident_rows(record: StoredRecord) -> pa.RecordBatch:
    """A row of table `incidents`. Raises ContractError."""
    incident = incident_from_json(_document(record))
    values = {
        "id": pa.array([incident.id]),
        "version": pa.array([incident.version], pa.int64()),
        "kind": pa.array([incident.kind]),
        "state": pa.array([incident.state]),
        "level": pa.array([incident.severity.level]),
        "onset": pa.array([incident.onset], pa.int64()),
        "detected_at": pa.array([incident.detected_at], pa.int64()),
        "newest": pa.array([incident.newest], pa.int64()),
        "resolved_at": pa.array([incident.resolved_at], pa.int64()),
        "merged_into": pa.array([incident.merged_into or ""]),
        "document": pa.array([json.dumps(incident_to_json(incident), separators=(",", ":"))]),
    }
    return pa.RecordBatch.from_pydict(values)


def action_rows(record: StoredRecord) -> pa.RecordBatch:
    """A row of table `incident_actions`. Raises ContractError."""
    action = action_from_json(_document(record))
    values = {
        "id": pa.array([action.id]),
        "incident": pa.array([action.incident]),
        "verb": pa.array([action.verb]),
        "author": pa.array([action.author]),
        "at": pa.array([action.at], pa.int64()),
        "document": pa.array([json.dumps(action_to_json(action), separators=(",", ":"))]),
    }
    return pa.RecordBatch.from_pydict(values)


def _document(record: StoredRecord) -> Any:
    try:
        return json.loads(record.value)
    except ValueError as error:
        raise ContractError("malformed", record.topic, "a JSON object in UTF-8", str(error)) from None
