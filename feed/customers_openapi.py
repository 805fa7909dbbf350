"""The OpenAPI document of what customers read, served at /v1/customers/openapi.json."""

from __future__ import annotations

from typing import Any

from feed.errors import PROBLEM_TYPE, TITLES
from history.tenant import STEPS_MS

Schema = dict[str, Any]
_TIME: Schema = {"type": "string", "format": "date-time"}
_RATIO: Schema = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_ID: Schema = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


def _query(name: str, meaning: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": meaning, "schema": schema}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_START = _query("start", "default: a day before end", _TIME)
_END = _query("end", "default: now", _TIME)
_STEP = _object(
    start=_TIME,
    requests={"type": "integer"},
    failures={"type": "integer"},
    coverage=_RATIO,
    provisional={"type": "boolean"},
)
_ACCOUNT = _object(
    objective={"type": "object"},
    status={"enum": ["open", "provisional", "sealed"]},
    verdict={"enum": ["met", "missed", "undecided", "no_data"]},
    attainment=_object(lower=_RATIO, upper=_RATIO),
    coverage=_RATIO,
    minutes={"type": "object", "additionalProperties": {"type": "integer"}},
    days=_list({"type": "object"}),
    lost=_list({"type": "object"}),
    seal={"type": ["object", "null"]},
)
_INCIDENT = _object(
    id={"type": "string"}, kind={"type": "string"}, state={"type": "string"}, onset=_TIME, headline={"type": "object"}
)
_OLDEST: Schema = {
    "type": ["string", "null"],
    "format": "date-time",
    "description": "when truncated: detected_at of the last one listed; an end just after it asks for the rest",
}
_NAME: Schema = {"type": "string"}


def _get(summary: str, schema: Schema, *parameters: Schema) -> Schema:
    refused = {
        str(status): {"description": TITLES[status], "content": {PROBLEM_TYPE: {"schema": {"type": "object"}}}}
        for status in (400, 401, 404, 429, 503)
    }
    return {
        "get": {
            "summary": summary,
            "parameters": [_ID, *parameters],
            "security": [{"token": []}],
            "responses": {
                "200": {"description": summary, "content": {"application/json": {"schema": schema}}},
                **refused,
            },
        }
    }


DOCUMENT: Schema = {
    "openapi": "3.1.0",
    "info": {"title": "Dipper: what customers read", "version": "1"},
    "paths": {
        "/v1/customers/{id}/quality": _get(
            "Counts, failures, latency and coverage over time",
            _object(customer=_NAME, step=_NAME, steps=_list(_STEP)),
            _START,
            _END,
            _query("step", "default: 5m", {"enum": list(STEPS_MS)}),
            _query("service", "default: all", _NAME),
        ),
        "/v1/customers/{id}/sla": _get(
            "A month against its objectives",
            _object(customer=_NAME, month=_NAME, status=_NAME, objectives=_list(_ACCOUNT)),
            _query("month", "YYYY-MM; default: the running one", {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"}),
        ),
        "/v1/customers/{id}/months": _get("Months with a service level", _object(customer=_NAME, months=_list(_NAME))),
        "/v1/customers/{id}/incidents": _get(
            "Incidents that touched the customer, the newest detected first",
            _object(customer=_NAME, incidents=_list(_INCIDENT), truncated={"type": "boolean"}, oldest=_OLDEST),
            _START,
            _END,
        ),
        "/v1/customers/{id}/services": _get("Services with traffic", _object(customer=_NAME, services=_list(_NAME))),
    },
    "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
}
