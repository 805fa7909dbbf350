"""The failure table, exhaustively, and against the table that the documentation shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent_exporter.failures import OUTCOMES, failure_of

DOCS = Path(__file__).parents[2] / "docs" / "agent.md"
METHODS = ("GET", "HEAD", "POST")
RESET, SERVER, COMPLETE = {0, 444}, set(range(500, 1000)) - {504}, set(range(200, 300)) - {204}


def by_hand(status: int, method: str, completed: bool, promised: int | None, sent: int) -> str:
    """The rule written down a second time, as a list of cases instead of a chain of decisions."""
    cases = {
        "f_reset": status in RESET,
        "f_timeout": status == 504,
        "f_server": status in SERVER,
        "f_incomplete": status in COMPLETE
        and method in {"GET", "POST"}
        and completed
        and promised is not None
        and sent < promised,
    }
    named = [name for name, holds in cases.items() if holds]
    assert len(named) <= 1
    return named[0] if named else ""


def test_every_status_method_and_length_agrees_with_the_cases_written_by_hand() -> None:
    for status in range(1000):
        for method in METHODS:
            for completed in (True, False):
                for promised, sent in ((None, 0), (None, 5), (0, 0), (10, 0), (10, 9), (10, 10), (10, 11)):
                    arguments = (status, method, completed, promised, sent)
                    assert failure_of(*arguments) == by_hand(*arguments), arguments


@pytest.mark.parametrize(
    ("status", "completed", "sent", "failure"),
    [
        (200, True, 1000, ""),
        (200, True, 400, "f_incomplete"),  # the upstream broke off
        (200, False, 400, ""),  # the client went away
        (206, True, 400, "f_incomplete"),
        (304, True, 0, ""),
        (404, True, 0, ""),
        (408, True, 0, ""),  # the client was too slow
        (499, False, 0, ""),  # the client gave up
        (444, False, 0, "f_reset"),
        (0, False, 0, "f_reset"),
        (500, True, 0, "f_server"),
        (502, True, 0, "f_server"),
        (503, True, 0, "f_server"),
        (504, True, 0, "f_timeout"),
    ],
)
def test_known_answers_have_their_class(status: int, completed: bool, sent: int, failure: str) -> None:
    assert failure_of(status, "GET", completed, 1000, sent) == failure


def documented() -> list[tuple[str, str]]:
    """(statuses or outcome, class) of the rows of the two tables in the documentation."""
    rows = re.findall(r"^\| `([\w.-]+(?:`, `[\w.-]+)*)` \|[^|]*\| (`f_\w+`|none) \|$", DOCS.read_text(), re.MULTILINE)
    return [(first, second.strip("`").replace("none", "")) for first, second in rows]


def test_documented_table_covers_every_status_and_says_what_the_function_does() -> None:
    seen = set()
    for first, failure in documented():
        for item in first.split("`, `"):
            if item in OUTCOMES:
                continue
            low, _, high = item.partition("..")
            for status in range(int(low), int(high or low) + 1):
                assert status not in seen, status
                seen.add(status)
                if not 200 <= status < 300:
                    assert failure_of(status, "GET", True, None, 0) == failure, status
    assert seen >= set(range(100, 600)) | {0}


def test_documented_outcomes_are_those_of_the_code() -> None:
    table = {item: failure for first, failure in documented() for item in first.split("`, `") if item in OUTCOMES}
    assert table == OUTCOMES
