"""The sidebar: pages, controls, and the state of our own pipeline at its foot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import streamlit as st

from dashboards import frontend, style
from dashboards.context import NotReady, current
from dashboards.lens import Lens
from dashboards.messages import LANGUAGES
from dashboards.pipeline import pipeline_markup
from dashboards.state import RANGES
from dashboards.viewer import viewer_lens

REFRESH_S = 5
CHOSE_CUSTOMER = "chose_customer"  # in the session: the customer control was just used


def draw(
    lens: Lens, pages: Mapping[str, Any], names: Mapping[str, str], services: Sequence[str], carried: Mapping[str, str]
) -> None:
    """`pages` by name, `names` of customers by id, `services` to choose from, `carried`: what links hand on."""
    w = lens.words
    st.html(style.sheet(lens.colours))
    with st.sidebar:
        with st.container(key="pages", gap=None):
            for page in pages.values():
                st.page_link(page, width="stretch", query_params=dict(carried))
        st.selectbox(w("control.range"), list(RANGES), key="range", format_func=lambda r: w(f"range.{r}"))
        st.selectbox(
            w("control.customer"), list(names), key="customer", format_func=lambda c: names.get(c, c),
            disabled=not names, on_change=_chose_customer,
        )  # fmt: skip
        if len(services) > 1:
            st.selectbox(
                w("control.service"), ["", *services], key="service",
                format_func=lambda s: s or w("control.all_services"),
            )  # fmt: skip
        st.selectbox(w("control.language"), list(LANGUAGES), key="lang", format_func=lambda code: LANGUAGES[code])
        with st.container(gap=None):
            st.html(f'<div class="d-label">{escape(w("control.theme"))}</div>')
            frontend.theme_switch(w, ["/", *(f"/{page.url_path}" for page in pages.values())])
        with st.container(key="foot"):
            _pipeline(w.language)


def _chose_customer() -> None:
    st.session_state[CHOSE_CUSTOMER] = True


@st.fragment(run_every=REFRESH_S)
def _pipeline(language: str) -> None:
    lens = viewer_lens(language)
    try:
        context = current()
    except NotReady:
        st.html(pipeline_markup({}, lens, demo=False))
        return
    st.html(pipeline_markup(context.status(), lens, demo=context.demo))
