"""Tables of text for terminals: aligned columns, numbers to the right, wide characters counted as two."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

GAP = "  "


def width(text: str) -> int:
    """Columns a text takes on a terminal: East Asian wide characters take two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Lines of a table; columns whose header is in `right` are aligned to the right. No trailing blanks."""
    widths = [max(width(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        cells = []
        for name, cell, wide in zip(header, row, widths, strict=True):
            blanks = " " * (wide - width(cell))
            cells.append(blanks + cell if name in right else cell + blanks)
        lines.append(GAP.join(cells).rstrip())
    return "\n".join(lines)


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 device`, `2,000 devices`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(milliseconds: int) -> str:
    """A duration in its largest whole unit: `24 h`, `90 min`, `1.5 s`."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if milliseconds >= size and milliseconds % size == 0:
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds / 1000:g} s"
