"""Who looks, with which language, zone and theme of the browser, and what there is to choose from."""

from __future__ import annotations

import logging
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from dashboards import style
from dashboards.access import Access
from dashboards.context import NotReady, NotSignedIn, current
from dashboards.lens import Lens
from dashboards.messages import Words
from dashboards.people import OPERATOR, Person
from dashboards.state import DEFAULT_RANGE, DEMO_RANGE

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath fill='none' "
    "stroke='%231f5fbf' stroke-width='2' d='M1 5h4l3 7 3-7h4'/%3E%3C/svg%3E"
)
_log = logging.getLogger(__name__)


def browser_language() -> str:
    """The catalogue's language nearest to the browser's."""
    return "zh" if (st.context.locale or "").lower().startswith("zh") else "en"


def default_range() -> str:
    """The range of an address that names none."""
    try:
        return DEMO_RANGE if current().demo else DEFAULT_RANGE
    except NotReady:
        return DEFAULT_RANGE


def viewer_lens(language: str) -> Lens:
    """How this viewer sees; without a data source, time 0."""
    try:
        zone = ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    try:
        now = current().now()
    except NotReady:
        now = 0
    return Lens(Words(language), zone, now, style.palette(st.context.theme.type))


def signed_in(access: Access) -> Person | None:
    """Who this browser's cookies belong to, asked anew each time: an account that was closed is out at once. None:
    nobody has to say. Raises NotSignedIn, outside of a run of the script too."""
    if not access.required:
        return None
    person = access.of_cookies(dict(st.context.cookies)) or access.of_claims(st.user.to_dict())
    if person is None:
        raise NotSignedIn("nobody is signed in")
    return person


def viewing(words: Words) -> Person:
    """Who looks, by any name. Raises NotSignedIn."""
    try:
        context = current()
    except NotSignedIn:
        raise
    except NotReady:
        return Person(words("person.local"), OPERATOR)
    return context.who(words("person.demo") if context.demo else words("person.local"))


def customers() -> dict[str, str]:
    """Name by id of every registered customer; none without a data source."""
    try:
        return {c.id: c.name for c in current().registry.customers()}
    except NotReady:
        return {}


def services(customer: str) -> list[str]:
    """Services a customer has had traffic for; none when they cannot be had: the page itself says why."""
    try:
        return list(current().backend.services(customer)) if customer else []
    except NotReady:
        return []
    except Exception as error:
        _log.warning("a customer's services cannot be had: %s", error)
        return []
