"""What stands around every page: address, sidebar, navigation; and the last resort when even that fails."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import streamlit as st

from dashboards import guard, markup, sidebar, style, views
from dashboards.context import NotSignedIn
from dashboards.messages import LANGUAGES, Words
from dashboards.state import RANGES, parameters, read_url, write_url
from dashboards.viewer import ICON, browser_language, customers, default_range, services, viewer_lens, viewing

_log = logging.getLogger(__name__)


def draw() -> None:
    """One run of the script for one viewer."""
    st.set_page_config(page_title="Dipper", page_icon=ICON, layout="wide", initial_sidebar_state="expanded")
    try:
        _draw()
    except NotSignedIn:
        _ask()
    except Exception:
        reference = uuid.uuid4().hex[:8]
        _log.exception("page fault %s", reference)
        words = Words(browser_language())
        st.html(style.sheet(style.palette(st.context.theme.type), words("offline")))
        st.html(markup.fault(words, reference))


def _ask() -> None:
    """Nobody looks yet: on to the identity provider for whoever wants to, nothing for anybody else. A browser comes
    here without the gate's own page only when its session ends while a page is open."""
    lens = viewer_lens(browser_language())
    if st.query_params.get("sso") == "1" and st.user.get("is_logged_in") is False:
        st.login()
        return
    st.html(style.sheet(lens.colours, lens.words("offline")))
    guard.signed_out(lens)


def _draw() -> None:
    session: Any = st.session_state
    person = viewing(Words(browser_language()))
    names = customers()
    choices = {"range": list(RANGES), "lang": list(LANGUAGES), "customer": list(names)}
    choices["service"] = ["", *services(st.query_params.get("customer", session.get("customer", "")))]
    defaults = {
        "range": default_range(),
        "lang": browser_language(),
        "customer": next(iter(names), ""),
        "service": "",
    }
    read_url(st.query_params, session, choices, defaults)
    if session["customer"] not in names:  # it was unregistered, or the first one has just come
        session["customer"] = defaults["customer"]
    lens = viewer_lens(session["lang"])
    pages = views.pages(lens, person)
    page = st.navigation(list(pages.values()), position="hidden")
    on_customer = "customer" in pages and page.url_path == pages["customer"].url_path
    offered = services(session["customer"]) if on_customer else []
    sidebar.draw(lens, person, pages, names, offered, parameters(session, defaults))
    write_url(st.query_params, session, defaults)
    if session.pop(sidebar.CHOSE_CUSTOMER, False) and not on_customer and "customer" in pages:
        # Whoever picks a customer wants to see it.
        st.switch_page(pages["customer"], query_params=parameters(session, defaults))
    page.run()
