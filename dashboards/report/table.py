"""The report as CSV, for programs and spreadsheets: one table, plain numbers, times as RFC 3339 in UTC."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

COLUMNS = (
    "row", "customer", "month", "objective", "service", "measure", "start", "end", "good", "bad", "unmeasured",
    "no_traffic", "excluded", "pending", "target", "lower", "upper", "coverage", "verdict", "credit_due",
    "credit_at_most", "trials", "bad_trials", "incidents", "status", "sha256",
)  # fmt: skip
_RISKY = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run such a text as a formula


def table(document: Mapping[str, Any]) -> str:
    """Rows `month` (one per objective), `day` (`start`: its date) and `lost` (one per episode)."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for account in document["objectives"]:
        writer.writerows({name: _safe(value) for name, value in row.items()} for row in _rows(document, account))
    return out.getvalue()


def _rows(document: Mapping[str, Any], account: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    objective = account["objective"]
    same = {
        "customer": document["customer"],
        "month": document["month"],
        "objective": objective["name"],
        "service": objective["service"],
        "measure": objective["measure"],
    }
    yield {
        **same,
        "row": "month",
        "start": account["start"],
        "end": account["end"],
        **account["minutes"],
        "target": objective["target"],
        **account["attainment"],
        "coverage": account["coverage"],
        "verdict": account["verdict"],
        "credit_due": account["credits"]["due"],
        "credit_at_most": account["credits"]["at_most"],
        "trials": account["trials"]["total"],
        "bad_trials": account["trials"]["bad"],
        "status": account["status"],
        "sha256": account["seal"]["sha256"] if account["seal"] else "",
    }
    for day in account["days"]:
        counts = {name: n for name, n in day.items() if name != "date"}
        yield {**same, "row": "day", "start": day["date"], **counts}
    for episode in account["lost"]:
        yield {
            **same,
            "row": "lost",
            "start": episode["start"],
            "end": episode["end"],
            "bad": episode["bad"],
            "unmeasured": episode["unmeasured"],
            "trials": episode["trials"]["total"],
            "bad_trials": episode["trials"]["bad"],
            "incidents": " ".join(cause["id"] for cause in episode["causes"]),
        }


def _safe(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_RISKY):
        return f"'{value}"
    return value
