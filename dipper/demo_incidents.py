"""What a demo's run says of incidents: `incidents.json`, and `score.json` against what the simulator did."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contracts.incidents import Incident, incident_to_json
from contracts.times import rfc3339
from dipper.score import as_text, score

# A run of some hours has no yesterday to learn from, and begins with a quiet quarter of an hour.
WARM_UP_MINUTES = 10
_TIMES = frozenset({"onset", "detected_at", "resolved_at", "newest", "muted_until", "since", "start", "at", "until"})
_FIRST = (
    "id", "kind", "state", "customers", "measures", "onset", "detected_at", "resolved_at", "severity", "verdict",
    "causes", "changes",
)  # fmt: skip


def for_demo(policy: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The policy of a demo, which has less past than a network."""
    return {**policy, "detector": {**policy["detector"], "warm_up_minutes": WARM_UP_MINUTES}}


def write(out: Path, truth: Mapping[str, Any], incidents: Sequence[Incident]) -> dict[str, Any]:
    """Write both files; returns the score."""
    (out / "incidents.json").write_text(
        json.dumps([for_people(i) for i in incidents], indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    result = score(truth, incidents)
    (out / "score.json").write_text(as_text(result), encoding="utf-8")
    return result


def for_people(incident: Incident) -> dict[str, Any]:
    """An incident as files for people have it: times in RFC 3339, the fields that say most first."""
    document = incident_to_json(incident)
    ordered = {name: document[name] for name in _FIRST} | document
    result: dict[str, Any] = _dated(ordered)
    return result


def _dated(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _dated(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_dated(item) for item in value]
    return rfc3339(value) if name in _TIMES and isinstance(value, int) else value
