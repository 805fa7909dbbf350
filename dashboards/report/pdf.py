"""The report as PDF: one or two pages of A4 for most months, drawn with fpdf2 in an embedded font."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fpdf import FPDF
from fpdf.enums import XPos, YPos

from dashboards.report.content import BAD, GOOD, NONE, PENDING, UNMEASURED, Content, Day
from dashboards.report.fonts import Fonts, fonts_for
from dashboards.style import LIGHT

WIDTH, HEIGHT = 210.0, 297.0
LEFT, RIGHT, TOP, FOOT = 16.0, 194.0, 15.0, 18.0
INNER = RIGHT - LEFT
MUCH = 0.05  # share of a day's minutes from which its colour is full
MIN_CREDITS_WIDTH = 14.0
LINE = 0.5  # mm a line takes per point of its size
SEAL_PT, SEAL_GAP = 7.4, 2.0

RED_SOFT, AMBER_SOFT, AMBER_FULL, CALM = "#f6dcdc", "#f4e6cf", "#d99a3a", "#e6edf7"


def pdf(content: Content, font: str | None = None, *, now_ms: int) -> bytes:
    """The document's bytes. `font`: see fonts.fonts_for; `now_ms` dates the file. Raises NoFont."""
    return bytes(_Sheet(content, font, now_ms).draw())


def fonts_of(content: Content, font: str | None = None) -> Fonts:
    """The fonts that `pdf` uses. Raises NoFont."""
    return fonts_for(_letters(content), font)


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    width: float
    right: bool = False


class _Sheet:
    """The pages being drawn, from the top down."""

    def __init__(self, content: Content, font: str | None, now_ms: int) -> None:
        self.content = content
        self.w = content.words
        self.pdf = FPDF(format="A4")
        fonts = fonts_of(content, font)
        self.pdf.add_font("report", "", fonts.regular, collection_font_number=fonts.face)
        self.pdf.add_font("report", "B", fonts.bold, collection_font_number=fonts.face)
        self.pdf.set_auto_page_break(False)
        self.pdf.set_margins(LEFT, TOP, WIDTH - RIGHT)
        self.pdf.c_margin = 0
        self.pdf.set_title(f"{content.customer} · {content.title} · {content.month}")
        self.pdf.set_lang("zh-CN" if content.language == "zh" else "en")
        self.pdf.set_producer("Dipper")
        self.pdf.set_creation_date(datetime.fromtimestamp(now_ms / 1000, UTC))
        self.y = TOP

    def draw(self) -> bytearray:
        self.pdf.add_page()
        self._header()
        self._headline()
        self._objectives()
        self._days_and_budget()
        self._lost()
        self._notes()
        self._seals()
        self._footers()
        return self.pdf.output()

    # --- pieces ---

    def _header(self) -> None:
        c = self.content
        self._text(c.title, 9, LIGHT.accent, bold=True)
        self._text(c.customer, 22, bold=True, gap=1.5)
        self._text(c.period, 10, LIGHT.muted)
        self._text(c.status, 10, LIGHT.text if c.final else LIGHT.muted, bold=c.final, gap=2.5)
        self._rule(self.y)
        self.y += 6

    def _headline(self) -> None:
        colour = {"red": LIGHT.red, "amber": LIGHT.amber}.get(self.content.tone, LIGHT.accent)
        top = self.y
        self._text(self.content.headline, 14, bold=True, x=LEFT + 5, gap=1)
        for line in self.content.details:
            self._text(line, 10, x=LEFT + 5, gap=0.5)
        self.pdf.set_fill_color(colour)
        self.pdf.rect(LEFT, top, 1.4, self.y - top, style="F")
        self.y += 6

    def _objectives(self) -> None:
        w, rows = self.w, self.content.rows
        self._title(w("objectives"))
        names = ("promised", "attained", "coverage", "bad", "unmeasured", "budget", "credit", "verdict")
        cells = [(r.promised, r.attained, r.coverage, r.bad, r.unmeasured, r.budget, r.credit, r.verdict) for r in rows]
        widths = [
            max(MIN_CREDITS_WIDTH, *(self._width(t, 8.2) for t in (w(f"col.{name}"), *(c[i] for c in cells)))) + 3
            for i, name in enumerate(names)
        ]
        first = INNER - sum(widths)
        if first < 40:  # intervals make wide columns; they are set smaller rather than broken
            widths = [width * (INNER - 40) / sum(widths) for width in widths]
            first = 40
        heads = [_Column(w("col.objective"), first)]
        heads += [_Column(w(f"col.{name}"), width, True) for name, width in zip(names, widths, strict=True)]
        self._heads(heads)
        for row, texts in zip(rows, cells, strict=True):
            lines = self._wrapped(row.label, first - 3, 9, bold=True)
            height = 4.4 * len(lines) + 6.6
            if self._room(height):
                self._heads(heads)
            self._cell(LEFT, self.y, first, "\n".join(lines), 9, bold=True)
            self._strip(LEFT, self.y + 4.4 * len(lines) + 0.8, min(first - 4, 62), row.days)
            x = LEFT + first
            tone = {"red": LIGHT.red, "amber": LIGHT.amber}.get(row.tone, LIGHT.text)
            for width, text, last in zip(widths, texts, (False,) * (len(names) - 1) + (True,), strict=True):
                size = min(8.2, 8.2 * (width - 1.5) / max(self._width(text, 8.2), 0.1))
                self._cell(x, self.y, width, text, size, tone if last else LIGHT.text, right=True, bold=last)
                x += width
            self.y += height
            self._rule(self.y - 0.9)
            self.y += 1.2
        self.y += 4

    def _strip(self, x: float, y: float, width: float, days: Sequence[Day]) -> None:
        step = width / len(days)
        for i, day in enumerate(days):
            self._box(x + i * step, y, step - 0.35, 3.2, day)

    def _days_and_budget(self) -> None:
        days = self.content.rows[0].days
        weeks = (days[0].weekday + len(days) + 6) // 7
        height = 12 + weeks * 8.6 + 9
        self._room(height)
        top, half = self.y, (INNER - 8) / 2
        self._calendar(LEFT, top, half, days)
        self._budget(LEFT + half + 8, top, half, height - 21)
        self.y = top + height + 2

    def _calendar(self, x: float, y: float, width: float, days: Sequence[Day]) -> None:
        y = self._small_title(x, y, width, self.w("calendar", objective=self.content.focus))
        side = width / 7
        for i, name in enumerate(self.w("weekdays").split()):
            self._cell(x + i * side, y, side, name, 7, LIGHT.muted, centre=True)
        y += 4.2
        for i, day in enumerate(days, days[0].weekday):
            self._day(x + i % 7 * side, y + i // 7 * 8.6, side - 0.8, 7.8, day)
        y += (days[0].weekday + len(days) + 6) // 7 * 8.6 + 0.6
        at = x
        shown = [s for s in (GOOD, BAD, UNMEASURED, NONE, PENDING) if s != PENDING or any(d.state == s for d in days)]
        for state in shown:
            text = self.w(f"key.{state}")
            self._box(at, y + 0.7, 2.4, 2.4, Day("", 0, 0, state, 0, 0, 0.0))
            self._cell(at + 3.2, y, 30, text, 6.6, LIGHT.muted)
            at += 3.2 + self._width(text, 6.6) + 3
        self._cell(x, y + 3.8, width, self.w("calendar.key"), 6.6, LIGHT.muted)

    def _day(self, x: float, y: float, width: float, height: float, day: Day) -> None:
        self._box(x, y, width, height, day)
        ink = "#ffffff" if day.state == BAD and day.share >= MUCH else LIGHT.text
        self._cell(x + 1, y + 0.4, width, str(day.day), 6.4, ink if day.lost else LIGHT.muted)
        if day.lost:
            self._cell(x, y + 3.1, width - 1.2, str(day.lost), 8.4, ink, right=True, bold=True)

    def _box(self, x: float, y: float, width: float, height: float, day: Day) -> None:
        much = day.share >= MUCH
        fills = {
            GOOD: CALM,
            BAD: LIGHT.red if much else RED_SOFT,
            UNMEASURED: AMBER_FULL if much else AMBER_SOFT,
        }
        if day.state in fills:
            self.pdf.set_fill_color(fills[day.state])
            self.pdf.rect(x, y, width, height, style="F")
            return
        self.pdf.set_draw_color(LIGHT.line)
        self.pdf.set_line_width(0.15)
        self.pdf.rect(x, y, width, height)
        if day.state == NONE:
            self.pdf.set_draw_color(LIGHT.faint)
            at = 1.2
            while at < width + height:
                x0, y0 = x + min(at, width), y + max(0.0, at - width)
                x1, y1 = x + max(0.0, at - height), y + min(at, height)
                self.pdf.line(x0, y0, x1, y1)
                at += 1.6

    def _budget(self, x: float, y: float, width: float, height: float) -> None:
        """The budget left after each day; a band below it, if unmeasured minutes were bad."""
        burn = self.content.burn
        y = self._small_title(x, y, width, burn.title) + 2
        x, width, height = x + 9, width - 9, height - 4
        least = max(min([0.0, *(burn.allowed - lost for _, lost in burn.spent)]), -2 * burn.allowed)
        scale = height / ((burn.allowed - least) or 1.0)

        def point(i: int, left: float) -> tuple[float, float]:
            return x + i / burn.days * width, y + min(height, (burn.allowed - left) * scale)

        upper = [point(0, burn.allowed), *(point(i, burn.allowed - bad) for i, (bad, _) in enumerate(burn.spent, 1))]
        lower = [point(0, burn.allowed), *(point(i, burn.allowed - lost) for i, (_, lost) in enumerate(burn.spent, 1))]
        self.pdf.set_fill_color(AMBER_SOFT)
        self.pdf.polygon([*upper, *reversed(lower)], style="F")
        zero = y + burn.allowed * scale
        self._line(x, y, x, y + height, LIGHT.line, 0.2)
        self._line(x, zero, x + width, zero, LIGHT.red, 0.25, dash=True)
        self.pdf.set_draw_color(LIGHT.accent)
        self.pdf.set_line_width(0.55)
        self.pdf.polyline(upper)
        self._cell(x - 9, y - 1.6, 8, f"{burn.allowed:.0f}", 6.8, LIGHT.muted, right=True)
        self._cell(x - 9, zero - 1.6, 8, "0", 6.8, LIGHT.muted, right=True)
        self._cell(x, y + height + 0.6, 10, "1", 6.8, LIGHT.muted)
        self._cell(x + width - 10, y + height + 0.6, 10, str(burn.days), 6.8, LIGHT.muted, right=True)
        foot = y + height + 4.4
        self._cell(x, foot, width, f"{self.w('budget.axis')}; {self.w('budget.key')}", 6.6, LIGHT.muted)

    def _lost(self) -> None:
        w, lost = self.w, self.content.lost
        self._room(24)
        self._title(w("lost"))
        if lost:
            widths = [
                max(self._width(text, 8.2) for text in (w(f"col.{name}"), *(getattr(row, name) for row in lost))) + 4
                for name in ("when", "objective", "lost")
            ]
            widths[1] = min(widths[1], 44.0)
            names = ("when", "objective", "lost", "what")
            heads = [_Column(w(f"col.{n}"), x) for n, x in zip(names, (*widths, INNER - sum(widths)), strict=True)]
            self._heads(heads)
            for row in lost:
                texts = (row.when, row.objective, row.lost, row.what)
                broken = [self._wrapped(t, h.width - 3, 8.2) for t, h in zip(texts, heads, strict=True)]
                height = 4.1 * max(map(len, broken)) + 1.4
                if self._room(height):
                    self._heads(heads)
                x = LEFT
                for i, (lines, head) in enumerate(zip(broken, heads, strict=True)):
                    tone = (LIGHT.red if row.tone == "red" else LIGHT.amber) if i == 2 else LIGHT.text
                    self._cell(x, self.y, head.width, "\n".join(lines), 8.2, tone, step=4.1)
                    x += head.width
                self.y += height
                self._rule(self.y - 0.8)
                self.y += 0.8
        if self.content.lost_note:
            self._text(self.content.lost_note, 8.6, LIGHT.muted)
        self.y += 5

    def _notes(self) -> None:
        half = (INNER - 8) / 2
        columns = ((self.w("restated"), self.content.restated), (self.w("method"), self.content.method))
        broken = [[self._wrapped(line, half, 8) for line in lines] for _, lines in columns]
        height = 8 + max(sum(4 * len(b) + 1 for b in lines) for lines in broken)
        self._room(height)
        for i, ((title, _), lines) in enumerate(zip(columns, broken, strict=True)):
            x = LEFT + i * (half + 8)
            y = self._small_title(x, self.y, half, title)
            for line in lines:
                self._cell(x, y, half, "\n".join(line), 8, LIGHT.muted, step=4)
                y += 4 * len(line) + 1
        self.y += height + 2

    def _seals(self) -> None:
        if not self.content.seals:
            return
        lines = [
            part for line in (*self.content.seals, self.w("seal.check")) for part in self._wrapped(line, INNER, SEAL_PT)
        ]
        self._room(SEAL_GAP + SEAL_PT * LINE * len(lines))
        self._rule(self.y)
        self.y += SEAL_GAP
        for line in lines:
            self._text(line, SEAL_PT, LIGHT.muted)

    def _footers(self) -> None:
        pages = self.pdf.pages_count
        for number in range(1, pages + 1):
            self.pdf.page = number
            left = f"{self.content.customer} – {self.content.month}"
            self._cell(LEFT, HEIGHT - 11, INNER, left, 7.4, LIGHT.faint)
            text = self.w("page", page=number, pages=pages)
            self._cell(LEFT, HEIGHT - 11, INNER, text, 7.4, LIGHT.faint, right=True)

    # --- strokes ---

    def _room(self, height: float) -> bool:
        """A new page when so much does not fit below; returns whether."""
        if self.y + height <= HEIGHT - FOOT:
            return False
        self.pdf.add_page()
        self.y = TOP
        return True

    def _title(self, text: str) -> None:
        self._text(text, 10.5, bold=True, gap=1.6)

    def _small_title(self, x: float, y: float, width: float, text: str) -> float:
        lines = self._wrapped(text, width, 9.6, bold=True)
        self._cell(x, y, width, "\n".join(lines), 9.6, bold=True, step=4.8)
        return y + 4.8 * len(lines) + 1.6

    def _heads(self, columns: Sequence[_Column]) -> None:
        x = LEFT
        for column in columns:
            self._cell(x, self.y, column.width, column.title, 7.6, LIGHT.muted, right=column.right)
            x += column.width
        self.y += 4.6
        self._rule(self.y)
        self.y += 1.4

    def _text(
        self, text: str, size: float, colour: str = LIGHT.text, *, bold: bool = False, x: float = LEFT, gap: float = 0.0
    ) -> None:
        """Lines at the present height, which moves below them."""
        lines = self._wrapped(text, RIGHT - x, size, bold=bold)
        self._cell(x, self.y, RIGHT - x, "\n".join(lines), size, colour, bold=bold, step=size * LINE)
        self.y += size * LINE * len(lines) + gap

    def _cell(
        self, x: float, y: float, width: float, text: str, size: float, colour: str = LIGHT.text, *, bold: bool = False,
        right: bool = False, centre: bool = False, step: float = 4.4,
    ) -> None:  # fmt: skip
        self._font(size, bold=bold)
        self.pdf.set_text_color(colour)
        for i, line in enumerate(_plain(text).split("\n")):
            self.pdf.set_xy(x, y + i * step)
            align = "R" if right else "C" if centre else "L"
            self.pdf.cell(width, step, line, align=align, new_x=XPos.RIGHT, new_y=YPos.TOP)

    def _wrapped(self, text: str, width: float, size: float, *, bold: bool = False) -> list[str]:
        self._font(size, bold=bold)
        lines: Any = self.pdf.multi_cell(
            width, 4, _plain(text), align="L", dry_run=True, output="LINES", wrapmode=_wrapmode(text)
        )
        return [str(line) for line in lines] or [""]

    def _width(self, text: str, size: float) -> float:
        self._font(size)
        return float(self.pdf.get_string_width(_plain(text)))

    def _font(self, size: float, *, bold: bool = False) -> None:
        self.pdf.set_font("report", "B" if bold else "", size)

    def _rule(self, y: float) -> None:
        self._line(LEFT, y, RIGHT, y, LIGHT.line, 0.2)

    def _line(
        self, x0: float, y0: float, x1: float, y1: float, colour: str, width: float, *, dash: bool = False
    ) -> None:
        self.pdf.set_draw_color(colour)
        self.pdf.set_line_width(width)
        self.pdf.set_dash_pattern(dash=1.2 if dash else 0, gap=1.0 if dash else 0)
        self.pdf.line(x0, y0, x1, y1)
        self.pdf.set_dash_pattern()


def _plain(text: str) -> str:
    """Few fonts have thin spaces; numbers must not break."""
    return text.replace("\u2009", "\u00a0")


def _wrapmode(text: str) -> Any:
    """Chinese breaks between letters, English between words."""
    wide = sum("\u2e80" <= letter <= "\uffef" for letter in text)
    return "CHAR" if wide * 3 > len(text) else "WORD"


def _letters(content: Content) -> str:
    """Enough of the text to know which letters it needs."""
    rows = [r.label for r in content.rows]
    return "".join((content.title, content.customer, content.headline, *rows, *(r.what for r in content.lost)))
