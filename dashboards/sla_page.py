"""The page of a customer's month against its objectives: the report as it is sent, and its files."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import streamlit as st

from contracts.entities import Customer
from contracts.sla import Month
from dashboards import guard, markup
from dashboards.context import Context
from dashboards.lens import Lens
from dashboards.report.content import content
from dashboards.report.fonts import NoFont
from dashboards.report.page import body, page, style
from dashboards.report.pdf import pdf
from dashboards.report.table import table
from dashboards.state import Range

MONTHS_SHOWN = 24


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
    bar = st.columns((3, 1, 1, 1, 1), vertical_alignment="bottom")
    month: Month = bar[0].selectbox(w("sla.month"), months, format_func=str, key="sla-month", width=160)
    document = context.backend.report(customer, month, lens.now)
    said = content(document, w.language)
    name = f"{customer.id}-{month}"
    files: dict[str, tuple[str, Any]] = {
        "pdf": ("application/pdf", partial(pdf, said, context.report_font, now_ms=lens.now)),
        "html": ("text/html", partial(page, said)),
        "csv": ("text/csv", partial(table, document)),
        "json": ("application/json", partial(json.dumps, document, ensure_ascii=False, indent=1)),
    }
    for place, (form, (mime, make)) in zip(bar[1:], files.items(), strict=True):
        try:
            place.download_button(form.upper(), make(), f"{name}.{form}", mime, key=f"sla-{form}", width="stretch")
        except NoFont:
            place.caption(w("sla.no_font"))
    st.html(style())
    st.html(f'<div class="r">{body(said)}</div>')
