"""The OpenAPI document of the gateway, served at /openapi.json. docs/wire.md tells the same story in sentences."""

from __future__ import annotations

from typing import Any

from contracts import auth
from contracts.columns import (
    CELL_DIMENSIONS,
    COUNTS,
    EXEMPLARS_MEASURES,
    HISTOGRAM_NAMES,
    SLICE_DIMENSIONS,
    VITALS_MEASURES,
)
from contracts.entities import CHANGE_KINDS, MAX_NOTE_CHARS
from contracts.histogram import CELLS
from contracts.report import (
    MAX_CELL_COUNT,
    MAX_COUNT,
    MAX_DROP_CAUSES,
    MAX_EARLIER_BOOTS,
    MAX_EXEMPLARS,
    MAX_SLICES,
    MAX_TEXT,
    VERSION,
)
from ingest.errors import PROBLEM_TYPE, TITLES

JSON = "application/json"
Schema = dict[str, Any]

COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_COUNT}
SEQ: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_COUNT}
TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}
ID: Schema = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"}


def _object(properties: Schema, *optional: str, closed: bool = False) -> Schema:
    schema: Schema = {
        "type": "object",
        "properties": properties,
        "required": [n for n in properties if n not in optional],
    }
    return {**schema, "additionalProperties": False} if closed else schema


def _list(items: Schema, most: int) -> Schema:
    return {"type": "array", "items": items, "maxItems": most}


def _report() -> Schema:
    causes = {"type": "object", "additionalProperties": COUNT, "maxProperties": MAX_DROP_CAUSES}
    histogram = _object(
        {
            "lengths": _list({"type": "integer", "minimum": 0, "maximum": CELLS}, MAX_SLICES),
            "cells": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": CELLS - 1}},
            "counts": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": MAX_CELL_COUNT}},
        }
    )
    slices = {
        **{n: _list(TEXT, MAX_SLICES) for n in SLICE_DIMENSIONS},
        **{c.name: {**_list(COUNT, MAX_SLICES), "description": c.meaning} for c in COUNTS},
        **dict.fromkeys(HISTOGRAM_NAMES, histogram),
    }
    totals = {
        "requests": COUNT,
        "slices": COUNT,
        "dropped_requests": causes,
        "dropped_slices": causes,
        "dropped_reports": causes,
    }
    boot = {
        "boot": ID,
        "oldest_spooled_seq": {**SEQ, "type": ["integer", "null"]},
        "dropped_reports": COUNT,
        "dropped_requests": COUNT,
        "dropped_slices": COUNT,
    }
    exemplars = {c.name: _list(COUNT if c.dtype == "int64" else TEXT, MAX_EXEMPLARS) for c in EXEMPLARS_MEASURES}
    exemplars["failure"] = _list({"type": "string", "maxLength": MAX_TEXT}, MAX_EXEMPLARS)
    return _object(
        {
            "v": {"const": VERSION},
            "device": ID,
            "boot": ID,
            "seq": SEQ,
            "start": {**COUNT, "description": "ms UTC by the box's clock"},
            "end": {**COUNT, "description": "ms UTC; in the same 10 s grid cell as start"},
            "oldest_spooled_seq": SEQ,
            "model": TEXT,
            "firmware": TEXT,
            "agent": TEXT,
            "totals": _object(totals, "dropped_requests", "dropped_slices", "dropped_reports"),
            "earlier_boots": _list(_object(boot, "oldest_spooled_seq"), MAX_EARLIER_BOOTS),
            "vitals": {
                "type": "object",
                "properties": {c.name: {"type": "number", "description": c.meaning} for c in VITALS_MEASURES},
                "additionalProperties": False,
            },
            "slices": _object(slices, closed=True),
            "exemplars": {"anyOf": [_object({}, closed=True) | {"maxProperties": 0}, _object(exemplars, closed=True)]},
        },
        "earlier_boots",
        "vitals",
        "exemplars",
    )


def _change() -> Schema:
    time: Schema = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer", "minimum": 0}]}
    return _object(
        {
            "id": ID,
            "kind": {"enum": list(CHANGE_KINDS)},
            "scope": {
                "type": "object",
                "properties": dict.fromkeys(CELL_DIMENSIONS, TEXT),
                "additionalProperties": False,
            },
            "start": time,
            "end": {"anyOf": [*time["anyOf"], {"type": "null"}]},
            "author": {**TEXT, "description": "default: the name of the token"},
            "reference": {"type": "string", "maxLength": MAX_NOTE_CHARS},
            "note": {"type": "string", "maxLength": MAX_NOTE_CHARS},
        },
        "scope", "end", "author", "reference", "note",
    )  # fmt: skip


PROBLEM = _object(
    {
        "type": {"type": "string", "description": "urn:dipper:problem: and the reason"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "the field, what was expected, what came"},
        "reason": {"type": "string", "description": "stable identifier"},
        "field": {"type": "string", "description": "path of what is wrong; empty when it is no field"},
    }
)
_SERVER_HEADERS: Schema = {
    auth.SERVER_TIME_HEADER: {"description": "the gateway's clock, ms UTC", "schema": COUNT},
    auth.VERSIONS_HEADER: {
        "description": "report versions the gateway reads, comma-separated",
        "schema": {"type": "string"},
    },
}
_RETRY: Schema = {"retry-after": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}


def _answer(description: str, schema: Schema, kind: str = JSON) -> Schema:
    return {"description": description, "headers": _SERVER_HEADERS, "content": {kind: {"schema": schema}}}


def _problems(*statuses: int) -> Schema:
    answers = {}
    for status in statuses:
        answer = _answer(TITLES[status], {"$ref": "#/components/schemas/Problem"}, PROBLEM_TYPE)
        if status in (429, 503):
            answer["headers"] = _SERVER_HEADERS | _RETRY
        answers[str(status)] = answer
    return answers


def _header(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "header", "required": True, "description": description, "schema": schema}


def _text_page(what: str) -> Schema:
    return {"summary": what, "responses": {"200": _answer(what, {"type": "string"}, "text/plain")}}


def _json_page(what: str, *problems: int) -> Schema:
    return {"summary": what, "responses": {"200": _answer(what, {"type": "object"}), **_problems(*problems)}}


def _status(*values: str) -> Schema:
    properties: Schema = {"status": {"enum": list(values)}, "rejected_rows": {"type": "integer", "minimum": 1}}
    return _object(properties, "rejected_rows")


DOCUMENT: Schema = {
    "openapi": "3.1.0",
    "info": {
        "title": "Dipper gateway",
        "version": "1",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        "description": "Where boxes report and people declare changes. Bodies of telemetry may be gzip-compressed.",
    },
    "paths": {
        "/v1/telemetry": {
            "post": {
                "summary": "Send a report",
                "security": [{"device": []}],
                "parameters": [
                    _header(auth.DEVICE_HEADER, "device id", ID),
                    _header(auth.BOOT_HEADER, "random id of the agent's start", ID),
                    _header(auth.SEQ_HEADER, "1, 2, 3.. per boot", SEQ),
                    _header(auth.SENT_AT_HEADER, "the box's clock on this attempt, ms UTC", COUNT),
                ],
                "requestBody": {
                    "required": True,
                    "content": {JSON: {"schema": {"$ref": "#/components/schemas/Report"}}},
                },
                "responses": {
                    "200": _answer("Stored now, or before", _status("stored", "duplicate")),
                    **_problems(400, 401, 408, 409, 413, 415, 422, 429, 503),
                },
            }
        },
        "/v1/changes": {
            "post": {
                "summary": "Declare a change of the network; the same id again replaces it",
                "security": [{"operator": []}],
                "requestBody": {
                    "required": True,
                    "content": {JSON: {"schema": {"$ref": "#/components/schemas/Change"}}},
                },
                "responses": {
                    "200": _answer("Stored", _status("stored")),
                    **_problems(400, 401, 408, 413, 415, 422, 503),
                },
            }
        },
        "/v1/enroll": {
            "post": {
                "summary": "Exchange a one-time token for the device's key",
                "security": [],
                "requestBody": {
                    "required": True,
                    "content": {
                        JSON: {
                            "schema": _object(
                                {
                                    "device": ID,
                                    "token": {
                                        "type": "string",
                                        "minLength": 1,
                                        "maxLength": 256,
                                        "pattern": "^[\\x20-\\x7e]+$",
                                    },
                                }
                            )
                        }
                    },
                },
                "responses": {
                    "201": _answer(
                        "The key, once",
                        _object({"device": ID, "key_id": {"type": "string"}, "key": {"type": "string"}}, closed=True),
                    ),
                    **_problems(400, 401, 408, 413, 415, 422, 429, 503),
                },
            }
        },
        "/openapi.json": {"get": _json_page("This document")},
        "/healthz": {"get": _json_page("The process answers")},
        "/readyz": {"get": _json_page("Reports are taken", 503)},
        "/metrics": {"get": _text_page("Counters in Prometheus' text format")},
    },
    "components": {
        "schemas": {"Problem": PROBLEM, "Report": _report(), "Change": _change()},
        "securitySchemes": {
            "device": {
                "type": "apiKey",
                "in": "header",
                "name": auth.SIGNATURE_HEADER,
                "description": "hex HMAC-SHA256 with the device's key over `dipper-1`, device, boot, seq and "
                "sent_at, each with a line feed, then the body as sent",
            },
            "operator": {"type": "http", "scheme": "bearer", "description": "an operator's token, scope changes:write"},
        },
    },
}
