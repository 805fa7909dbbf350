from __future__ import annotations

import pytest

from dipper.tables import counted, duration, table, width


def test_columns_are_aligned_and_numbers_stand_right() -> None:
    assert table(["NAME", "N"], [["a", "5"], ["longer", "1,200"]], ["N"]).splitlines() == [
        "NAME        N",
        "a           5",
        "longer  1,200",
    ]


def test_wide_characters_take_two_columns() -> None:
    assert width("视频ab") == 6
    assert width("e\u0301") == 1
    lines = table(["A", "B"], [["视频", "x"], ["abcd", "y"]]).splitlines()
    assert lines == ["A     B", "视频  x", "abcd  y"]


def test_no_trailing_blanks_and_a_header_alone_is_a_table() -> None:
    assert table(["A", "LONG"], [["x", ""]]) == "A  LONG\nx"
    assert table(["A", "LONG"], []) == "A  LONG"


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(86_400_000, "1 d"), (90 * 60_000, "90 min"), (7_200_000, "2 h"), (1_500, "1.5 s"), (0, "0 s")],
)
def test_durations_use_their_largest_whole_unit(milliseconds: int, text: str) -> None:
    assert duration(milliseconds) == text


def test_counts_agree_with_their_noun() -> None:
    assert (counted(1, "box", "boxes"), counted(2_000, "box", "boxes"), counted(0, "device")) == (
        "1 box",
        "2,000 boxes",
        "0 devices",
    )
