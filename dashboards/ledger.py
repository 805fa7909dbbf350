"""The ledger page's view: the books as a sentence, an equation and tables. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from dashboards import format as fmt
from dashboards.lens import Lens
from dashboards.markup import Cell, table
from dashboards.model import Books, LostRange
from history.books import Account

_LEFT = ("reported", "double_counted")
_RIGHT = ("stored", "rejected", "declared_dropped", "pending", "lost")
_RANGES_SHOWN = 100


def sentence(books: Books, lens: Lens) -> str:
    """What is so: the gravest fault of the books, or that there is none."""
    w, requests, slices = lens.words, books.requests, books.slices
    total = fmt.count(requests.reported)
    if not (requests.reported or slices.reported or requests.stored):
        return w("ledger.empty")
    if requests.difference or slices.difference:
        n, cut = fmt.count(abs(requests.difference)), fmt.count(abs(slices.difference))
        return w("ledger.unbalanced", requests=n, slices=cut)
    if books.disagreeing_minutes:
        return w("ledger.disagreeing", n=books.disagreeing_minutes)
    if requests.double_counted or slices.double_counted:
        doubled = fmt.count(requests.double_counted)
        return w("ledger.doubled", doubled=doubled, slices=fmt.count(slices.double_counted), total=total)
    if requests.lost or slices.lost or books.lost_range_count:
        return w("ledger.lost", lost=fmt.count(requests.lost), total=total, n=books.lost_range_count)
    if requests.pending or slices.pending:
        return w("ledger.pending", pending=fmt.count(requests.pending), total=total)
    return w("ledger.clean", total=total)


def equation(books: Books, lens: Lens) -> str:
    """Both accounts as one readable equation, term over term."""
    w = lens.words
    terms = [(name, "+" if i else "") for i, name in enumerate(_LEFT)]
    terms += [(name, "+" if i else "=") for i, name in enumerate(_RIGHT)]
    heads = "".join(
        f"<th></th><th>{escape(w(f'term.{name}'))}<small>{escape(w(f'term.{name}.help'))}</small></th>"
        for name, _ in terms
    )
    rows = "".join(
        f'<tr><td class="name">{escape(w(f"ledger.{kind}"))}</td>{_terms(account, terms)}{_verdict(account, lens)}</tr>'
        for kind, account in (("requests", books.requests), ("slices", books.slices))
    )
    balanced = not (books.requests.difference or books.slices.difference)
    title = w("ledger.equation") if balanced else w("ledger.inequation")
    return (
        f'<div class="d"><h2>{escape(title)}</h2><div class="d-equation">'
        f"<table><thead><tr><th></th>{heads}<th></th></tr></thead><tbody>{rows}</tbody></table></div>"
        f'<p class="d-sub">{escape(w("ledger.note"))}</p>{_on_the_way(books, lens)}</div>'
    )


def _on_the_way(books: Books, lens: Lens) -> str:
    """What is stored but does not show everywhere yet."""
    w = lens.words
    parts = []
    if books.dirty_minutes:
        parts.append(w("ledger.dirty", n=books.dirty_minutes))
    if books.unheaded_requests:
        parts.append(w("ledger.unheaded", count=fmt.count(books.unheaded_requests)))
    return f'<p class="d-sub">{"".join(f"<span>{escape(p)}</span>" for p in parts)}</p>' if parts else ""


def _terms(account: Account, terms: Sequence[tuple[str, str]]) -> str:
    cells = []
    for name, sign in terms:
        value = getattr(account, name)
        css = "figure" if value else "figure zero"
        if value and name in ("lost", "double_counted"):
            css += " amber"
        cells.append(f'<td class="op">{sign}</td><td class="{css}">{fmt.count(value)}</td>')
    return "".join(cells)


def _verdict(account: Account, lens: Lens) -> str:
    if account.difference == 0:
        return f'<td class="verdict muted">✓ {escape(lens.words("ledger.balanced"))}</td>'
    text = lens.words("ledger.off_by", difference=fmt.count(account.difference))
    return f'<td class="verdict amber">≠ {escape(text)}</td>'


def devices_table(books: Books, lens: Lens) -> str:
    """Every box's account of requests, most troubled first."""
    w = lens.words
    heads = [(w("column.box"), ""), (w("column.last_seen"), "num"), (w("column.boots"), "num")]
    heads += [(w(f"term.{name}"), "num") for name in (*_LEFT, *_RIGHT)]
    rows = []
    for device in books.devices:
        seen = Cell(w("no_data"), "num muted")
        if device.last_seen is not None:
            late = lens.is_stale(device.last_seen)
            css = "num amber" if late else "num"
            seen = Cell(lens.ago(device.last_seen), css, lens.clock(device.last_seen, seconds=True))
        cells = [Cell(device.device, "mono"), seen, Cell(fmt.count(device.boots), "num muted")]
        cells += [_account_cell(name, getattr(device.requests, name)) for name in (*_LEFT, *_RIGHT)]
        rows.append(cells)
    note = ""
    if len(books.devices) < books.device_count:
        text = w("ledger.devices_some", shown=fmt.count(len(books.devices)), total=fmt.count(books.device_count))
        note = f'<p class="d-sub">{escape(text)}</p>'
    return f'<div class="d"><h2>{escape(w("ledger.devices"))}</h2>{table(heads, rows, scroll=True)}{note}</div>'


def _account_cell(name: str, value: int) -> Cell:
    trouble = value and name in ("lost", "double_counted")
    return Cell(fmt.count(value), "num amber" if trouble else "num" if value else "num muted")


def lost_table(books: Books, lens: Lens) -> str:
    """Gaps that nobody declared, by box and start of its agent."""
    w = lens.words
    title = f"<h2>{escape(w('ledger.lost_ranges'))}</h2>"
    if not books.lost_ranges:
        return f'<div class="d">{title}<p class="d-sub">{escape(w("ledger.lost_none"))}</p></div>'
    heads = [(w("column.box"), ""), (w("column.boot"), ""), (w("column.gap"), "num"), (w("column.requests"), "num")]
    shown = books.lost_ranges[:_RANGES_SHOWN]
    rows = [
        [
            Cell(r.device, "mono"),
            Cell(r.boot, "mono"),
            Cell(_gap(r), "num"),
            Cell(w("no_data") if r.requests is None else fmt.count(r.requests), "num"),
        ]
        for r in shown
    ]
    more = books.lost_range_count - len(shown)
    note = f'<p class="d-sub">{escape(w("ledger.lost_more", more=fmt.count(more)))}</p>' if more > 0 else ""
    return f'<div class="d">{title}{table(heads, rows, scroll=True)}{note}</div>'


def _gap(lost: LostRange) -> str:
    return f"{lost.first}" if lost.first == lost.last else f"{lost.first} … {lost.last}"


def refusals_table(books: Books, lens: Lens) -> str:
    """What the gateway refused, by reason, most first."""
    w = lens.words
    title = f"<h2>{escape(w('ledger.refusals'))}</h2>"
    if not books.refusals:
        return f'<div class="d">{title}<p class="d-sub">{escape(w("ledger.refusals_none"))}</p></div>'
    heads = [(w("column.reason"), ""), (w("column.reports"), "num"), (w("column.newest"), "num")]
    rows = [
        [
            Cell(r.reason, "mono"),
            Cell(fmt.count(r.reports), "num"),
            Cell(w("no_data") if r.newest is None else lens.ago(r.newest), "num"),
        ]
        for r in sorted(books.refusals, key=lambda r: (-r.reports, r.reason))
    ]
    return f'<div class="d">{title}{table(heads, rows)}<p class="d-sub">{escape(w("ledger.refusals_do"))}</p></div>'
