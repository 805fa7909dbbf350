"""`dipper history import FILE`: minutes of a past before Dipper, so that detectors begin with a baseline."""

from __future__ import annotations

import argparse
import base64
from pathlib import Path
from typing import Any

from contracts.times import MINUTE_MS
from dipper import settings
from dipper.clock import wall_clock
from dipper.command import add_data_arguments, print_json, process_of

EPILOG = """\
One row per minute, customer, service and measure: minute,customer,service,measure,bad,total[,label]; label is ok
(usual, the default) or trouble (not to be learned). .csv with a header, .jsonl/.ndjson with one object per line, or
.parquet. The same file again changes nothing; the same row with other counts replaces the one before. Detectors learn
it at the next start. docs/detectors.md says more.
"""


def add_verb(verbs: Any) -> None:
    """Register `import` among the verbs of `history`."""
    parser = verbs.add_parser(
        "import",
        help="labelled past minutes from a file, for the detectors to learn from",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help=".csv, .jsonl, .ndjson or .parquet")
    add_data_arguments(parser)
    parser.set_defaults(run=run_import)


def run_import(arguments: argparse.Namespace) -> int:
    """Check all of it, then store all of it."""
    from dipper import past_import
    from dipper.operations import opened
    from dipper.progress import Progress
    from dipper.replay_operations import packed

    path, now = arguments.file, wall_clock() // MINUTE_MS * MINUTE_MS
    source = past_import.fingerprint(path)
    checking = Progress("checking", path.stat().st_size)
    rows = past_import.check(path, now, lambda n: checking.update(0, f"{n} rows") if n % 10_000 == 0 else None)
    checking.finish()
    process = process_of(arguments)
    storing = Progress("storing", rows)
    stored = 0
    with opened(process, settings.load_policy(process.policy), read_only=False) as ask:
        for block in past_import.blocks(path, now):
            rows_of_block = base64.b64encode(packed(block)).decode()
            stored += ask("history.import", {"rows": rows_of_block, "source": source, "version": now})["rows"]
            storing.update(stored, f"{stored} of {rows} rows")
    storing.finish()
    result = {"rows": stored, "source": source}
    said = f"{stored} rows are imported; detectors learn them at the next start"
    print_json(result) if arguments.json else print(said)
    return 0
