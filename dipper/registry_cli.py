"""`dipper devices|customers|rules|tokens`: what operators declare, in DIR/registry.sqlite or, of a cluster, on Kafka.

Exit codes: 0 done, 1 not found or not possible now, 2 wrong input. Data goes to stdout, remarks and errors to stderr.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from contracts.errors import ContractError
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, from_rfc3339, rfc3339
from dipper import registry_commands as commands
from dipper.clock import wall_clock
from dipper.command import process_of
from dipper.registries import opened_registry
from ingest.registry import DEFAULT_OVERLAP_MS, SCOPES, BadImport, RegistryError, SqliteRegistry

Command = Callable[[SqliteRegistry, argparse.Namespace], None]
_UNITS_MS = {"s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}

DEVICES_HELP = """\
A box may report once it is registered and enrolled:

  dipper devices add box-17 --isp telecom --region guangdong --nat full_cone \\
      --cohort stable --capacity 30 --token
  (put the token into the box's configuration; the agent exchanges it for a key)

  dipper devices import fleet.csv            add or update many, all or nothing
  dipper devices list --region guangdong     who is there
  dipper devices set box-17 --cohort canary  from now on; history keeps the old row
  dipper devices rotate box-17 --overlap 24h a new key, the old one still works a day
  dipper devices revoke box-17               from now on nothing of it is accepted

fleet.csv (valid_from may be left out; JSON: a list of objects with these names):
  device,device_isp,device_region,nat_type,cohort,capacity_mbps,valid_from
  box-17,telecom,guangdong,full_cone,stable,30,2026-01-31T08:00:00+08:00"""

CUSTOMERS_HELP = """\
  dipper customers add acme --name "Acme Video" --timezone Asia/Shanghai \\
      --objective measure=failures,service=video,target=0.995 \\
      --objective measure=slow_requests,service=video,target=0.95,threshold=800

An objective: at least `target` of all must be good. Measures: failures, slow_requests (threshold in ms),
stalled_sessions, low_throughput (threshold in kB/s), cache_misses.

customers.csv (several objectives are separated by `;`):
  id,name,timezone,objectives
  acme,Acme Video,Asia/Shanghai,measure=failures service=video target=0.995
customers.json:
  [{"id": "acme", "name": "Acme Video", "timezone": "Asia/Shanghai",
    "objectives": [{"measure": "failures", "service": "video", "target": 0.995}]}]"""

RULES_HELP = """\
Traffic names the rule that placed it as `id@version`; the registry says what it is and whom to ask.

  dipper rules add near --version 3 --name "Nearest box first" --owner "traffic team"
  dipper rules show near@3

rules.csv (valid_from may be left out; JSON: a list of objects with these names):
  id,version,name,owner,valid_from
  near,3,Nearest box first,traffic team,2026-01-31T08:00:00+08:00"""

TOKENS_HELP = f"""\
A token lets a program or a person through the gateway's doors for people. It is shown once and stored hashed.

  dipper tokens add release-robot --scope changes:write
  dipper tokens revoke release-robot

Scopes: {", ".join(SCOPES)}, customer:ID (that customer's own data)."""


def add_parser(subparsers: Any) -> None:
    """Register `devices`, `customers`, `rules` and `tokens`."""
    _add_devices(_group(subparsers, "devices", "boxes: attributes, keys, enrolment", DEVICES_HELP))
    _add_customers(_group(subparsers, "customers", "customers and their objectives", CUSTOMERS_HELP))
    _add_rules(_group(subparsers, "rules", "scheduling rules, their names and owners", RULES_HELP))
    _add_tokens(_group(subparsers, "tokens", "operators' and programs' API tokens", TOKENS_HELP))


def main(arguments: Sequence[str] | None = None) -> int:
    """The registry's commands on their own."""
    parser = argparse.ArgumentParser(prog="dipper")
    add_parser(parser.add_subparsers(title="commands", metavar="COMMAND", required=True))
    args = parser.parse_args(arguments)
    return int(args.run(args))


def _add_devices(group: Any) -> None:
    add = _leaf(group, "add", commands.devices_add, "register a device")
    add.add_argument("id", metavar="ID", help="1 to 64 of A-Z a-z 0-9 . _ : -")
    _add_attributes(add, required=True)
    add.add_argument("--token", action="store_true", help="also issue its one-time enrolment token")
    _add_valid(add)
    change = _leaf(group, "set", commands.devices_set, "new attributes from a time on; the rest stays")
    change.add_argument("id", metavar="ID")
    _add_attributes(change, required=False)
    listing = _leaf(group, "list", commands.devices_list, "devices with their attributes now", reads=True)
    for name in ("isp", "region", "nat", "cohort"):
        listing.add_argument(f"--{name}", help=f"only devices of this {name}")
    listing.add_argument("--limit", type=_count, metavar="N", help="show at most N")
    _leaf(group, "show", commands.devices_show, "all of one device", reads=True).add_argument("id", metavar="ID")
    _add_file(_leaf(group, "import", commands.devices_import, "add or update devices from a file, all or nothing"))
    _leaf(group, "revoke", commands.devices_revoke, "end all keys now").add_argument("id", metavar="ID")
    rotate = _leaf(group, "rotate", commands.devices_rotate, "make a new key, print it once")
    rotate.add_argument("id", metavar="ID")
    rotate.add_argument(
        "--overlap",
        type=_duration,
        default=DEFAULT_OVERLAP_MS,
        help="old keys work this much longer: 30m, 24h (default)",
    )
    token = _leaf(group, "token", commands.devices_token, "issue a one-time enrolment token")
    token.add_argument("id", metavar="ID", nargs="?", help="a registered device; its present keys end on enrolment")
    token.add_argument("--any", action="store_true", help="for any device that never had a key")
    _add_valid(token)


def _add_customers(group: Any) -> None:
    add = _leaf(group, "add", commands.customers_add, "store a customer")
    add.add_argument("id", metavar="ID")
    add.add_argument("--name", required=True, help="for people")
    add.add_argument("--timezone", default="UTC", help="of its months, IANA name (default: UTC)")
    add.add_argument(
        "--objective",
        action="append",
        default=[],
        metavar="KEY=VALUE,..",
        help="measure=..,service=..,target=..[,threshold=..]; repeat for more",
    )
    add.add_argument("--replace", action="store_true", help="replace the customer if it is there")
    _leaf(group, "list", commands.customers_list, "all customers", reads=True)
    _leaf(group, "show", commands.customers_show, "one customer", reads=True).add_argument("id", metavar="ID")
    _add_file(_leaf(group, "import", commands.customers_import, "add or update customers from a file, all or nothing"))


def _add_rules(group: Any) -> None:
    add = _leaf(group, "add", commands.rules_add, "store a version of a rule")
    add.add_argument("id", metavar="ID")
    add.add_argument("--version", type=_count, required=True, metavar="N", help="1, 2, 3..")
    add.add_argument("--name", required=True, help="for people")
    add.add_argument("--owner", required=True, help="whom to ask")
    _add_since(add)
    add.add_argument("--replace", action="store_true", help="replace this version if it is there")
    listing = _leaf(group, "list", commands.rules_list, "all rules", reads=True)
    listing.add_argument("--owner", help="only rules of this owner")
    show = _leaf(group, "show", commands.rules_show, "the versions of a rule", reads=True)
    show.add_argument("id", metavar="ID[@VERSION]")
    _add_file(_leaf(group, "import", commands.rules_import, "add or update rules from a file, all or nothing"))


def _add_tokens(group: Any) -> None:
    add = _leaf(group, "add", commands.tokens_add, "make a token, print it once")
    add.add_argument("name", metavar="NAME", help="stands in logs; used once for ever")
    add.add_argument("--scope", action="append", required=True, metavar="SCOPE", help="repeat for more")
    _leaf(group, "list", commands.tokens_list, "tokens and open enrolments, without their secrets", reads=True)
    _leaf(group, "revoke", commands.tokens_revoke, "end a token now").add_argument("name", metavar="NAME")


def _group(subparsers: Any, name: str, summary: str, teaching: str) -> Any:
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. Kept in DIR/registry.sqlite, or on Kafka (DIPPER_KAFKA).",
        epilog=f"examples and files:\n\n{teaching}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _leaf(group: Any, name: str, command: Command, summary: str, *, reads: bool = False) -> argparse.ArgumentParser:
    """A subcommand; one that only reads does not create a registry."""
    parser: argparse.ArgumentParser = group.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    parser.add_argument(
        "--data", type=Path, default=None, metavar="DIR", help="data directory (default: $DIPPER_DATA, else var)"
    )
    parser.add_argument("--kafka", metavar="BROKERS", help="a cluster's log, HOST:PORT,.. (default: $DIPPER_KAFKA)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=lambda args: _run(command, args, create=not reads))
    return parser


def _run(command: Command, args: argparse.Namespace, *, create: bool) -> int:
    """Open the registry, run, and say what went wrong in a sentence."""
    try:
        with opened_registry(process_of(args), "commands", create=create, wait=True) as registry:
            args.now = wall_clock()
            command(registry, args)
    except (ContractError, BadImport) as error:
        print(f"dipper: {error}", file=sys.stderr)
        return 2
    except RegistryError as error:
        print(f"dipper: {error}", file=sys.stderr)
        return 1
    return 0


def _add_attributes(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--isp", required=required, help="the box's ISP")
    parser.add_argument("--region", required=required, help="the box's region")
    parser.add_argument("--nat", required=required, help="NAT type, such as full_cone or symmetric")
    parser.add_argument("--cohort", required=required, help="group for roll-outs, such as stable or canary")
    parser.add_argument("--capacity", type=_number, required=required, metavar="MBIT/S", help="uplink")
    _add_since(parser)


def _add_since(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from", dest="since", type=_time, metavar="TIME", help="valid from, RFC 3339 with zone (default: now)"
    )


def _add_valid(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--valid",
        type=_duration,
        default=DAY_MS,
        metavar="TIME",
        help="how long the token lives: 30m, 24h (default), 7d",
    )


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="CSV or JSON, UTF-8; - reads stdin")
    parser.add_argument("--format", choices=("csv", "json"), help="default: by the file's name")


def _duration(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected a number with s, m, h or d (30m, 24h, 7d), got {text!r}")
    return int(found[1]) * _UNITS_MS[found[2]]


def _time(text: str) -> int:
    try:
        return from_rfc3339(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected RFC 3339 with a zone ({rfc3339(0)}), got {text!r}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,15}", text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected an integer from 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
