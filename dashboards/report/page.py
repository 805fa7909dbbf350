"""The report as one HTML page that needs nothing else: no script, no font, no picture. Pure; all data is escaped."""

from __future__ import annotations

from html import escape
from pathlib import Path

from dashboards.report.content import PENDING, Content, Day, Row

_CSS = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def page(content: Content) -> str:
    """A whole document, to be kept as a file or sent."""
    language = "zh-CN" if content.language == "zh" else "en"
    title = f"{content.customer} · {content.title} · {content.month}"
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_CSS}</style></head>"
        f'<body><main class="r">{body(content)}</main></body></html>'
    )


def body(content: Content) -> str:
    """The report's markup, for a page that has the style sheet."""
    return "".join(
        (
            _head(content),
            _objectives(content),
            f'<section class="two"><div>{_calendar(content)}</div><div>{_burn(content)}</div></section>',
            _lost(content),
            _notes(content),
            _seals(content),
        )
    )


def _head(content: Content) -> str:
    details = _lines(content.details)
    return (
        f'<header><p class="kicker">{escape(content.title)}</p><h1>{escape(content.customer)}</h1>'
        f"<p>{escape(content.period)}</p>"
        f'<p class="status{" final" if content.final else ""}">{escape(content.status)}</p></header>'
        f'<section class="head {content.tone}"><h2>{escape(content.headline)}</h2>{details}</section>'
    )


def _notes(content: Content) -> str:
    w = content.words
    return (
        f'<section class="two small"><div><h3>{escape(w("restated"))}</h3>{_lines(content.restated)}</div>'
        f"<div><h3>{escape(w('method'))}</h3>{_lines(content.method)}</div></section>"
    )


def style() -> str:
    """The style sheet of `body`."""
    return f"<style>{_CSS}</style>"


def _lines(lines: tuple[str, ...]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _objectives(content: Content) -> str:
    w = content.words
    heads = [("objective", ""), ("promised", "n"), ("attained", "n"), ("coverage", "n"), ("bad", "n")]
    heads += [("unmeasured", "n"), ("budget", "n"), ("credit", "n"), ("verdict", "")]
    head = "".join(f'<th class="{css}">{escape(w(f"col.{name}"))}</th>' for name, css in heads)
    body = "".join(_row(row) for row in content.rows)
    return f"<section><h3>{escape(w('objectives'))}</h3><table><thead><tr>{head}</tr></thead>{body}</table></section>"


def _row(row: Row) -> str:
    cells = [row.promised, row.attained, row.coverage, row.bad, row.unmeasured, row.budget, row.credit]
    numbers = "".join(f'<td class="n">{escape(text)}</td>' for text in cells)
    strip = "".join(f'<i class="{day.state}{" much" if day.share >= 0.05 else ""}"></i>' for day in row.days)
    return (
        f'<tr><td><b>{escape(row.label)}</b><span class="strip" aria-hidden="true">{strip}</span></td>{numbers}'
        f'<td class="verdict {row.tone}">{escape(row.verdict)}</td></tr>'
    )


def _calendar(content: Content) -> str:
    w = content.words
    days = content.rows[0].days
    names = "".join(f"<th>{escape(name)}</th>" for name in w("weekdays").split())
    cells = ["<td></td>"] * days[0].weekday + [_cell(day) for day in days]
    cells += ["<td></td>"] * (-len(cells) % 7)
    weeks = "".join(f"<tr>{''.join(cells[i : i + 7])}</tr>" for i in range(0, len(cells), 7))
    keys = "".join(
        f'<span><i class="{name}"></i>{escape(w(f"key.{name}"))}</span>'
        for name in ("good", "bad", "unmeasured", "none", "pending")
        if name != PENDING or any(day.state == PENDING for day in days)
    )
    return (
        f"<h3>{escape(w('calendar', objective=content.focus))}</h3>"
        f'<table class="calendar"><thead><tr>{names}</tr></thead>{weeks}</table>'
        f'<p class="keys">{keys}<span>{escape(w("calendar.key"))}</span></p>'
    )


def _cell(day: Day) -> str:
    lost = f"<b>{day.lost}</b>" if day.lost else ""
    return f'<td class="{day.state}{" much" if day.share >= 0.05 else ""}"><span>{day.day}</span>{lost}</td>'


def _burn(content: Content) -> str:
    """The budget left after each day, as a line; below it a band, down to where it would be with unmeasured minutes
    bad."""
    burn, w = content.burn, content.words
    width, height = 320.0, 150.0
    least = min([0.0, *(burn.allowed - lost for _, lost in burn.spent)])
    # A month that was lost by far keeps its budget visible: the line leaves at the foot.
    least = max(least, -2 * burn.allowed)
    scale = height / ((burn.allowed - least) or 1.0)

    def point(i: int, left: float) -> str:
        return f"{i / burn.days * width:.1f},{min(height, (burn.allowed - left) * scale):.1f}"

    upper = [point(0, burn.allowed), *(point(i, burn.allowed - bad) for i, (bad, _) in enumerate(burn.spent, 1))]
    lower = [point(0, burn.allowed), *(point(i, burn.allowed - lost) for i, (_, lost) in enumerate(burn.spent, 1))]
    zero = burn.allowed * scale
    return (
        f"<h3>{escape(burn.title)}</h3>"
        f'<svg class="burn" viewBox="-34 -8 {width + 44:g} {height + 30:g}" role="img"'
        f' aria-label="{escape(burn.title)}">'
        f'<polygon class="band" points="{" ".join([*upper, *reversed(lower)])}"/>'
        f'<polyline class="line" points="{" ".join(upper)}"/>'
        f'<line class="zero" x1="0" x2="{width:g}" y1="{zero:.1f}" y2="{zero:.1f}"/>'
        f'<text x="-4" y="4" text-anchor="end">{burn.allowed:.0f}</text>'
        f'<text x="-4" y="{zero + 4:.1f}" text-anchor="end">0</text>'
        f'<text x="0" y="{height + 16:g}">1</text>'
        f'<text x="{width:g}" y="{height + 16:g}" text-anchor="end">{burn.days}</text></svg>'
        f'<p class="keys"><span>{escape(w("budget.axis"))}</span><span>{escape(w("budget.key"))}</span></p>'
    )


def _lost(content: Content) -> str:
    w = content.words
    title = f"<h3>{escape(w('lost'))}</h3>"
    note = f'<p class="note">{escape(content.lost_note)}</p>' if content.lost_note else ""
    if not content.lost:
        return f"<section>{title}{note}</section>"
    head = "".join(f"<th>{escape(w(f'col.{name}'))}</th>" for name in ("when", "objective", "lost", "what"))
    rows = "".join(
        f'<tr><td class="t">{escape(row.when)}</td><td>{escape(row.objective)}</td>'
        f'<td class="n {row.tone}">{escape(row.lost)}</td><td>{escape(row.what)}</td></tr>'
        for row in content.lost
    )
    return f"<section>{title}<table><thead><tr>{head}</tr></thead>{rows}</table>{note}</section>"


def _seals(content: Content) -> str:
    if not content.seals:
        return ""
    return f'<section class="small seal">{_lines((*content.seals, content.words("seal.check")))}</section>'
