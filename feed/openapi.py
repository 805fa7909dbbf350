"""The OpenAPI document of the feed, served at /v1/health/openapi.json."""

from __future__ import annotations

from typing import Any

from contracts.auth import ID_PATTERN
from contracts.health import MAX_VERSION, REASONS, STATES
from contracts.releases import NEW_IN, VERDICTS
from feed.errors import PROBLEM_TYPE, TITLES

Schema = dict[str, Any]
JSON = "application/json"
_RATIO: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_COUNT: Schema = {"type": "number", "minimum": 0}
_TIME: Schema = {"type": "integer", "minimum": 0, "description": "ms UTC"}
_VERSION: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_VERSION}
_ID: Schema = {"type": "string", "pattern": "^" + ID_PATTERN.pattern.replace(r"\Z", "$")}
_STATE: Schema = {"enum": list(STATES)}


def _object(properties: Schema, *optional: str) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


_BRIEF = _object(
    {"device": _ID, "value": _RATIO, "state": _STATE, "share": _RATIO, "version": _VERSION, "expires_at": _TIME}
)
_SCORE = _object(
    {
        "device": _ID,
        "value": {**_RATIO, "description": "0 bad, 0.5 nobody knows, 1 good"},
        "interval": {"type": "array", "items": _RATIO, "minItems": 2, "maxItems": 2},
        "state": _STATE,
        "share": {**_RATIO, "description": "part of its usual traffic the box should get"},
        "reasons": {
            "type": "array",
            "items": _object({"code": {"enum": list(REASONS)}, "words": {"type": "string"}}),
        },
        "evidence": _object({"requests": _COUNT, "failures": _COUNT, "expected": _COUNT}),
        "version": _VERSION,
        "computed_at": _TIME,
        "expires_at": {**_TIME, "description": "from here the score fades to neutral within five minutes"},
        "box": {"type": "object", "additionalProperties": {"type": "string"}},
        "usual_per_minute": {
            "type": "object",
            "additionalProperties": _COUNT,
            "description": "requests a minute by customer while the box served all of its traffic; only of a box that "
            "gets less or did a while ago",
        },
    },
    "usual_per_minute",
)
_DEVICES = _object(
    {"version": _VERSION, "computed_at": _TIME, "devices": {"type": "array", "items": {"type": "object"}}}
)
_DEVICES["properties"]["devices"]["items"] = {
    "anyOf": [{"$ref": "#/components/schemas/Score"}, {"$ref": "#/components/schemas/Brief"}]
}
_CHANGE = _object(
    {
        "at": _TIME,
        "value": _RATIO,
        "state": _STATE,
        "share": _RATIO,
        "reasons": {"type": "array", "items": {"enum": list(REASONS)}},
    }
)
_STRATUM = _object(
    {
        "device_region": {"type": "string"},
        "device_isp": {"type": "string"},
        "boxes": {"type": "integer", "description": "with a score that is valid"},
        "reduced": {"type": "integer"},
        "drained": {"type": "integer"},
        "expired": {"type": "integer", "description": "boxes not heard of, whose score expired: in no other count"},
        "mean_value": {"type": ["number", "null"], "description": "null: no score is valid"},
    }
)
_STRATA = _object(
    {
        "version": _VERSION,
        "computed_at": _TIME,
        "age_s": {"type": ["integer", "null"]},
        "strata": {"type": "array", "items": _STRATUM},
        "budget": {"type": ["object", "null"]},
        "exhausted": {"type": "array", "items": {"type": "object"}},
    }
)
_TEXT_OF: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_INSTANT: Schema = {"type": "string", "format": "date-time"}
_ROLL_OUT: Schema = {
    "id": _ID,
    "kind": {"enum": list(NEW_IN)},
    "scope": _TEXT_OF,
    "start": _INSTANT,
    "end": {"type": ["string", "null"], "format": "date-time"},
    "author": {"type": "string"},
    "reference": {"type": "string"},
    "note": {"type": "string"},
}
_MATCHED: Schema = dict.fromkeys(
    ("changed_bad", "changed_total", "unchanged_bad", "unchanged_total", "expected_bad"), _COUNT
)
_RELEASE = _object(
    {
        **_ROLL_OUT,
        "judged_until": _INSTANT,
        "verdict": {"enum": list(VERDICTS)},
        "why": {"type": "string"},
        "matched_on": {"type": "array", "items": {"type": "string"}},
        "arithmetic": _object(
            {
                **_MATCHED,
                "ratio": {"type": ["number", "null"], "description": "changed_bad of expected_bad"},
                "harm_e": _COUNT,
                "harm_needed": _COUNT,
                "fine_e": _COUNT,
                "fine_needed": _COUNT,
                "unmatched_requests": _COUNT,
                "changed_boxes": _COUNT,
                "changed_vanished": _COUNT,
                "unchanged_boxes": _COUNT,
                "unchanged_vanished": _COUNT,
                "unmatched_boxes": _COUNT,
                "unmatched_vanished": _COUNT,
            }
        ),
        "margin": _COUNT,
        "least_requests": _COUNT,
        "least_boxes": _COUNT,
        "steps": {
            "type": "array",
            "description": "every five minutes",
            "items": _object({"at": _INSTANT, **_MATCHED, "harm_e": _COUNT, "fine_e": _COUNT}),
        },
        "groups": {"type": "array", "items": _object({"where": _TEXT_OF, **_MATCHED})},
    }
)
_RELEASES = _object({"releases": {"type": "array", "items": _object(_ROLL_OUT)}})
_PROBLEM = _object(
    {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "the field, what was expected, what came"},
        "reason": {"type": "string", "description": "stable identifier"},
        "field": {"type": "string"},
    }
)


def _answer(description: str, schema: Schema, kind: str = JSON) -> Schema:
    return {"description": description, "content": {kind: {"schema": schema}}}


def _problems(*statuses: int) -> Schema:
    return {str(s): _answer(TITLES[s], {"$ref": "#/components/schemas/Problem"}, PROBLEM_TYPE) for s in statuses}


def _query(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _filter(name: str, items: Schema) -> Schema:
    schema = {"type": "array", "items": items, "maxItems": 20}
    return {**_query(name, "only boxes with one of these", schema), "style": "form", "explode": True}


_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[ -~]+$"}
_SINCE = _query("since", "only what changed after this version of this feed; 410: take a snapshot", _VERSION)

DOCUMENT: Schema = {
    "openapi": "3.1.0",
    "info": {
        "title": "Dipper health feed",
        "version": "1",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        "description": "Health scores of boxes for the scheduler: a snapshot, then deltas or a stream.",
    },
    "security": [{"token": []}],
    "paths": {
        "/v1/health/devices": {
            "get": {
                "summary": "All boxes, or those that changed since a version; JSON or Arrow, ETag, gzip",
                "parameters": [
                    _SINCE,
                    _query("view", "brief: what a placement needs", {"enum": ["full", "brief"]}),
                    _filter("state", _STATE),
                    *(_filter(name, _NAME) for name in ("model", "device_isp", "device_region")),
                ],
                "responses": {
                    "200": {
                        "description": "Boxes",
                        "headers": {"etag": {"schema": {"type": "string"}}},
                        "content": {
                            JSON: {"schema": {"$ref": "#/components/schemas/Devices"}},
                            "application/vnd.apache.arrow.stream": {"schema": {}},
                        },
                    },
                    "304": {"description": "Nothing changed since the ETag"},
                    **_problems(400, 401, 406, 410, 429, 503),
                },
            }
        },
        "/v1/health/stream": {
            "get": {
                "summary": "Changes as server-sent events; each event's id is a version to resume from",
                "parameters": [
                    _SINCE,
                    _query("view", "what rows hold", {"enum": ["brief", "full"]}),
                    {
                        "name": "last-event-id", "in": "header", "required": False,
                        "description": "the version to go on from; without it and `since`: from now",
                        "schema": _VERSION,
                    },
                ],
                "responses": {
                    "200": _answer("Events `scores`, data as in a delta", {"type": "string"}, "text/event-stream"),
                    **_problems(400, 401, 410, 429, 503),
                },
            }
        },
        "/v1/health/devices/{device}": {
            "get": {
                "summary": "One box: its score with reasons, and what changed of late",
                "parameters": [{"name": "device", "in": "path", "required": True, "schema": _ID}],
                "responses": {
                    "200": _answer(
                        "The box",
                        _object(
                            {
                                "now": _TIME,
                                "expired": {"type": "boolean"},
                                "score": {"$ref": "#/components/schemas/Score"},
                                "history": {"type": "array", "items": _CHANGE},
                            }
                        ),
                    ),
                    **_problems(400, 401, 404, 429, 503),
                },
            }
        },
        "/v1/health/strata": {
            "get": {
                "summary": "Boxes by region and ISP, and how much of the removal budget is used",
                "responses": {"200": _answer("Strata", _STRATA), **_problems(400, 401, 429, 503)},
            }
        },
        "/v1/releases": {
            "get": {
                "summary": "Roll-outs of the last thirty days, newest first: firmware, applications, scheduling rules",
                "responses": {"200": _answer("Roll-outs", _RELEASES), **_problems(400, 401, 429, 503)},
            }
        },
        "/v1/releases/{change}": {
            "get": {
                "summary": "A roll-out by its change: what it reached against matched others, with a verdict",
                "parameters": [{"name": "change", "in": "path", "required": True, "schema": _ID}],
                "responses": {
                    "200": _answer("The verdict with its arithmetic", _RELEASE),
                    **_problems(400, 401, 404, 429, 503),
                },
            }
        },
        "/v1/health/openapi.json": {
            "get": {
                "summary": "This document",
                "security": [],
                "responses": {"200": _answer("OpenAPI", {"type": "object"})},
            }
        },
    },
    "components": {
        "schemas": {"Problem": _PROBLEM, "Score": _SCORE, "Brief": _BRIEF, "Devices": _DEVICES},
        "securitySchemes": {
            "token": {"type": "http", "scheme": "bearer", "description": "an API token with scope feed:read"}
        },
    },
}  # fmt: skip
