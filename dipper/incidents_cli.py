"""`dipper incidents`: what is wrong now, why, and what people do about it."""

from __future__ import annotations

import argparse
import getpass
from typing import Any

from contracts.incidents import KINDS, MAX_MUTE_MS, STATES, Incident, Sentence, incident_from_json
from contracts.times import DAY_MS, rfc3339
from dipper import alert_quality_cli
from dipper.clock import wall_clock
from dipper.command import UNITS_MS, add_data_arguments, add_span_arguments, ask, print_json, print_table, span
from dipper.incident_text import BASELINE_WORDS, MEASURE_WORDS, age_words, where_words, words
from dipper.settings import SettingsError

EPILOG = """\
  dipper incidents list --state active
  dipper incidents show inc-20260105-2003-1
  dipper incidents ack inc-20260105-2003-1 --why "on it"
  dipper incidents mute inc-20260105-2003-1 --for 2h --why "carrier informed, ticket 4711"
  dipper incidents real-cause inc-20260105-2003-1 client_isp=unicom --why "cut cable"
"""
ACTIONS = {
    "ack": ("acknowledge", "somebody works on it"),
    "mute": ("mute", "no messages for a while"),
    "unmute": ("unmute", "messages again"),
    "note": ("note", "write something down"),
    "resolve": ("resolve", "it is over"),
    "reopen": ("reopen", "it is not over"),
    "false-alarm": ("false_alarm", "there was nothing: counts against the detector"),
    "real-cause": ("real_cause", "what it really was"),
}


def add_parser(subparsers: Any) -> None:
    """Register `incidents`."""
    parser = subparsers.add_parser(
        "incidents",
        help="what is wrong, why, and what people do about it",
        description="One incident per cause, whatever the number of customers and measures (docs/incidents.md).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = verbs.add_parser("list", help="incidents of a span, newest first")
    add_span_arguments(listing)
    listing.add_argument("--state", choices=("active", *STATES), help="only these; active: all but resolved")
    listing.add_argument("--kind", choices=KINDS, help="only this kind")
    add_data_arguments(listing)
    listing.set_defaults(run=run_list)
    showing = verbs.add_parser("show", help="one incident with its evidence and history")
    showing.add_argument("id", help="as `list` prints it")
    add_data_arguments(showing)
    showing.set_defaults(run=run_show)
    alert_quality_cli.add_verb(verbs)
    for name, (verb, meaning) in ACTIONS.items():
        _add_action(verbs, name, verb, meaning)


def _add_action(verbs: Any, name: str, verb: str, meaning: str) -> None:
    acting = verbs.add_parser(name, help=meaning)
    acting.add_argument("id", help="as `list` prints it")
    if verb == "real_cause":
        acting.add_argument("cause", nargs="+", metavar="DIMENSION=VALUE", help="combination of dimension values")
    if verb == "mute":
        acting.add_argument("--for", dest="lasting", required=True, metavar="TIME", help="how long: 30m, 6h, 7d")
    acting.add_argument("--why", default="", required=verb == "note", metavar="TEXT", help="said in its history")
    acting.add_argument("--author", metavar="NAME", help="who does it (default: the user of this machine)")
    add_data_arguments(acting)
    acting.set_defaults(run=run_action, verb=verb)


def run_list(arguments: argparse.Namespace) -> int:
    """Print them."""
    rows = ask(arguments, "incidents", {**span(arguments), "state": arguments.state, "kind": arguments.kind})
    if arguments.json:
        print_json(rows)
        return 0
    if not rows:
        print("no incidents in this span")
        return 0
    found = [incident_from_json(row) for row in rows]
    now = wall_clock()
    print_table(
        ("id", "state", "level", "lasted", "what"),
        [(i.id, i.state, i.severity.level, age_words(i, now), words(i.headline)) for i in found],
        right=frozenset({3}),
    )
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Print one."""
    document = ask(arguments, "incident", {"id": arguments.id})
    if arguments.json:
        print_json(document)
        return 0
    print("\n".join(_lines(incident_from_json(document))))
    return 0


def run_action(arguments: argparse.Namespace) -> int:
    """Do it; the incident as it will be."""
    values: dict[str, Any] = {
        "id": arguments.id,
        "verb": arguments.verb,
        "author": arguments.author or getpass.getuser(),
        "text": arguments.why,
    }
    if arguments.verb == "mute":
        values["until"] = wall_clock() + _duration(arguments.lasting)
    if arguments.verb == "real_cause":
        values["cause"] = dict(_pair(text) for text in arguments.cause)
    document = ask(arguments, "incident.act", values)
    if arguments.json:
        print_json(document)
    else:
        print(f"{document['id']}: {document['state']}")
    return 0


def _duration(text: str) -> int:
    expected = f"30m, 6h or 7d, at most {MAX_MUTE_MS // DAY_MS}d"
    if not (text[:-1].isdigit() and text[-1] in UNITS_MS and 0 < int(text[:-1]) * UNITS_MS[text[-1]] <= MAX_MUTE_MS):
        raise SettingsError(f"--for: expected {expected}, got {text!r}")
    return int(text[:-1]) * UNITS_MS[text[-1]]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise SettingsError(f"cause: expected DIMENSION=VALUE, got {text!r}")
    return name, value


def _lines(incident: Incident) -> list[str]:
    s = incident.severity
    lines = [
        f"{incident.id}  {incident.kind}  {incident.state}  {s.level}",
        words(Sentence(incident.headline.key, incident.headline.params)),
        f"onset {rfc3339(incident.onset)}, detected {rfc3339(incident.detected_at)}"
        + (f", resolved {rfc3339(incident.resolved_at)}" if incident.resolved_at else ""),
        f"{s.customer_minutes} customer-minutes affected, {s.lost_minutes:.2f} lost, {s.excess_bad:.0f} additional bad",
        f"at stake {s.at_stake_per_minute:.0f} requests a minute, {s.traffic_share:.1%} of all traffic",
    ]
    if incident.reason:
        lines.append(incident.reason)
    for cause in incident.causes:
        mark = "*" if cause.answer else " "
        same = "".join(f"; same rows: {where_words(e.where)}" for e in cause.equivalents[:2])
        counts = f"{cause.bad:.0f} bad, {cause.expected:.1f} expected"
        lines.append(f" {mark} {cause.share:>4.0%}  {where_words(cause.where)}  ({cause.measure}: {counts}{same})")
    for s in incident.series:
        usual = BASELINE_WORDS.get(s.baseline, "what was usual is not noted")
        counts = f"{s.bad:.0f} bad of {s.total:.0f}, {s.expected:.1f} expected since {rfc3339(s.onset)}"
        by = f"; {' and '.join(s.reasons)}" if s.reasons else ""
        lines.append(f" {s.customer} {s.service}, {MEASURE_WORDS[s.measure]}: {counts}{by}; {usual}")
    lines += [f" change {c.id} ({c.kind}, {c.relation}) at {rfc3339(c.start)}" for c in incident.changes]
    for line in incident.history:
        why = f": {line.text}" if line.text else ""
        lines.append(f" {rfc3339(line.at)}  {line.verb} by {line.author}{why}")
    return lines
