"""The sidebar: pages, controls, and the state of our own pipeline at its foot."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
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
CONTROLS = {"range": "range", "customer": "customer", "service": "service", "language": "lang"}  # parameter of each
_log = logging.getLogger(__name__)
CHOSE_CUSTOMER = "chose_customer"  # in the session: the customer control was just used


def draw(
    lens: Lens, pages: Mapping[str, Any], names: Mapping[str, str], services: Sequence[str], carried: Mapping[str, str]
) -> None:
    """`pages` by name, `names` of customers by id, `services` to choose from, `carried`: what links hand on."""
    w = lens.words
    st.html(style.sheet(lens.colours, w("offline")))
    with st.sidebar:
        with st.container(key="pages", gap=None):
            for page in pages.values():
                st.page_link(page, width="stretch", query_params=dict(carried))
        _control("range", list(RANGES), lens, lambda r: w(f"range.{r}"))
        _control("customer", list(names), lens, lambda c: names.get(c, c))
        if len(services) > 1:
            _control("service", ["", *services], lens, lambda s: s or w("control.all_services"))
        _control("language", list(LANGUAGES), lens, lambda code: LANGUAGES[code])
        with st.container(gap=None):
            st.html(f'<div class="d-label">{escape(w("control.theme"))}</div>')
            frontend.theme_switch(w, ["/", *(f"/{page.url_path}" for page in pages.values())])
        with st.container(key="foot"):
            _pipeline(w.language)


def _control(name: str, options: list[str], lens: Lens, label: Callable[[str], str]) -> None:
    """A choice kept in the session under its parameter's name. The widget's own key is another: Streamlit forgets a
    widget's value when a run ends early, and the choice must survive that."""
    parameter = CONTROLS[name]
    key = f"control-{parameter}"
    if options:
        st.session_state[key] = st.session_state[parameter]
    title = lens.words(f"control.{name}")
    st.selectbox(
        title, options, key=key, format_func=label, disabled=not options, on_change=_take, args=(parameter,),
        filter_mode="contains" if name == "customer" else None,
    )  # fmt: skip


def _take(parameter: str) -> None:
    value = st.session_state[f"control-{parameter}"]
    # After a run that was cut short, a value we set ourselves comes back as if somebody had chosen it.
    if value == st.session_state.get(parameter):
        return
    st.session_state[parameter] = value
    if parameter == "customer":
        st.session_state[CHOSE_CUSTOMER] = True


@st.fragment(run_every=REFRESH_S)
def _pipeline(language: str) -> None:
    lens = viewer_lens(language)
    status: Mapping[str, float | None] = {}
    demo = False
    try:
        context = current()
        demo = context.demo
        status = context.status()
    except NotReady:
        _log.debug("the pages have no data source yet")
    except Exception as error:
        _log.warning("the pipeline's state cannot be had: %s", error)
    st.html(pipeline_markup(status, lens, demo=demo))
