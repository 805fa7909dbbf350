"""The page of a customer's month against its objectives: the report as it is sent, and its files."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from functools import partial

import streamlit as st

from contracts.entities import Customer
from contracts.sla import Month
from dashboards import deeds, guard, markup
from dashboards.context import Context, NotSignedIn
from dashboards.lens import Lens
from dashboards.people import SHARE, NotAllowed
from dashboards.report.content import Content, content
from dashboards.report.fonts import NoFont
from dashboards.report.page import body, page, style
from dashboards.report.pdf import fonts_of, pdf
from dashboards.report.table import table
from dashboards.state import Range
from dashboards.viewer import viewing

MONTHS_SHOWN = 24
WIDTH = 880  # of the report, in its style sheet
_DRAWING = re.compile(r'<svg (?P<attributes>[^>]*aria-label="(?P<label>[^"]*)")>(?P<inner>.*?)</svg>', re.DOTALL)


def sla_page(lens: Lens, chosen: Range) -> None:
    """The chosen customer's report; the range of the other pages does not matter here."""
    del chosen
    guard.guarded(_draw, lens.words.language)


def _draw(context: Context, lens: Lens) -> None:
    w = lens.words
    customer: Customer | None = context.registry.customer(st.session_state.get("customer", ""))
    if customer is None:
        st.html(markup.blank(w("empty.customers"), [w("empty.customers_do")]))
        return
    months = context.backend.promised_months(customer.id, lens.now)[:MONTHS_SHOWN]
    if not months:
        st.html(markup.blank(w("sla.none", name=customer.name), [w("sla.none_do")]))
        return
    shares = context.share is not None and viewing(w).may(SHARE)
    bar = st.columns((3, *[1] * (5 if shares else 4)), vertical_alignment="bottom", width=WIDTH)
    month: Month = bar[0].selectbox(w("sla.month"), months, format_func=str, key="sla-month", width=160)
    document = context.backend.report(customer, month, lens.now)
    said = content(document, w.language)
    name = f"{customer.id}-{month}"
    files: dict[str, tuple[str, Callable[[], bytes | str]]] = {
        "pdf": ("application/pdf", partial(pdf, said, context.report_font, now_ms=lens.now)),
        "html": ("text/html", partial(page, said)),
        "csv": ("text/csv", partial(table, document)),
        "json": ("application/json", partial(json.dumps, document, ensure_ascii=False, indent=1)),
    }
    for place, (form, (mime, make)) in zip(bar[1:5], files.items(), strict=True):
        if form == "pdf" and not _has_fonts(said, context.report_font):
            place.caption(w("sla.no_font"))
        else:  # made when somebody asks for it
            place.download_button(
                form.upper(), make, f"{name}.{form}", mime, key=f"sla-{form}", on_click="ignore", width="stretch"
            )
    if shares:
        with bar[-1].popover(w("sla.share"), width="stretch"):
            _sharing(context, lens, customer, month)
    st.html(style())
    st.html(f'<div class="r">{_with_pictures(body(said), lens)}</div>')


def _has_fonts(said: Content, font: str | None) -> bool:
    try:
        fonts_of(said, font)
    except NoFont:
        return False
    return True


def _with_pictures(markup: str, lens: Lens) -> str:
    """Streamlit takes drawings out of markup, but not pictures: each becomes one, in the theme's colours."""
    c = lens.colours
    sheet = (
        f"text{{font:11px sans-serif;fill:{c.muted}}}.band{{fill:{c.amber};opacity:.25}}"
        f".line{{fill:none;stroke:{c.accent};stroke-width:2}}.zero{{stroke:{c.red};stroke-dasharray:4 3}}"
    )

    def picture(found: re.Match[str]) -> str:
        drawing = (
            f'<svg xmlns="http://www.w3.org/2000/svg" {found["attributes"]}><style>{sheet}</style>{found["inner"]}'
        )
        data = base64.b64encode(f"{drawing}</svg>".encode()).decode()
        return f'<img class="burn" alt="{found["label"]}" src="data:image/svg+xml;base64,{data}">'

    return _DRAWING.sub(picture, markup)


def _sharing(context: Context, lens: Lens, customer: Customer, month: Month) -> None:
    """A link to the report, for whoever has no account; each is noted with who made it."""
    w, make = lens.words, context.share
    st.caption(w("sla.share_is", name=customer.name, month=month))
    if make is None or not st.button(w("sla.share_do"), key="sla-share"):
        return
    what = f"report {month}"
    try:
        st.code(
            deeds.share(context, viewing(w), customer.id, what, lambda: make(customer.id, month, w.language)),
            language=None, wrap_lines=True,
        )  # fmt: skip
    except (NotAllowed, NotSignedIn):
        st.caption(w("act.not_yours"))
