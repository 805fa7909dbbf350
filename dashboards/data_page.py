"""The page on the data's own health: what came in, how late, what did not, and why."""

from __future__ import annotations

from functools import partial

import streamlit as st

from contracts.times import MINUTE_MS
from dashboards import guard, intake, ledger, markup, pipeline
from dashboards.context import Context
from dashboards.lens import Lens
from dashboards.state import Range
from dashboards.viewer import customers


def data_page(lens: Lens, chosen: Range) -> None:
    """How far the figures of all other pages can be trusted."""
    guard.live(_data)(lens.words.language, chosen)


def _data(language: str, chosen: Range) -> None:
    guard.guarded(partial(_draw, chosen=chosen), language)


def _draw(context: Context, lens: Lens, chosen: Range) -> None:
    w = lens.words
    start, end = chosen.bounds(lens.now)
    data = context.backend.intake(start, end, chosen.step_ms, lens.now)
    status = guard.status_of(context)
    if not data.hearing.total:
        do = w("empty.do_demo") if context.demo else w("empty.do")
        st.html(markup.blank(w("data.empty"), [w("empty.why"), do]))
        st.html(intake.rejections(data, lens))
        return
    incidents = context.backend.incidents(start, end + MINUTE_MS)
    details = [
        pipeline.detail(status, lens),
        w("explore.from", start=lens.clock(start), end=lens.clock(end)),
        w("zone", zone=lens.zone_name()),
        w("live", span=lens.span(guard.REFRESH_S * 1000)),
    ]
    st.html(markup.answer(intake.sentence(data, status, lens), details))
    guard.late(status, lens)
    figures = st.container()  # filled last: the ledger reads everything, and all else need not wait for it
    st.html(markup.heading(intake.coverage_title(data, lens)))
    guard.plot(intake.coverage_figure(data, lens, chosen.name), "data-coverage")
    left, right = st.columns(2, gap="large")
    scores = context.scores
    computed = max((s.computed_at for s in scores.all()), default=None) if scores is not None else None
    left.html(intake.stages_table(data, computed, lens))
    right.html(intake.customers_table(data, lens, customers()))
    left, right = st.columns([1.15, 1], gap="large")
    left.html(intake.silence_table(data, incidents, lens))
    right.html(intake.silent_boxes(data, incidents, lens))
    st.html(intake.rejections(data, lens))
    books = context.backend.books(lens.now)
    figures.html(markup.figures(intake.key_figures(data, books, status, lens)))
    st.html(intake.ledger_link(ledger.sentence(books, lens), lens))
