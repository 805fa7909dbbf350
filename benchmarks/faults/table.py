"""The table of `make faults`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.faults.scenario import BOOKS, Result

COLUMNS = ("fault", "times", "recovery s", "books complete s", "lost", "pending", "double counted", "balanced", "equal")


def spread(values: Sequence[float | None]) -> dict[str, float | None]:
    """Minimum, median and maximum; a value that is missing counts as never."""
    finite = [math.inf if v is None else v for v in values]
    found = {"min": min(finite), "median": statistics.median(finite), "max": max(finite)}
    return {name: round(v, 1) if math.isfinite(v) else None for name, v in found.items()}


def figures(results: Sequence[Result]) -> list[dict[str, Any]]:
    """One row per fault, in the order of their names."""
    rows = []
    for name in sorted({result.fault for result in results}):
        mine = [result for result in results if result.fault == name]
        rows.append(
            {
                "fault": name,
                "times": len(mine),
                "recovery_s": spread([r.recovery_s for r in mine]),
                "settled_s": spread([r.settled_s for r in mine]),
                **{term: _total([getattr(r, term) for r in mine]) for term in BOOKS},
                "balanced": all(r.balanced for r in mine),
                "equal_to_truth": all(r.clean for r in mine),
                "differences": [text for r in mine for text in r.differences],
                "detail": [r.detail for r in mine if r.detail],
            }
        )
    return rows


def _total(values: Sequence[int | None]) -> int | None:
    known = [v for v in values if v is not None]
    return sum(known) if len(known) == len(values) else None


def text(rows: Sequence[dict[str, Any]]) -> str:
    """For people."""
    cells = [list(COLUMNS), *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["fault"],
        str(row["times"]),
        _three(row["recovery_s"]),
        _three(row["settled_s"]),
        *("?" if row[term] is None else str(row[term]) for term in BOOKS),
        *("yes" if row[name] else "NO" for name in ("balanced", "equal_to_truth")),
    ]


def _three(values: dict[str, float | None]) -> str:
    """min / median / max; one figure when there is but one."""
    shown = ["never" if v is None else f"{v:.1f}" for v in values.values()]
    return shown[0] if len(set(shown)) == 1 else " / ".join(shown)
