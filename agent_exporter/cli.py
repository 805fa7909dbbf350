"""The command line: `dipper-agent run | check | status | enroll`. Exit: 0 fine, 1 found wanting, 2 cannot start."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from agent_exporter import __version__
from agent_exporter.config import DEFAULT_KEY_FILE, Settings, load, load_key
from agent_exporter.errors import AgentError
from agent_exporter.spool import newest_state
from contracts.auth import check_id
from contracts.errors import ContractError
from contracts.times import rfc3339

STDIN = "-"
DEFAULT_CONFIG = "/etc/dipper/agent.toml"


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
    except AgentError as error:
        print(f"dipper-agent: {error}", file=sys.stderr)
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dipper-agent", description="Reports what this box served.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="run|check|status|enroll")
    for name, command, about in (
        ("run", _run, "collect and send until SIGTERM"),
        ("check", _check, "check configuration, logs, state directory, server and key"),
        ("status", _status, "show what the agent last wrote down"),
    ):
        sub = commands.add_parser(name, help=about, description=about)
        sub.add_argument("--config", type=Path, default=Path(DEFAULT_CONFIG), metavar="FILE")
        if name != "run":
            sub.add_argument("--json", action="store_true", help="for programs")
        sub.set_defaults(command=command)
    sub = commands.add_parser("enroll", help="exchange a one-time token for this box's key")
    sub.add_argument("--server", required=True, metavar="URL")
    sub.add_argument("--token", required=True, help="one-time token; `-` reads it from standard input")
    sub.add_argument("--device", required=True, metavar="ID")
    sub.add_argument("--key-file", type=Path, default=Path(DEFAULT_KEY_FILE), metavar="FILE")
    sub.add_argument("--ca-file", default="", metavar="FILE")
    sub.set_defaults(command=_enroll)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config)
    key = load_key(settings.key_file)
    from agent_exporter.agent import run

    run(settings, key)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from agent_exporter.agent import system_ms
    from agent_exporter.check import check

    settings = load(arguments.config)
    findings = check(settings, load_key(settings.key_file), system_ms)
    if arguments.json:
        print(json.dumps([{"what": f.what, "ok": f.ok, "detail": f.detail} for f in findings]))
    else:
        print(f"ok    config {arguments.config}")
        for finding in findings:
            print(f"{'ok   ' if finding.ok else 'WRONG'} {finding.what}: {finding.detail}")
    return 0 if all(finding.ok for finding in findings) else 1


def _status(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config)
    document = newest_state(settings.state_dir / "spool")
    if document is None:
        raise AgentError(f"{settings.state_dir}: the agent has written nothing down yet")
    status = _summary(settings, document)
    if arguments.json:
        print(json.dumps(status))
        return 0
    for name, value in status.items():
        shown = rfc3339(value) if name.endswith("_at") and value is not None else value
        print(f"{name:24} {json.dumps(shown, ensure_ascii=False) if isinstance(shown, (dict, list)) else shown}")
    return 0


def _summary(settings: Settings, document: dict[str, Any]) -> dict[str, Any]:
    agent = document["agent"]
    sender = agent["sender"]
    spool_bytes = sum(p.stat().st_size for p in (settings.state_dir / "spool").iterdir())
    return {
        "device": agent["device"],
        "boot": agent["boot"],
        "seq": agent["seq"],
        "written_at": agent["at"],
        "lines": agent["lines"],
        "requests": agent["requests"],
        "dropped_requests": agent["dropped_requests"],
        "dropped_reports": {
            boot: {cause: drops[0] for cause, drops in known["drops"].items()}
            for boot, known in document["boots"].items()
            if known["drops"]
        },
        "folded": agent["folded"],
        "lines_ahead": agent["ahead"],
        "malformed_sample": agent["malformed_sample"],
        "waiting_reports": sum(last - first + 1 for runs in document["waiting"].values() for first, last in runs),
        "spool_bytes": spool_bytes,
        "delivered": sender["delivered"],
        "let_go": sender["let_go"],
        "answers": sender["answers"],
        "last_delivered_at": sender["last_delivered_at"],
        "last_error": sender["last_error"],
        "clock_correction_ms": agent["clock"][0],
        "clock_offset_ms": agent["clock"][1],
        "reboots": agent["reboots"],
    }


def _enroll(arguments: argparse.Namespace) -> int:
    from agent_exporter.enroll import enroll

    try:
        device = check_id("--device", arguments.device)
    except ContractError as error:
        raise AgentError(str(error)) from None
    token = sys.stdin.readline().strip() if arguments.token == STDIN else arguments.token
    key = enroll(arguments.server.rstrip("/"), device, token, arguments.key_file, arguments.ca_file)
    print(f"enrolled {key.device} with key {key.key_id}; stored in {arguments.key_file}")
    return 0
