"""What a replay asks of a deployment: rows in pieces, so that the arithmetic runs in the process of who asks."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from contracts.entities import Change, Objective
from contracts.errors import ContractError
from contracts.incidents import action_from_json, action_to_json, incident_from_json, incident_to_json
from contracts.protocols import Store
from contracts.times import DAY_MS
from dipper.replay_inputs import Past
from history import queries, query_incidents, query_replay

Arguments = Mapping[str, Any]
Ask = Callable[[str, Arguments], Any]
CHANGEABLE = ("detector", "silence", "incident")
"""Tables of the policy that change what a replay finds."""
TABLES = (*CHANGEABLE, "self_test")
"""Tables that the operators' settings are made from."""
_MOST_INCIDENTS = 10_000


def commands(
    store: Store, policy: Callable[[], Mapping[str, Mapping[str, Any]]], objectives: Callable[[], Sequence[Objective]]
) -> dict[str, Callable[[Arguments], Any]]:
    """By name, for `dipper.operations`."""

    def past(arguments: Arguments) -> dict[str, Any]:
        start, end, tables = int(arguments["start"]), int(arguments["end"]), policy()
        found = query_incidents.incidents(store, start, end, limit=_MOST_INCIDENTS)
        if len(found) == _MOST_INCIDENTS:
            raise ContractError("bad_span", "from, to", f"a span of fewer than {_MOST_INCIDENTS} incidents", "more")
        actions = query_incidents.actions_between(store, start, end)
        changes = queries.changes(store, start - 2 * DAY_MS, end)
        return {
            "policy": {table: dict(tables[table]) for table in TABLES},
            "objectives": [dataclasses.asdict(o) for o in objectives()],
            "stored": query_replay.stored(store),
            "incidents": [incident_to_json(i) for i in found],
            "actions": [action_to_json(a) for a in actions],
            "changes": [{**dataclasses.asdict(c), "scope": dict(c.scope), "extra": dict(c.extra)} for c in changes],
        }

    def read(arguments: Arguments) -> dict[str, Any]:
        what, parameters = arguments["what"], arguments["parameters"]
        if what not in query_replay.READS:
            raise ContractError("bad_command", "what", f"one of {sorted(query_replay.READS)}", what)
        span = int(parameters.get("end", 0)) - int(parameters.get("start", 0))
        if span > query_replay.MAX_READ_MS:
            raise ContractError("bad_span", "end", f"at most {query_replay.MAX_READ_MS} ms after start", span)
        return {"arrow": base64.b64encode(packed(query_replay.read(store, what, parameters))).decode()}

    return {"replay.past": past, "replay.read": read}


def packed(rows: pa.Table) -> bytes:
    """Rows as one Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4", unify_dictionaries=True)
    with pa.ipc.new_stream(sink, rows.schema, options=options) as writer:
        writer.write_table(rows.unify_dictionaries())
    result: bytes = sink.getvalue().to_pybytes()
    return result


def unpacked(text: str) -> pa.Table:
    """Rows of a stream in base64. Raises ContractError."""
    try:
        return pa.ipc.open_stream(base64.b64decode(text, validate=True)).read_all()
    except (ValueError, pa.ArrowException) as error:
        raise ContractError("malformed", "rows", "an Arrow IPC stream in base64", str(error)) from None


def reader(ask: Ask) -> query_replay.Read:
    """Reads rows through a deployment."""

    def read(what: str, parameters: Mapping[str, Any]) -> pa.Table:
        return unpacked(ask("replay.read", {"what": what, "parameters": dict(parameters)})["arrow"])

    return read


def past_of(document: Mapping[str, Any]) -> Past:
    """The answer of `replay.past`."""
    return Past(
        incidents=tuple(incident_from_json(i) for i in document["incidents"]),
        actions=tuple(action_from_json(a) for a in document["actions"]),
        changes=tuple(Change(**c) for c in document["changes"]),
        objectives=tuple(Objective(**o) for o in document["objectives"]),
        stored={name: None if span is None else (span[0], span[1]) for name, span in document["stored"].items()},
    )
