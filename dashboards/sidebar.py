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
from dashboards.login_page import LOG_OUT
from dashboards.messages import LANGUAGES
from dashboards.people import CUSTOMER, Person
from dashboards.pipeline import pipeline_markup
from dashboards.state import RANGES
from dashboards.viewer import viewer_lens

REFRESH_S = 5
CONTROLS = {"range": "range", "customer": "customer", "service": "service", "language": "lang"}  # parameter of each
_log = logging.getLogger(__name__)
CHOSE_CUSTOMER = "chose_customer"  # in the session: the customer control was just used


def draw(
    lens: Lens,
    person: Person,
    pages: Mapping[str, Any],
    names: Mapping[str, str],
    services: Sequence[str],
    carried: Mapping[str, str],
) -> None:
    """`pages` by name, `names` of customers by id, `services` to choose from, `carried`: what links hand on. A
    customer's account has one customer and no range to choose, and our pipeline is not its concern."""
    w = lens.words
    st.html(style.sheet(lens.colours, w("offline")))
    with st.sidebar:
        with st.container(key="pages", gap=None):
            for page in (page for name, page in pages.items() if name):
                st.page_link(page, width="stretch", query_params=dict(carried))
        if person.role != CUSTOMER:
            _control("range", list(RANGES), lens, lambda r: w(f"range.{r}"))
            _control("customer", list(names), lens, lambda c: names.get(c, c))
        if len(services) > 1:
            _control("service", ["", *services], lens, lambda s: s or w("control.all_services"))
        _control("language", list(LANGUAGES), lens, lambda code: LANGUAGES[code])
        with st.container(gap=None):
            st.html(f'<div class="d-label">{escape(w("control.theme"))}</div>')
            frontend.theme_switch(w, ["/", *(f"/{page.url_path}" for page in pages.values())])
        with st.container(key="foot"):
            _who(person, names, lens)
            if person.role != CUSTOMER:
                _pipeline(w.language)


def _who(person: Person, names: Mapping[str, str], lens: Lens) -> None:
    """Whose eyes these are, and the way out."""
    w = lens.words
    if not person.leaves:
        said = w("person.demo_signed_in") if _is_demo() else w("person.nobody")
        st.html(f'<div class="d d-who"><p>{escape(said)}</p></div>')
        return
    role = names.get(person.customer, person.customer) if person.role == CUSTOMER else w(f"person.role.{person.role}")
    out = f'<a href="{LOG_OUT}" target="_self">{escape(w("login.leave"))}</a>' if person.leaves == "local" else ""
    st.html(f'<div class="d d-who"><b>{escape(person.name)}</b><span>{escape(role)}</span>{out}</div>')
    if person.leaves == "oidc":
        st.button(w("login.leave"), key="leave", type="tertiary", on_click=st.logout)


def _is_demo() -> bool:
    try:
        return current().demo
    except NotReady:
        return False


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
