"""`dipper settings`: what is in force, is a file right, take it now."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path
from typing import Any

from contracts.times import rfc3339
from dipper import control
from dipper.command import add_data_arguments, print_json, process_of
from dipper.errors import DipperError
from dipper.paths import Paths
from dipper.settings import SettingsError, load_policy

EPILOG = """\
  dipper settings check new.toml      is it right? says what would differ, and what waits for a start
  dipper settings show                every number, * where it is not the default
  dipper settings reload              take the policy file now (so does SIGHUP; saving it does within seconds)

[detector], [silence], [incident], [health] and [retention] take effect at the next full minute; all other tables at
the next start. A file that is wrong anywhere is refused whole: what was in force stays (docs/running.md).
"""


def add_parser(subparsers: Any) -> None:
    """Register `settings`."""
    parser = subparsers.add_parser(
        "settings",
        help="policy numbers: check, show, reload",
        description="The policy numbers of a running Dipper, and files that would change them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    checking = verbs.add_parser("check", help="whether a file is right, and what it changes")
    checking.add_argument("file", type=Path, metavar="FILE")
    checking.set_defaults(run=run_check)
    showing = verbs.add_parser("show", help="what is in force")
    showing.set_defaults(run=run_show)
    taking = verbs.add_parser("reload", help="take the policy file now")
    taking.add_argument("--author", metavar="NAME", help="who does it (default: the user of this machine)")
    taking.set_defaults(run=run_reload)
    for verb in (checking, showing, taking):
        add_data_arguments(verb)


def run_check(arguments: argparse.Namespace) -> int:
    """Say what a file changes against what is in force, or against the defaults when nothing runs."""
    from dipper.policy_check import LIVE, checked, differences, in_words

    policy = checked(arguments.file)
    running = _asked(arguments, "settings.show")
    before = load_policy() if running is None else running["policy"]
    lines = in_words(differences(before, policy))
    at_start = [line for line in lines if line.partition(".")[0] not in LIVE]
    if arguments.json:
        print_json({"changes": lines, "at_next_start": at_start})
        return 0
    against = "the defaults" if running is None else "what is in force"
    print(f"{arguments.file}: right; {len(lines)} numbers differ from {against}")
    for line in lines:
        print(f"  {line}" + ("  (at the next start)" if line in at_start else ""))
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Print it."""
    running = _asked(arguments, "settings.show")
    policy = load_policy(process_of(arguments).policy) if running is None else running["policy"]
    status = {} if running is None else running["status"]
    if arguments.json:
        print_json({"policy": policy, **status})
        return 0
    defaults = load_policy()
    for table, values in policy.items():
        print(f"[{table}]")
        for name, value in values.items():
            print(f"{'*' if defaults[table][name] != value else ' '} {name} = {value}")
    for line in _remarks(status):
        print(line)
    return 0


def _remarks(status: dict[str, Any]) -> list[str]:
    said = (
        [f"file: {status['file'] or 'none, defaults'}"] if status else ["nothing runs here: as a start would read it"]
    )
    if status.get("in_force_since"):
        said.append(f"in force since {rfc3339(status['in_force_since'])}")
    if status.get("pending"):
        said += [f"from {rfc3339(status['pending']['at'])}: {line}" for line in status["pending"]["changes"]]
    said += [f"at the next start: {line}" for line in status.get("at_next_start", ())]
    if status.get("refused"):
        said.append(f"refused {rfc3339(status['refused']['at'])}: {status['refused']['why']}")
    return [*said, *_unrecorded(status)]


def _unrecorded(status: dict[str, Any]) -> list[str]:
    waiting = status.get("unrecorded")
    return [f"not recorded as a change yet, tried again: {waiting['why']}"] if waiting else []


def run_reload(arguments: argparse.Namespace) -> int:
    """Take the file now."""
    author = arguments.author or getpass.getuser()
    if not 1 <= len(author) <= 64 or not author.isprintable():
        raise SettingsError(f"--author: expected 1 to 64 printable characters, got {len(author)}")
    result = _asked(arguments, "settings.reload", {"author": author})
    if result is None:
        raise DipperError("settings reload: nothing runs on this data; a start reads the file anyway")
    if arguments.json:
        print_json(result)
        return 0
    if not result["changes"]:
        print("nothing changed")
    for line in result["changes"]:
        print(f"from {rfc3339(result['at'])}: {line}")
    for line in result["at_next_start"]:
        print(f"at the next start: {line}")
    for line in _unrecorded(result):
        print(line)
    return 0


def _asked(arguments: argparse.Namespace, command: str, values: dict[str, Any] | None = None) -> Any:
    """What the running process answers; None when nothing runs."""
    try:
        return control.ask(Paths(process_of(arguments).data).control, command, values or {})
    except control.NotRunning:
        return None
