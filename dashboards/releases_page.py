"""The page on roll-outs: each with its verdict, the chosen one with its arithmetic."""

from __future__ import annotations

import time
from collections.abc import Sequence

import streamlit as st

from contracts.entities import Change
from contracts.errors import ContractError
from contracts.releases import Release
from dashboards import frontend, guard, markup, pipeline, releases
from dashboards.context import Context
from dashboards.context import Releases as Source
from dashboards.lens import Lens
from dashboards.state import Range
from dashboards.viewer import customers

CARDS = 20
REFRESH_S = 30
BUDGET_S = 1.0  # for verdicts of the list, beside the chosen one's
RELEASE = "release"  # parameter of the address


def releases_page(lens: Lens, chosen: Range) -> None:
    """Roll-outs of the last thirty days, whatever the range of the other pages."""
    del chosen
    guard.live(_releases, REFRESH_S)(lens.words.language)


def _releases(language: str) -> None:
    guard.guarded(_draw, language)


def _draw(context: Context, lens: Lens) -> None:
    w = lens.words
    source = context.releases
    if source is None:
        st.html(markup.blank(w("releases.away"), [w("releases.away_do")]))
        return
    found = list(source.recent())
    if not found:
        st.html(markup.blank(w("releases.empty"), [w("releases.empty_why"), w("releases.empty_do")]))
        return
    wanted = st.query_params.get(RELEASE, found[0].id)
    try:
        release = source.judge(wanted)
    except ContractError as error:
        st.html(markup.blank(w("releases.unknown"), [w("releases.refused", expected=error.expected, got=error.got)]))
        release = None
    else:
        _head(context, release, lens)
    left, right = st.columns([1, 2.35], gap="medium")
    verdicts = _verdicts(source, found[:CARDS], release)
    with left:
        picked = frontend.clicks(releases.cards(found[:CARDS], verdicts, wanted, lens), "releases")
    if picked and picked != wanted:
        st.query_params[RELEASE] = picked
        st.rerun()
    if release is not None:
        with right:
            _one(release, lens)


def _head(context: Context, release: Release, lens: Lens) -> None:
    w = lens.words
    status = guard.status_of(context)
    span = {"start": lens.clock(release.change.start), "end": lens.clock(release.judged_until)}
    details = [
        pipeline.detail(status, lens),
        w("releases.judged", **span),
        w("zone", zone=lens.zone_name()),
        w("live", span=lens.span(REFRESH_S * 1000)),
    ]
    st.html(markup.answer(releases.sentence(release, lens), details))
    guard.late(status, lens)


def _verdicts(source: Source, found: Sequence[Change], release: Release | None) -> dict[str, str]:
    """Verdicts of the list as far as time allows; those left out say so."""
    known = {} if release is None else {release.change.id: release.verdict}
    begun = time.perf_counter()
    for change in found:
        if change.id in known:
            continue
        if time.perf_counter() - begun > BUDGET_S:
            break
        known[change.id] = source.judge(change.id).verdict
    return known


def _one(release: Release, lens: Lens) -> None:
    st.html(markup.figures(releases.key_figures(release, lens)))
    st.html(markup.heading(releases.rates_title(release, lens)))
    guard.plot(releases.rates_figure(release, lens), f"rates-{release.change.id}")
    st.html(markup.heading(releases.evidence_title(release, lens)))
    guard.plot(releases.evidence_figure(release, lens), f"evidence-{release.change.id}")
    st.html(releases.arithmetic(release, lens))
    st.html(releases.groups_table(release, lens, customers()))
