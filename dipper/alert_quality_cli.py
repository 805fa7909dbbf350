"""`dipper incidents quality`: how often alerts were right, by week and detector."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from contracts.times import rfc3339
from dipper.command import add_data_arguments, ask, print_json
from dipper.settings import SettingsError
from dipper.tables import table

MOST_WEEKS = 53
_HEAD = ("detector", "incidents", "unlabelled", "precision", "cause named", "self-test found", "delay p50", "p95")


def add_verb(verbs: Any) -> None:
    """Register `quality` among the verbs of `incidents`."""
    parser = verbs.add_parser(
        "quality",
        help="how often they are right: precision by labels, recall of the self-test's faults",
        description=(
            "By week (Monday, UTC) and detector: precision over incidents that operators labelled (false-alarm,"
            " real-cause), recall over faults that `dipper up --self-test` made. Ranges are 95% intervals (Wilson)."
        ),
    )
    parser.add_argument("--weeks", type=int, default=4, metavar="N", help="how many, this one included (%(default)s)")
    add_data_arguments(parser)
    parser.set_defaults(run=run_quality)


def run_quality(arguments: argparse.Namespace) -> int:
    """Print it."""
    if not 1 <= arguments.weeks <= MOST_WEEKS:
        raise SettingsError(f"--weeks: expected 1 to {MOST_WEEKS}, got {arguments.weeks}")
    weeks = ask(arguments, "incidents.quality", {"weeks": arguments.weeks})
    if arguments.json:
        print_json(weeks)
    else:
        print("\n\n".join(_told(week) for week in weeks))
    return 0


def _told(week: Mapping[str, Any]) -> str:
    lines = [f"week of {rfc3339(week['start'])[:10]}"]
    rows = [_row(one) for one in (week["all"], *week["detectors"]) if one["incidents"] or one["recall"]["whole"]]
    if not rows:
        return f"{lines[0]}: no incidents, no self-test"
    lines.append(table(_HEAD, rows, right=("incidents", "unlabelled", "delay p50", "p95")))
    found = week["seconds_to_detect"]
    if found["p50"] is not None:
        lines.append(
            f"self-test: half of the faults found within {found['p50']:.0f} s, 95% within {found['p95']:.0f} s"
        )
    if week["missed"]:
        lines.append(f"self-test: not found: {', '.join(week['missed'])}")
    return "\n".join(lines)


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        one["detector"], str(one["incidents"]), str(one["unlabelled"]), _ratio(one["precision"]), _ratio(one["cause"]),
        _ratio(one["recall"]), _seconds(one["delay_s"]["p50"]), _seconds(one["delay_s"]["p95"]),
    )  # fmt: skip


def _ratio(told: Mapping[str, Any]) -> str:
    if not told["whole"]:
        return "–"
    low, high = told["interval"]
    return f"{told['ratio']:.0%} ({told['part']} of {told['whole']}; {low:.0%} to {high:.0%})"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} s"
