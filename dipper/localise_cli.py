"""`dipper localise`: which combination of dimension values explains a dip, for a case in a CSV or Parquet file."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from anomaly.localise import (
    Cause,
    ChangeSettings,
    Combination,
    CorrelatedChange,
    CountSettings,
    Localisation,
    LocaliseError,
    RatioSettings,
    ScopedChange,
    Span,
    correlate,
    localise_counts,
    localise_ratio,
)
from contracts.entities import Change, change_from_json
from contracts.errors import ContractError
from dipper.localise_input import CaseError, CountCase, Dimensions, RatioCase, read_count_case, read_ratio_case

EXIT_BAD_INPUT = 2
UNKNOWN_VALUE = -1
"""Code of a value that no row of the case has: it selects nothing."""

DESCRIPTION = """\
Ratios: bad events of a total, with the minutes before as history:
  dipper localise case.csv --at 1566644880 --bad value --total cnt
Counts: real against forecast, one row per combination:
  dipper localise case.parquet --real real --forecast predict
All other columns are dimensions. Exit code 2: the input cannot be used, and one sentence says why."""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand `localise`."""
    parser = subparsers.add_parser(
        "localise",
        help="name the combination of dimensions that explains a dip",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("case", metavar="CASE", help="CSV (UTF-8) or Parquet file")
    ratio = parser.add_argument_group("ratios")
    ratio.add_argument("--at", type=int, metavar="EPOCH", help="the bad moment, as the time column has it")
    ratio.add_argument("--bad", metavar="COLUMN", help="bad events")
    ratio.add_argument("--total", metavar="COLUMN", help="all events")
    ratio.add_argument("--time", default="min", metavar="COLUMN", help="time of the row, seconds UTC (default: min)")
    ratio.add_argument("--changes", metavar="FILE", help="JSON list of changes to correlate with the causes")
    counts = parser.add_argument_group("counts")
    counts.add_argument("--real", metavar="COLUMN", help="real counts")
    counts.add_argument("--forecast", metavar="COLUMN", help="their forecast")
    parser.add_argument("--ignore", action="append", default=[], metavar="COLUMN", help="not a dimension; repeatable")
    parser.add_argument("--max-order", type=int, metavar="N", help="dimensions per cause at most")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit code 0 with an answer (also when it is "no cause"), 2 with a sentence on stderr."""
    try:
        document = _answer(args)
    except (CaseError, LocaliseError) as error:
        print(f"dipper localise: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    print(json.dumps(document, ensure_ascii=False, indent=1) if args.json else as_text(document))
    return 0


def _answer(args: argparse.Namespace) -> dict[str, Any]:
    ratio = [args.at, args.bad, args.total]
    counts = [args.real, args.forecast]
    ignore = tuple(args.ignore)
    order = {} if args.max_order is None else {"max_order": args.max_order}
    if None not in ratio and counts == [None, None]:
        case = read_ratio_case(args.case, args.at, args.bad, args.total, args.time, ignore)
        result = localise_ratio(
            case.dimensions.codes, case.bad, case.total, len(case.minutes) - 1, RatioSettings(**order)
        )
        changes = read_changes(args.changes) if args.changes else None
        return ratio_document(case, result, changes)
    if None not in counts and ratio == [None, None, None] and args.changes is None:
        of_counts = read_count_case(args.case, args.real, args.forecast, ignore)
        result = localise_counts(of_counts.dimensions.codes, of_counts.real, of_counts.forecast, CountSettings(**order))
        return count_document(of_counts, result)
    raise CaseError("give either --at, --bad and --total, or --real and --forecast")


def read_changes(path: str) -> list[Change]:
    """Changes from a JSON list. Raises CaseError."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CaseError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CaseError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, list):
        raise CaseError(f"{path}: expected a list of changes, got {type(document).__name__}")
    changes = []
    for number, item in enumerate(document, 1):
        try:
            changes.append(change_from_json(item))
        except ContractError as error:
            raise CaseError(f"{path}, change {number}: {error}") from error
    return changes


def ratio_document(case: RatioCase, result: Localisation, changes: Sequence[Change] | None) -> dict[str, Any]:
    """What `--json` prints for ratios."""
    document = _document(case.dimensions, result)
    for cause, entry in zip(result.causes, document["causes"], strict=True):
        if cause.onset is None:
            continue
        span = {
            "at": case.minutes[cause.onset.minute],
            "earliest": case.minutes[cause.onset.earliest],
            "latest": case.minutes[cause.onset.latest],
        }
        entry["onset"] = span
        if changes is not None:
            milliseconds = Span(
                earliest_ms=span["earliest"] * 1000, onset_ms=span["at"] * 1000, latest_ms=span["latest"] * 1000
            )
            scoped = [_scoped(case.dimensions, change) for change in changes]
            known = [s for s in scoped if s is not None]
            found = correlate(
                case.dimensions.codes, case.total[:, -1], cause.where, milliseconds, known, ChangeSettings()
            )
            entry["changes"] = [_change_entry(c) for c in found]
    return document


def count_document(case: CountCase, result: Localisation) -> dict[str, Any]:
    """What `--json` prints for counts."""
    return _document(case.dimensions, result)


def _document(dimensions: Dimensions, result: Localisation) -> dict[str, Any]:
    return {
        "verdict": result.verdict.value,
        "reason": result.reason,
        "bad": result.bad,
        "expected": None if math.isnan(result.expected) else result.expected,
        "total": result.total,
        "causes": [_cause_entry(dimensions, cause) for cause in result.causes],
    }


def _cause_entry(dimensions: Dimensions, cause: Cause) -> dict[str, Any]:
    return {
        "where": dimensions.named(cause.where),
        "answer": cause.answer,
        "share": cause.share,
        "bad": cause.bad,
        "expected": cause.expected,
        "total": cause.total,
        "leaves": cause.leaves,
        "purity": cause.purity,
        "gain": cause.gain,
        "equivalents": [
            {
                "where": dimensions.named(e.where),
                "leaves_only_in_cause": e.leaves_only_in_cause,
                "leaves_only_in_equivalent": e.leaves_only_in_equivalent,
                "differing_leaves": [
                    dimensions.named(tuple(enumerate(dimensions.codes[leaf].tolist()))) for leaf in e.differing_leaves
                ],
            }
            for e in cause.equivalents
        ],
    }


def _scoped(dimensions: Dimensions, change: Change) -> ScopedChange | None:
    """The change in codes of the case; None when it speaks of a dimension that the case does not have."""
    if any(name not in dimensions.names for name in change.scope):
        return None
    scope: list[tuple[int, int]] = []
    for name, value in change.scope.items():
        dim = dimensions.names.index(name)
        values = dimensions.values[dim]
        scope.append((dim, values.index(value) if value in values else UNKNOWN_VALUE))
    where: Combination = tuple(sorted(scope))
    return ScopedChange(id=change.id, scope=where, start_ms=change.start, end_ms=change.end)


def _change_entry(change: CorrelatedChange) -> dict[str, Any]:
    return {
        "id": change.id,
        "relation": change.relation.value,
        "delay_s": change.delay_ms / 1000,
        "share_of_scope": change.share_of_scope,
        "share_of_cause": change.share_of_cause,
        "score": change.score,
    }


def as_text(document: dict[str, Any]) -> str:
    """A table of the causes and one sentence for each of the answer."""
    lines = [f"{document['verdict']}: {document['reason']}"]
    if not document["causes"]:
        return lines[0]
    header = f"{'':2}{'share':>6} {'bad':>10} {'expected':>10} {'total':>10} {'purity':>7} {'gain':>9}  combination"
    lines += ["", header]
    lines += [
        f"{'*' if c['answer'] else ' ':2}{c['share']:>6.0%} {c['bad']:>10.0f} {c['expected']:>10.1f} "
        f"{c['total']:>10.0f} {c['purity']:>7.2f} {c['gain']:>9.1f}  {_named(c['where'])}"
        for c in document["causes"]
    ]
    lines.append("")
    lines += [_sentence(cause) for cause in document["causes"] if cause["answer"]]
    return "\n".join(lines)


def _named(where: dict[str, str]) -> str:
    return " and ".join(f"{name}={value or '(empty)'}" for name, value in where.items()) or "everything"


def _sentence(cause: dict[str, Any]) -> str:
    text = (
        f"{_named(cause['where'])} has {cause['bad']:.0f} where {cause['expected']:.0f} were expected, "
        f"{cause['share']:.0%} of the whole excess"
    )
    if "onset" in cause:
        text += f", since {_clock(cause['onset']['at'])}"
    same = [_named(e["where"]) + ("" if not e["differing_leaves"] else " (nearly)") for e in cause["equivalents"]]
    if same:
        text += f"; here the same rows as {', or '.join(same)}"
    for change in cause.get("changes", [])[:1]:
        text += (
            f"; change {change['id']} {change['relation']} it, {change['delay_s']:.0f} s before, "
            f"{change['share_of_scope']:.0%} of its scope affected"
        )
    return text + "."


def _clock(epoch_s: int) -> str:
    try:
        return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return str(epoch_s)


def main(argv: Sequence[str] | None = None) -> int:
    """The subcommand on its own."""
    parser = argparse.ArgumentParser(prog="python -m dipper.localise_cli")
    add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(argv)
    code: int = args.run(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
