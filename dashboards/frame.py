"""What stands around every page: address, sidebar, navigation; and the last resort when even that fails."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import streamlit as st

from dashboards import markup, sidebar, style, views
from dashboards.messages import LANGUAGES, Words
from dashboards.state import RANGES, parameters, read_url, write_url
from dashboards.viewer import ICON, browser_language, customers, default_range, services, viewer_lens

_log = logging.getLogger(__name__)


def draw() -> None:
    """One run of the script for one viewer."""
    st.set_page_config(page_title="Dipper", page_icon=ICON, layout="wide", initial_sidebar_state="expanded")
    try:
        _draw()
    except Exception:
        reference = uuid.uuid4().hex[:8]
        _log.exception("page fault %s", reference)
        words = Words(browser_language())
        st.html(style.sheet(style.palette(st.context.theme.type), words("offline")))
        st.html(markup.fault(words, reference))


def _draw() -> None:
    session: Any = st.session_state
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
    pages = views.pages(lens)
    page = st.navigation(list(pages.values()), position="hidden")
    on_customer = page.url_path == pages["customer"].url_path
    offered = services(session["customer"]) if on_customer else []
    sidebar.draw(lens, pages, names, offered, parameters(session, defaults))
    write_url(st.query_params, session, defaults)
    if session.pop(sidebar.CHOSE_CUSTOMER, False) and not on_customer:
        # Whoever picks a customer wants to see it.
        st.switch_page(pages["customer"], query_params=parameters(session, defaults))
    page.run()
