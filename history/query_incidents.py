"""Queries about incidents, what was done to them, and the signals they came from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from contracts.columns import SIGNALS, names
from contracts.incidents import Action, Incident, action_from_json, incident_from_json
from contracts.protocols import Store

# ruff: noqa: S608 - column names are declared ones; values are parameters.
_INCIDENTS = """SELECT document FROM incidents FINAL
WHERE detected_at < {end:Int64} AND (resolved_at IS NULL OR resolved_at >= {start:Int64})
    AND ({state:String} = '' OR state = {state:String}) AND ({kind:String} = '' OR kind = {kind:String})
ORDER BY detected_at DESC, id DESC LIMIT {limit:Int64}"""
_OF_CUSTOMER = """SELECT document, JSONExtract(document, 'customers', 'Array(String)') AS named FROM incidents FINAL
WHERE detected_at < {end:Int64} AND (resolved_at IS NULL OR resolved_at >= {start:Int64})
    AND (has(named, {customer:String}) OR (empty(named) AND has({nameless:Array(String)}, kind)))
    AND merged_into = '' AND NOT JSONExtractBool(document, 'false_alarm')
ORDER BY detected_at DESC, id DESC LIMIT {limit:Int64}"""
_INCIDENT = "SELECT document FROM incidents FINAL WHERE id = {id:String}"
_ACTIONS = "SELECT document FROM incident_actions FINAL WHERE incident = {id:String} ORDER BY `at`, id"
_ACTIONS_BETWEEN = """SELECT document FROM incident_actions FINAL
WHERE `at` >= {start:Int64} AND `at` < {end:Int64} ORDER BY `at`, id"""
_SIGNALS = f"""SELECT {", ".join(f"`{name}`" for name in names(SIGNALS))} FROM signals FINAL
WHERE customer = {{customer:String}} AND service = {{service:String}} AND measure = {{measure:String}}
    AND minute >= {{start:Int64}} AND minute < {{end:Int64}} ORDER BY minute"""


def incidents(
    store: Store, start: int, end: int, *, state: str = "", kind: str = "", limit: int = 500
) -> tuple[Incident, ...]:
    """Those that were not over before `start` and were detected before `end`, newest first; of one state or kind."""
    arguments = {"start": start, "end": end, "state": state, "kind": kind, "limit": limit}
    return tuple(incident_from_json(json.loads(text)) for text in store.query(_INCIDENTS, arguments)["document"])


def incidents_of(
    store: Store, customer: str, start: int, end: int, *, nameless: Sequence[str] = (), limit: int = 500
) -> tuple[Incident, ...]:
    """Those of `incidents` that name a customer, or that are of a kind in `nameless` and name nobody; without false
    alarms and what was merged into others. Newest first, however many others had meanwhile."""
    arguments = {"customer": customer, "start": start, "end": end, "nameless": list(nameless), "limit": limit}
    return tuple(incident_from_json(json.loads(text)) for text in store.query(_OF_CUSTOMER, arguments)["document"])


def incident(store: Store, incident_id: str) -> Incident | None:
    """One by its id, or None."""
    found = store.query(_INCIDENT, {"id": incident_id})["document"]
    return incident_from_json(json.loads(found[0])) if found else None


def incident_actions(store: Store, incident_id: str) -> tuple[Action, ...]:
    """What people did to an incident, refused actions included, in the order of time."""
    found = store.query(_ACTIONS, {"id": incident_id})["document"]
    return tuple(action_from_json(json.loads(text)) for text in found)


def actions_between(store: Store, start: int, end: int) -> tuple[Action, ...]:
    """What people did to any incident in [start, end), refused actions included, in the order of time."""
    found = store.query(_ACTIONS_BETWEEN, {"start": start, "end": end})["document"]
    return tuple(action_from_json(json.loads(text)) for text in found)


def signals(store: Store, customer: str, service: str, measure: str, start: int, end: int) -> dict[str, list[Any]]:
    """Columns of contracts.columns.SIGNALS of one series in [start, end), by minute; what is not known is None."""
    arguments = {"customer": customer, "service": service, "measure": measure, "start": start, "end": end}
    columns = store.query(_SIGNALS, arguments)
    return {name: [None if value != value else value for value in column] for name, column in columns.items()}
