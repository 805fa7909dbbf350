"""`dipper share CUSTOMER MONTH`: a signed link to one report, which expires."""

from __future__ import annotations

import argparse
import re

from contracts.sla import Month
from contracts.times import DAY_MS, rfc3339
from dipper.clock import wall_clock
from dipper.command import add_data_arguments, print_json, process_of
from dipper.customer_side import SHARED_PREFIX
from dipper.report_cli import FORMATS
from dipper.settings import SettingsError, environment
from dipper.share import Share, checked, link, share_key

_URL = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `share`."""
    parser = subparsers.add_parser(
        "share",
        help="a signed link to a customer's report, which expires",
        description="Whoever has the link sees this report and nothing else, until it expires. A new DIPPER_SHARE_KEY "
        "(or share.key in the data directory) ends all links at once.",
    )
    parser.add_argument("customer", metavar="CUSTOMER")
    parser.add_argument("month", metavar="YYYY-MM")
    parser.add_argument("--days", type=int, default=30, metavar="N", help="how long it opens (default: %(default)s)")
    parser.add_argument("--format", choices=FORMATS, default="html", help="(default: %(default)s)")
    parser.add_argument("--language", choices=("en", "zh"), default="en", help="(default: %(default)s)")
    parser.add_argument("--url", default="http://127.0.0.1:8410", metavar="URL", help="where customers reach Dipper")
    add_data_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the link."""
    if not _URL.fullmatch(arguments.url):
        raise SettingsError(f"--url: expected http(s)://HOST[:PORT][/PATH], got {arguments.url!r}")
    now = wall_clock()
    month = Month.parse(arguments.month, "YYYY-MM")
    share = checked(Share(arguments.customer, month, now + arguments.days * DAY_MS), now)
    data = process_of(arguments).data
    if not data.is_dir():
        raise SettingsError(f"--data: expected a data directory, got {str(data)!r}")
    text = link(share_key(environment(), data), share)
    address = f"{arguments.url.rstrip('/')}{SHARED_PREFIX}{arguments.language}/{text}.{arguments.format}"
    if arguments.json:
        print_json({"url": address, "expires_at": rfc3339(share.expires_at)})
    else:
        print(address)
    return 0
