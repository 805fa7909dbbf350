"""The page on health scores: who gets less traffic and why, how much of the budget is used, one box's story."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import streamlit as st

from contracts.health import Score
from contracts.times import HOUR_MS, MINUTE_MS
from dashboards import frontend, guard, markup, scores
from dashboards.context import Context
from dashboards.context import Scores as Source
from dashboards.lens import Lens
from dashboards.state import Range
from dashboards.viewer import customers

BOX = "box"  # parameter of the address
LONGEST_MS = 6 * HOUR_MS  # of one box's story


def scores_page(lens: Lens, chosen: Range) -> None:
    """Every box's health, and one box over time."""
    guard.live(_scores)(lens.words.language, chosen)


def _scores(language: str, chosen: Range) -> None:
    guard.guarded(partial(_draw, chosen=chosen), language)


def _draw(context: Context, lens: Lens, chosen: Range) -> None:
    w = lens.words
    source = context.scores
    if source is None:
        st.html(markup.blank(w("scores.away"), [w("scores.away_why"), w("scores.away_do")]))
        return
    known: Sequence[Score] = source.all()
    if not known:
        st.html(markup.blank(w("scores.empty"), [w("scores.empty_why"), w("scores.empty_do")]))
        return
    found, budget = scores.summary(known, lens.now), source.budget()
    details = [
        w("scores.computed", time=lens.clock(found.computed_at, seconds=True)),
        w("zone", zone=lens.zone_name()),
        w("live", span=lens.span(guard.REFRESH_S * 1000)),
    ]
    st.html(markup.answer(scores.sentence(found, budget, lens), details))
    st.html(markup.figures(scores.key_figures(found, budget, lens)))
    st.html(markup.heading(scores.distribution_title(found, lens)))
    guard.plot(scores.distribution_figure(found, lens), "scores-values")
    wanted = st.query_params.get(BOX, "")
    picked = frontend.clicks(scores.boxes_table(known, wanted, lens), "scores-boxes")
    if picked and picked != wanted:
        st.query_params[BOX] = picked
        st.rerun()
    _box(context, source, wanted, lens, chosen)
    left, right = st.columns(2, gap="large")
    left.html(scores.budget_table(budget, lens, customers()))
    right.html(scores.strata_table(known, lens))


def _box(context: Context, source: Source, wanted: str, lens: Lens, chosen: Range) -> None:
    """One box: its score, what it served, its vital signs."""
    w = lens.words
    st.session_state["scores-box"] = wanted
    st.text_input(
        w("scores.find"),
        key="scores-box",
        placeholder=w("scores.find_hint"),
        max_chars=128,
        width=320,
        on_change=_asked,
    )
    if not wanted:
        return
    score = source.of(wanted)
    if score is None:
        st.html(markup.notice([w("scores.unknown_box")]))
        return
    end = lens.now - lens.now % MINUTE_MS
    span = end - min(chosen.length_ms, LONGEST_MS), end
    story, changes = context.backend.box(wanted, *span), source.changes(wanted)
    st.html(scores.box_head(score, lens))
    st.html(markup.heading(scores.story_title(wanted, story, span[1] - span[0], lens)))
    guard.plot(scores.story_figure(wanted, story, changes, span, lens), f"box-{wanted}")
    left, right = st.columns(2, gap="large")
    left.html(scores.changes_list(changes, lens))
    right.html(scores.vitals_table(story, lens))


def _asked() -> None:
    name = str(st.session_state["scores-box"]).strip()
    if name:
        st.query_params[BOX] = name
    elif BOX in st.query_params:
        del st.query_params[BOX]
