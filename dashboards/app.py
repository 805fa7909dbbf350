"""The script Streamlit runs for every viewer: frame, sidebar, navigation. Pages are in `views`."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboards import sidebar, views
from dashboards.messages import LANGUAGES
from dashboards.state import DEFAULT_RANGE, RANGES, parameters, read_url, write_url
from dashboards.viewer import ICON, browser_language, customers, services, viewer_lens

st.set_page_config(page_title="Dipper", page_icon=ICON, layout="wide", initial_sidebar_state="expanded")

session: Any = st.session_state
names = customers()
choices = {"range": list(RANGES), "lang": list(LANGUAGES), "customer": list(names)}
choices["service"] = ["", *services(st.query_params.get("customer", session.get("customer", "")))]
defaults = {"range": DEFAULT_RANGE, "lang": browser_language(), "customer": next(iter(names), ""), "service": ""}
read_url(st.query_params, session, choices, defaults)
if session["customer"] not in names:  # it was unregistered, or the first one has just come
    session["customer"] = defaults["customer"]

lens = viewer_lens(session["lang"])
pages = views.pages(lens)
page = st.navigation(list(pages.values()), position="hidden")
on_customer = page.url_path == pages["customer"].url_path
sidebar.draw(lens, pages, names, services(session["customer"]) if on_customer else [], parameters(session, defaults))
write_url(st.query_params, session, defaults)
if session.pop(sidebar.CHOSE_CUSTOMER, False) and not on_customer:
    # Whoever picks a customer wants to see it.
    st.switch_page(pages["customer"], query_params=parameters(session, defaults))
page.run()
