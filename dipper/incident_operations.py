"""What commands and pages ask of incidents: list, show, act. An action is checked against the incident as history knows
it, then written to the log; the triage job applies it, and refuses it should somebody have been faster."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from contracts.errors import ContractError
from contracts.incidents import Action, Incident, action_to_json, apply, incident_to_json
from contracts.protocols import Log, LogUnavailable, Record, Store
from contracts.times import DAY_MS
from contracts.topics import INCIDENT_ACTIONS
from history import query_alert_quality, query_incidents

Arguments = Mapping[str, Any]
_SUBMIT_TIMEOUT_S = 30.0


def list_incidents(store: Store, now: int, arguments: Arguments) -> list[dict[str, Any]]:
    """Those of a span (the last day), newest first. `state`: one of STATES, `active` for all but resolved."""
    start = now - DAY_MS if arguments.get("start") is None else int(arguments["start"])
    end = now + DAY_MS if arguments.get("end") is None else int(arguments["end"])
    state = arguments.get("state") or ""
    found = query_incidents.incidents(
        store, start, end, state="" if state == "active" else state, kind=arguments.get("kind") or "",
        limit=int(arguments.get("limit") or 500),
    )  # fmt: skip
    return [incident_to_json(i) for i in found if state != "active" or i.active]


def show_incident(store: Store, incident_id: str) -> Incident:
    """One by its id. Raises ContractError `bad_id`."""
    found = query_incidents.incident(store, incident_id)
    if found is None:
        raise ContractError("bad_id", "id", "the id of an incident (dipper incidents list)", incident_id)
    return found


def new_action(incident: str, verb: str, author: str, at: int, **fields: Any) -> Action:
    """An action with an id of its own. Raises ContractError for what an action cannot state."""
    return Action(f"a-{secrets.token_hex(12)}", incident, verb, author, at, **fields)


def act(store: Store, log: Log, action: Action) -> Incident:
    """Check an action and write it; returns the incident as it will be. Raises IllegalTransition, ContractError,
    LogError."""
    after = apply(show_incident(store, action.incident), action)
    record_action(log, action)
    return after


def record_action(log: Log, action: Action) -> None:
    """Write an action that was checked already; it is durable when this returns. Raises LogError."""
    value = json.dumps(action_to_json(action), separators=(",", ":")).encode()
    record = Record(INCIDENT_ACTIONS.name, action.incident.encode(), value, action.at, 0)
    try:
        log.submit([record]).result(_SUBMIT_TIMEOUT_S)
    except TimeoutError:
        raise LogUnavailable(f"{INCIDENT_ACTIONS.name}: no answer within {_SUBMIT_TIMEOUT_S:g} s") from None


def commands(
    store: Store, clock: Callable[[], int], log: Callable[[], AbstractContextManager[tuple[Log, Any]]]
) -> dict[str, Callable[[Arguments], Any]]:
    """By name, for `dipper.operations`."""

    def run(arguments: Arguments) -> Any:
        fields = {name: arguments[name] for name in ("text", "until", "cause") if arguments.get(name) is not None}
        action = new_action(arguments["id"], arguments["verb"], arguments["author"], clock(), **fields)
        with log() as (opened, _):
            return incident_to_json(act(store, opened, action))

    return {
        "incidents": lambda arguments: list_incidents(store, clock(), arguments),
        "incident": lambda arguments: incident_to_json(show_incident(store, arguments["id"])),
        "incident.act": run,
        "incidents.quality": lambda arguments: [
            query_alert_quality.as_json(week)
            for week in query_alert_quality.alert_quality(store, clock(), int(arguments.get("weeks") or 4))
        ],
    }
