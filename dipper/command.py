"""What the commands that ask a deployment share: arguments, times, tables."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, from_rfc3339
from dipper import settings
from dipper.clock import wall_clock
from dipper.settings import SettingsError

UNITS_MS = {"s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """--data, --store, --kafka, --policy and --json."""
    parser.add_argument("--data", type=Path, metavar="DIR", help="data directory (default: $DIPPER_DATA, else var)")
    add_cluster_arguments(parser)
    parser.add_argument("--policy", type=Path, metavar="FILE", help="TOML with policy numbers that differ")
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_cluster_arguments(parser: argparse._ActionsContainer) -> None:
    """--store and --kafka: a cluster instead of a data directory."""
    parser.add_argument("--store", metavar="URL", help="a cluster's history (default: $DIPPER_STORE)")
    parser.add_argument("--kafka", metavar="BROKERS", help="its log, HOST:PORT,.. (default: $DIPPER_KAFKA)")


def process_of(arguments: argparse.Namespace) -> settings.ProcessSettings:
    """Settings from the environment; what the command line gives wins."""
    given = {name: getattr(arguments, name, None) for name in settings.GIVEN}
    return settings.from_environment(settings.environment(), **given)


def add_span_arguments(parser: argparse.ArgumentParser) -> None:
    """--from and --to."""
    parser.add_argument(
        "--from", dest="start", metavar="TIME", help="RFC 3339 with zone, or how long ago: 30m, 6h, 7d (default: 24h)"
    )
    parser.add_argument("--to", dest="end", metavar="TIME", help="likewise (default: now)")


def time_argument(name: str, text: str | None) -> int | None:
    """ms UTC of an argument of `add_span_arguments`. Raises SettingsError."""
    if text is None:
        return None
    if text[:-1].isdigit() and text[-1] in UNITS_MS:
        return wall_clock() - int(text[:-1]) * UNITS_MS[text[-1]]
    try:
        return from_rfc3339(text)
    except ValueError:
        expected = "RFC 3339 with a zone, or 30m, 6h, 7d"
        raise SettingsError(f"{name}: expected {expected}, got {text!r}") from None


def span(arguments: argparse.Namespace) -> dict[str, int | None]:
    """The span as arguments of an operation."""
    return {"start": time_argument("--from", arguments.start), "end": time_argument("--to", arguments.end)}


def ask(arguments: argparse.Namespace, command: str, values: Mapping[str, Any] | None = None) -> Any:
    """Run an operation on the deployment that the arguments name."""
    from dipper.operations import run

    process = process_of(arguments)
    return run(process, settings.load_policy(process.policy), command, values or {})


def print_json(document: Any) -> None:
    """A document for programs."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> None:
    """Aligned columns; those in `right` to the right."""
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    for row in (columns, *rows):
        cells = [
            text.rjust(w) if i in right else text.ljust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def thousands(number: float | None) -> str:
    """An integer with thin spaces between thousands; a dash for nothing."""
    return "–" if number is None else f"{number:,.0f}".replace(",", "\u2009")
