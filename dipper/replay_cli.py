"""`dipper replay FROM TO`: would other settings have found more, or less? Answered from stored history."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.times import DAY_MS, rfc3339
from dipper import settings
from dipper.command import add_data_arguments, print_json, process_of, time_argument
from dipper.settings import SettingsError
from dipper.tables import table

if TYPE_CHECKING:
    from dipper.replay import Found, Plan
    from dipper.replay_inputs import Past
    from streams.incident_settings import TriageSettings

STORED, RERUN = "stored", "rerun"
MOST_DAYS = 35
EPILOG = """\
examples:
  dipper replay 24h 0h                            the same settings once more: finds what was found
  dipper replay 7d 0h --settings stricter.toml    last week with other thresholds, beside what was found then
  dipper replay 2026-01-05T10:00:00Z 2026-01-05T12:00:00Z --settings s.toml --compare rerun -o replay.json

A settings file is a part of policy.toml: tables [detector], [silence], [incident] with what shall differ. Times are
RFC 3339 with a zone, or how long ago (30m, 6h, 7d). --compare rerun runs the present settings over the same history,
too, so that nothing but the settings differs. docs/replay.md says what is read, and what is no longer stored when.
"""


def add_parser(subparsers: Any) -> None:
    """Register `replay`."""
    parser = subparsers.add_parser(
        "replay",
        help="detection and incidents over stored history, with other settings",
        description="Run detection and incidents over stored history and compare what is found. Writes no history.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("start", metavar="FROM", help="incidents detected from here on")
    parser.add_argument("end", metavar="TO", help="until here")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="TOML with what shall differ (default: nothing)")
    parser.add_argument(
        "--compare",
        choices=(STORED, RERUN),
        default=STORED,
        help="with what was found then, or with a run of the present settings (%(default)s)",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the comparison as JSON as well")
    add_data_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Replay, compare, print."""
    from dipper.operations import opened

    start, end = time_argument("FROM", arguments.start), time_argument("TO", arguments.end)
    assert start is not None
    assert end is not None
    if not start < end <= start + MOST_DAYS * DAY_MS:
        got = f"{rfc3339(start)} to {rfc3339(end)}"
        raise SettingsError(f"FROM, TO: expected FROM before TO, at most {MOST_DAYS} days apart, got {got}")
    process = process_of(arguments)
    policy = settings.load_policy(process.policy)
    if arguments.settings is not None:
        own_tables(policy, arguments.settings)  # a wrong file is refused before anything is opened
    with opened(process, policy) as ask:
        document = compared(ask, start, end, arguments.settings, rerun=arguments.compare == RERUN)
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if arguments.json:
        print_json(document)
    else:
        print("\n".join(lines(document)))
    return 0


def own_tables(policy: Mapping[str, Mapping[str, Any]], path: Path) -> dict[str, dict[str, Any]]:
    """The policy with a file of settings laid over the tables that a replay depends on. Raises SettingsError."""
    from dipper.engine import triage_settings
    from dipper.replay_operations import CHANGEABLE, TABLES
    from streams.settings import SettingsError as OutOfRange

    given = settings.overlaid({name: policy[name] for name in CHANGEABLE}, path)
    result = {name: given.get(name) or dict(policy[name]) for name in TABLES}
    try:
        triage_settings(result)
    except OutOfRange as error:
        raise SettingsError(f"{path}: {error}") from None
    return result


def compared(ask: Callable[..., Any], start: int, end: int, path: Path | None, *, rerun: bool) -> dict[str, Any]:
    """The comparison as one document. `ask`: a deployment's commands."""
    from dipper import replay_compare
    from dipper.engine import triage_settings
    from dipper.replay import LEAD_MS, NOT_JUDGED, TAIL_MS, Plan
    from dipper.replay_operations import past_of, reader
    from dipper.replay_words import inputs_used, left_aside, notes
    from history.query_alert_quality import label

    told = ask("replay.past", {"start": start - LEAD_MS, "end": end + TAIL_MS})
    past, own = past_of(told), told["policy"]
    other = own if path is None else own_tables(own, path)
    plan = Plan(start, end, triage_settings(own))
    read = reader(ask)
    after = _followed("replaying", read, past, plan, triage_settings(other))
    told_then = [i for i in past.incidents if i.merged_into is None and start <= i.detected_at < end]
    stored = [i for i in told_then if i.kind not in NOT_JUDGED]
    labels = {i.id: label(i) for i in stored}
    before = stored
    if rerun:
        before = _followed("present settings", read, past, plan, plan.own).incidents
        known = replay_compare.paired(before, stored)
        labels = {p.before.id: labels[p.after.id] for p in known if p.before and p.after}
    pairs = replay_compare.paired(before, after.incidents)
    return {
        "from": rfc3339(start),
        "to": rfc3339(end),
        "compared_with": RERUN if rerun else STORED,
        "changed": [
            {"setting": f"{name}.{key}", "before": own[name][key], "after": value}
            for name, values in other.items()
            for key, value in values.items()
            if value != own[name][key]
        ],
        "counts": replay_compare.counts(pairs, labels),
        "incidents": [replay_compare.as_row(pair, labels) for pair in pairs],
        "inputs": inputs_used(past, plan),
        "notes": notes(plan, after, triage_settings(other)) + left_aside(told_then),
    }


def _followed(title: str, read: Any, past: Past, plan: Plan, using: TriageSettings) -> Found:
    from dipper.progress import Progress
    from dipper.replay import replay

    known = [span for span in (past.stored["signals"], past.stored["minutes"]) if span]
    first = min((span[0] for span in known), default=plan.start)
    progress = Progress(title, max(1, plan.end - first))
    try:
        return replay(read, past, plan, using, lambda minute: progress.update(minute - first, rfc3339(minute)[:16]))
    finally:
        progress.finish()


def lines(document: Mapping[str, Any]) -> list[str]:
    """The comparison for people."""
    counts = document["counts"]
    beside = "found then" if document["compared_with"] == STORED else "found with the present settings"
    said = [f"incidents detected from {document['from']} to {document['to']}"]
    said += [f"  {c['setting']}: {c['before']} -> {c['after']}" for c in document["changed"]] or ["  the same settings"]
    before, after = (counts["both"] + counts[side] for side in ("only_before", "only_after"))
    said.append(f"before ({beside}): {before}, after: {after}")
    said.append(f"in both: {counts['both']}, {counts['unchanged']} of them unchanged")
    said.append(f"only before: {counts['only_before']}, only after: {counts['only_after']}")
    said.append(
        f"of {counts['true']} that operators called real {counts['true_still_found']} are found,"
        f" of {counts['false']} false alarms {counts['false_still_found']}"
    )
    said.append("")
    rows = [_row(row) for row in document["incidents"]]
    head = ("which", "label", "detected", "onset", "severity", "kind", "who", "cause", "what differs")
    said += [table(head, rows)] if rows else ["no incidents on either side"]
    said += ["", "read from history:"]
    said += [f"  {i['input']}: {i['words']}" for i in document["inputs"]]
    return said + [f"note: {note}" for note in document["notes"]]


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    before, after = row["before"], row["after"]
    one = after or before
    who = ", ".join(one["customers"][:3]) or f"{one['devices']} boxes"
    where = one["cause"]
    caused = "not known" if where is None else " and ".join(f"{k}={v}" for k, v in where.items()) or "all traffic"
    changes = []
    for name in row["differs"]:
        if name in ("onset", "detected_at", "severity", "kind"):
            was, now = (side[name][11:19] if name.endswith(("set", "_at")) else side[name] for side in (before, after))
            changes.append(f"{name} {was} -> {now}")
        else:
            changes.append(name)
    return (
        row["status"].replace("_", " "), row["label"], one["detected_at"][:19] + "Z", one["onset"][11:19],
        one["severity"], one["kind"], who, caused, "; ".join(changes),
    )  # fmt: skip
