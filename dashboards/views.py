"""The pages. Each queries, calls one pure function, draws."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import streamlit as st

from contracts.entities import Customer
from dashboards import (
    accounts_page,
    data_page,
    explore_page,
    frontend,
    guard,
    ledger,
    markup,
    overview,
    pipeline,
    releases_page,
    rules_page,
    scores_page,
    sla_page,
    triage_page,
)
from dashboards import customer as customer_view
from dashboards.context import Context
from dashboards.figures import customer_figure
from dashboards.lens import Lens
from dashboards.people import Person
from dashboards.state import RANGES, Range
from dashboards.viewer import viewing

ROWS_FIRST = 40  # customers drawn before a viewer asks for all of them
HOME = ""  # of whoever does not see the overview: leads on to their first page


def drawn() -> dict[str, Callable[[Lens, Range], None]]:
    """All pages there are, by name, in the order of the navigation."""
    return {
        "overview": overview_page,
        "triage": triage_page.triage_page,
        "customer": customer_page,
        "sla": sla_page.sla_page,
        "scores": scores_page.scores_page,
        "releases": releases_page.releases_page,
        "rules": rules_page.rules_page,
        "explore": explore_page.explore_page,
        "data": data_page.data_page,
        "ledger": ledger_page,
        "accounts": accounts_page.accounts_page,
    }


def pages(lens: Lens, person: Person) -> dict[str, Any]:
    """The pages somebody sees by name, titled in their language. The overview, or HOME, is at /."""
    found = {
        name: st.Page(
            partial(_page, function, lens), title=lens.words(f"page.{name}"), url_path=name, default=name == "overview"
        )
        for name, function in drawn().items()
        if person.sees(name)
    }
    if "overview" in found:
        return found
    first = next(iter(found.values()))
    lead_on = partial(_lead_on, first)
    return {HOME: st.Page(lead_on, title="Dipper", url_path="home", default=True), **found}


def _lead_on(page: Any) -> None:
    st.switch_page(page, query_params=st.query_params.to_dict())


def _page(draw: Callable[[Lens, Range], None], lens: Lens) -> None:
    draw(lens, RANGES[st.session_state["range"]])


# ---- overview


def overview_page(lens: Lens, chosen: Range) -> None:
    """The fleet, worst customers first."""
    guard.live(_overview)(lens.words.language, chosen)


def _overview(language: str, chosen: Range) -> None:
    guard.guarded(partial(_draw_overview, chosen=chosen), language)


def _draw_overview(context: Context, lens: Lens, chosen: Range) -> None:
    w = lens.words
    customers = context.registry.customers()
    fleet = context.backend.fleet(*chosen.bounds(lens.now), chosen.step_ms)
    if fleet.newest is None:
        _draw_empty(context, lens, chosen, customers)
        return
    view = overview.overview(fleet, customers, fresh=not lens.is_stale(fleet.newest))
    late = lens.is_stale(fleet.newest)
    sentence = w("stale.sentence", span=lens.span(lens.now - fleet.newest)) if late else overview.sentence(view, lens)
    status = guard.status_of(context)
    st.html(markup.answer(sentence, _details(lens, chosen, fleet.present_start, fleet.present_end, status)))
    _notice(fleet.newest if late else None, status, lens)
    st.html(markup.figures(overview.key_figures(view, lens)))
    everything = len(view.rows) <= ROWS_FIRST or st.session_state.get("show_all", False)
    shown = len(view.rows) if everything else ROWS_FIRST
    range_name = w(f"range.{chosen.name}")
    link = {"range": chosen.name, "lang": w.language}  # explicit: a link is for whoever gets it
    st.html(overview.strip_title(fleet, lens, range_name))
    opened = frontend.strip(overview.strip(view, fleet, lens, link, shown), w, lens.zone.key)
    if len(view.rows) > ROWS_FIRST:
        st.toggle(w("control.show_all", count=len(view.rows)), key="show_all")
    left, right = st.columns(2, gap="large")
    span = view.present_ms
    left.html(overview.groups_table(fleet.isps, w("column.isp"), w("overview.by_isp"), span, lens))
    right.html(overview.groups_table(fleet.regions, w("column.region"), w("overview.by_region"), span, lens))
    if opened:
        st.switch_page(pages(lens, viewing(w))["customer"], query_params={**link, "customer": opened})


def _draw_empty(context: Context, lens: Lens, chosen: Range, customers: Any) -> None:
    w = lens.words
    if not customers:
        st.html(markup.blank(w("empty.customers"), [w("empty.customers_do")]))
        return
    do = w("empty.do_demo") if context.demo else w("empty.do")
    sentence = w("empty.sentence", range=w(f"range.{chosen.name}"))
    st.html(markup.blank(sentence, [w("empty.why"), do]))


def _details(lens: Lens, chosen: Range, start: int, end: int, status: pipeline.Status) -> list[str]:
    """What a page's figures rest on."""
    w = lens.words
    return [
        pipeline.detail(status, lens),
        w("present.span", start=lens.clock(start), end=lens.clock(end)),
        w("step.span", span=lens.span(chosen.step_ms)),
        w("zone", zone=lens.zone_name()),
        w("live", span=lens.span(guard.REFRESH_S * 1000)),
    ]


def _notice(stale: int | None, status: pipeline.Status, lens: Lens) -> None:
    """Why figures are old or not complete. Its place is there always: what follows would else be drawn from scratch
    when a notice comes or goes, and a chart lose its zoom."""
    place = st.empty()
    if stale is not None:
        place.html(markup.stale(lens, stale))
    elif pipeline.is_late(status):
        place.html(pipeline.banner(status, lens))


# ---- customer


def customer_page(lens: Lens, chosen: Range) -> None:
    """One customer over time."""
    guard.live(_customer)(lens.words.language, chosen, st.session_state.get("customer"))


def _customer(language: str, chosen: Range, customer_id: str | None) -> None:
    guard.guarded(partial(_draw_customer, chosen=chosen, customer_id=customer_id), language)


def _draw_customer(context: Context, lens: Lens, chosen: Range, customer_id: str | None) -> None:
    w = lens.words
    customer: Customer | None = context.registry.customer(customer_id) if customer_id else None
    if customer is None:
        st.html(markup.blank(w("empty.customers"), [w("empty.customers_do")]))
        return
    service = st.session_state.get("service") or None
    data = context.backend.customer(customer.id, service, *chosen.bounds(lens.now), chosen.step_ms)
    if data.newest is None:
        _draw_empty(context, lens, chosen, [customer])
        return
    view = customer_view.customer_view(data, customer, service, fresh=not lens.is_stale(data.newest))
    late = lens.is_stale(data.newest)
    sentence = customer_view.sentence(view, lens)
    if late:
        sentence = w("stale.sentence", span=lens.span(lens.now - data.newest))
    status = guard.status_of(context)
    st.html(markup.answer(sentence, _details(lens, chosen, data.present_start, data.present_end, status)))
    _notice(data.newest if late else None, status, lens)
    st.html(markup.figures(customer_view.key_figures(view, lens)))
    revision = f"{customer.id} {service} {chosen.name}"
    figure = customer_figure(view, customer_view.titles(view, lens), lens, revision)
    guard.plot(figure, f"chart-{customer.id}")
    st.html(customer_view.changes_table(view.markers, lens))


# ---- ledger


def ledger_page(lens: Lens, chosen: Range) -> None:
    """The accounting of everything that came in; it has no range: the books are whole."""
    del chosen
    guard.live(_ledger)(lens.words.language)


def _ledger(language: str) -> None:
    guard.guarded(_draw_ledger, language)


def _draw_ledger(context: Context, lens: Lens) -> None:
    w = lens.words
    books = context.backend.books(lens.now)
    status = guard.status_of(context)
    details = [
        w("ledger.scope"),
        pipeline.detail(status, lens),
        w("pipeline.at", time=lens.clock(lens.now, seconds=True)),
        w("zone", zone=lens.zone_name()),
    ]
    if not books.device_count:
        do = w("empty.do_demo") if context.demo else w("empty.do")
        st.html(markup.blank(ledger.sentence(books, lens), [w("ledger.empty_why"), do]))
        st.html(ledger.refusals_table(books, lens))
        return
    st.html(markup.answer(ledger.sentence(books, lens), details))
    if pipeline.is_late(status):
        st.html(pipeline.banner(status, lens))
    st.html(ledger.equation(books, lens))
    st.html(ledger.devices_table(books, lens))
    left, right = st.columns(2, gap="large")
    left.html(ledger.lost_table(books, lens))
    right.html(ledger.refusals_table(books, lens))
