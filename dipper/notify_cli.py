"""`dipper notify`: is the file right, does a message arrive, how is it going."""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path
from typing import Any

from contracts.incidents import QUALITY, Incident, Sentence, Severity
from contracts.times import MINUTE_MS, minute_of, rfc3339
from dipper import control
from dipper.clock import wall_clock
from dipper.command import add_data_arguments, print_json, print_table, process_of
from dipper.errors import DipperError
from dipper.notify.board import Event, Message
from dipper.notify.events import OPENED
from dipper.notify.keep import FILE as STATE
from dipper.notify.keep import stored
from dipper.notify.render import render
from dipper.notify.send import Attempt, deliver
from dipper.notify.settings import FILE, NotifySettings, Receiver, find_file, load
from dipper.notify.status import status_of, trouble
from dipper.notify_shell import add_run
from dipper.paths import Paths
from dipper.settings import ProcessSettings, SettingsError, environment

EPILOG = """\
  dipper notify check                 is notify.toml right, are its variables set?
  dipper notify check new.toml        before it takes the other's place
  dipper notify test                  a made-up incident to every receiver
  dipper notify test ops-slack        to one of them
  dipper notify status                what was delivered, what waits and why

The file: DIPPER_NOTIFY, else notify.toml beside the policy file, else in the data directory (docs/notifications.md).
"""


def add_parser(subparsers: Any) -> None:
    """Register `notify`."""
    parser = subparsers.add_parser(
        "notify",
        help="who is told of incidents, and whether it arrives",
        description="Webhooks, Slack and Alertmanager hear of incidents as notify.toml says.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    checking = verbs.add_parser("check", help="whether the file is right; says what it names")
    checking.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: the one in use")
    checking.set_defaults(run=run_check)
    testing = verbs.add_parser("test", help="send a made-up incident")
    testing.add_argument("receiver", nargs="?", metavar="RECEIVER", help="default: every one")
    testing.set_defaults(run=run_test)
    telling = verbs.add_parser("status", help="delivered, waiting, failing")
    telling.set_defaults(run=run_status)
    add_run(verbs)
    for verb in (checking, testing, telling):
        add_data_arguments(verb)


def run_check(arguments: argparse.Namespace) -> int:
    """Print what the file says."""
    settings = _settings(process_of(arguments), arguments.file)
    rows = [_described(receiver) for receiver in settings.receivers]
    if arguments.json:
        print_json(rows)
    elif not rows:
        print("no receivers: nobody is told anything")
    else:
        columns = ("receiver", "kind", "to", "from", "kinds", "customers", "group", "again after")
        print_table(columns, [[str(row[c]) for c in columns] for row in rows])
    return 0


def _described(receiver: Receiver) -> dict[str, Any]:
    repeat_s = receiver.repeat_interval_ms // 1_000
    return {
        "receiver": receiver.name,
        "kind": receiver.kind,
        "to": receiver.target.shown,
        "from": "-" if receiver.customer else receiver.severity,
        "kinds": ", ".join(receiver.kinds) or "all",
        "customers": ", ".join(receiver.customers) or "all",
        "group": receiver.group_by,
        "again after": f"{repeat_s} s" if repeat_s else "never",
    }


def run_test(arguments: argparse.Namespace) -> int:
    """Send it; 1 when one did not arrive."""
    settings = _settings(process_of(arguments), None)
    chosen = settings.receivers if arguments.receiver is None else (settings.receiver(arguments.receiver),)
    if not chosen:
        raise SettingsError("receiver: expected one in the file, got none")
    results = []
    for receiver in chosen:
        failure = deliver(_attempt(receiver, settings, wall_clock()))
        results.append({"receiver": receiver.name, "ok": failure is None, "error": failure.error if failure else ""})
    if arguments.json:
        print_json(results)
    else:
        for row in results:
            print(f"{row['receiver']}: {'arrived' if row['ok'] else row['error']}")
    return 0 if all(row["ok"] for row in results) else 1


def _attempt(receiver: Receiver, settings: NotifySettings, now: int) -> Attempt:
    name = secrets.token_hex(6)
    since = minute_of(now) - MINUTE_MS
    customers = (receiver.customer or next(iter(receiver.customers), "a-customer"),)
    said: dict[str, Any] = {"customers": customers, "measures": ("failures",), "factor": 1.0, "since": since}
    incident = Incident(
        f"inc-test-{name}", QUALITY, "open", since, now, since, Sentence("quality.unexplained", said),
        Severity(receiver.severity), customers=customers, measures=("failures",), reason="a test: nothing is wrong",
    )  # fmt: skip
    message = Message(f"msg-test-{name}", now, (Event(OPENED, incident),), 1)
    body = render(receiver, "test", message, settings.pages, now, test=True)
    return Attempt(receiver, message.key, body, now, settings.timeout_s)


def run_status(arguments: argparse.Namespace) -> int:
    """Print how it is: of the process that runs, else as it was stored. 1 when something is wrong."""
    process = process_of(arguments)
    status = _status(process)
    if arguments.json:
        print_json(status)
        return 1 if status["trouble"] else 0
    rows = status["receivers"].items()
    if not rows:
        print(f"nobody is told anything: no {FILE} (docs/notifications.md)" if not status["file"] else "no receivers")
    else:
        columns = ("receiver", "sent", "failed", "given up", "waiting", "open", "last sent", "last error")
        print_table(columns, [_row(name, row) for name, row in rows], right=frozenset({1, 2, 3, 4, 5}))
    for sentence in status["trouble"]:
        print(sentence)
    return 1 if status["trouble"] else 0


def _row(name: str, row: dict[str, Any]) -> list[str]:
    counts = [str(row[key]) for key in ("sent", "failed", "given_up", "waiting", "open")]
    last = "–" if row["last_sent_at"] is None else rfc3339(row["last_sent_at"])
    return [name, *counts, last, row["last_error"] or "–"]


def _status(process: ProcessSettings) -> dict[str, Any]:
    try:
        told = control.ask(Paths(process.data).control, "status", {}).get("notify")
        if told is not None:
            return dict(told)
    except control.NotRunning:
        pass
    board = stored(process.data / STATE)
    found = find_file(process, environment())
    status = {"receivers": {}} if board is None else status_of(board)
    sentences = trouble(status, wall_clock())
    return {"file": None if found is None else str(found), "refused": None, **status, "trouble": sentences}


def _settings(process: ProcessSettings, given: Path | None) -> NotifySettings:
    path = given or find_file(process, environment())
    if path is None:
        raise DipperError(f"no {FILE}: put one beside the policy file or into {process.data}, or set DIPPER_NOTIFY")
    return load(path, environment())
