"""`dipper report CUSTOMER MONTH`: the service level report as PDF, page, CSV or JSON; `--verify` checks one."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from contracts.auth import check_id
from contracts.errors import ContractError
from contracts.sla import Month
from contracts.times import from_rfc3339
from dipper.command import add_data_arguments, ask
from dipper.errors import DipperError
from dipper.settings import SettingsError, environment

FORMATS = ("pdf", "html", "csv", "json")
FONT = "DIPPER_REPORT_FONT"
EPILOG = """\
examples:
  dipper report acme 2026-10                         acme-2026-10.pdf
  dipper report acme 2026-10 --format html --language zh --out report.html
  dipper report acme 2026-10 --format json --out october.json
  dipper report --verify october.json                is each sealed account in it the one that was sealed?

Pages and PDF need a font with Chinese letters for Chinese: fonts-noto-cjk of Debian, or DIPPER_REPORT_FONT=FILE[:BOLD].
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `report`."""
    parser = subparsers.add_parser(
        "report",
        help="a customer's month against its objectives: PDF, page, CSV, JSON",
        description="What was promised, what was attained, where the lost minutes are. Figures of an ended month are "
        "provisional for 48 h, then sealed.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("customer", nargs="?", metavar="CUSTOMER")
    parser.add_argument("month", nargs="?", metavar="YYYY-MM")
    parser.add_argument("--format", choices=FORMATS, default="pdf", help="(default: %(default)s)")
    parser.add_argument("--language", choices=("en", "zh"), default="en", help="of page and PDF (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: CUSTOMER-MONTH.pdf or .html; CSV, JSON: stdout"
    )
    parser.add_argument("--verify", type=Path, metavar="FILE", help="check a report in JSON instead")
    add_data_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the report, or check one."""
    if arguments.verify is not None:
        return verify(arguments.verify)
    if arguments.customer is None or arguments.month is None:
        raise SettingsError("report: expected CUSTOMER and YYYY-MM, or --verify FILE")
    check_id("CUSTOMER", arguments.customer)
    month = str(Month.parse(arguments.month, "YYYY-MM"))
    chosen = "json" if arguments.json else arguments.format
    document = ask(arguments, "report", {"customer": arguments.customer, "month": month})
    data = rendered(document, chosen, arguments.language)
    if arguments.out is None and chosen in ("csv", "json"):
        sys.stdout.write(data.decode())
        return 0
    out = arguments.out or Path(f"{arguments.customer}-{month}.{chosen}")
    try:
        out.write_bytes(data)
    except OSError as error:
        raise DipperError(f"{out}: cannot be written: {error.strerror}") from None
    print(os.fspath(out))
    return 0


def rendered(document: dict[str, Any], form: str, language: str) -> bytes:
    """A report's bytes. Raises DipperError when a font is wanting."""
    if form == "json":
        return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()
    if form == "csv":
        from dashboards.report.table import table

        return table(document).encode()
    from dashboards.report.content import content
    from dashboards.report.fonts import NoFont
    from dashboards.report.page import page

    said = content(document, language)
    if form == "html":
        return page(said).encode()
    from dashboards.report.pdf import pdf

    try:
        return pdf(said, environment().get(FONT), now_ms=from_rfc3339(document["as_of"]))
    except NoFont as error:
        raise DipperError(str(error)) from None


def verify(file: Path) -> int:
    """Say of each account of a report in JSON whether its seal is right; 1 when one is not."""
    from history.sla_seal import verify as is_sealed

    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        accounts = document["objectives"]
        names = [account["objective"]["name"] for account in accounts]
        seals = [account["seal"] for account in accounts]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ContractError("bad_report", str(file), "a report in JSON (dipper report --format json)", error) from None
    bad = 0
    for name, seal, account in zip(names, seals, accounts, strict=True):
        if not seal:
            print(f"{name}: not sealed yet")
        elif is_sealed(account):
            print(f"{name}: as sealed {seal['sealed_at']}, {seal['sha256']}")
        else:
            bad += 1
            print(f"{name}: NOT what was sealed as {seal['sha256']}")
    return 1 if bad else 0
