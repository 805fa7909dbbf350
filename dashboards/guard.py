"""What every page is drawn inside of: errors in words, refresh in place, the pipeline's state."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from html import escape
from typing import Any

import streamlit as st

from contracts.protocols import StoreError
from dashboards import markup, pipeline
from dashboards.context import Context, NotReady, NotSignedIn, current
from dashboards.lens import Lens
from dashboards.login_page import LOG_IN
from dashboards.people import NotAllowed
from dashboards.viewer import viewer_lens

REFRESH_S = 10  # boxes report every 10 s
PLOT_CONFIG = {"displayModeBar": False, "doubleClick": "reset", "scrollZoom": False, "showTips": False}
_log = logging.getLogger(__name__)


def live(draw: Callable[..., None], every_s: float | None = None) -> Callable[..., None]:
    """The part of a page that is drawn anew, in place, while somebody looks."""
    return st.fragment(draw, run_every=every_s or REFRESH_S)


def guarded(draw: Callable[[Context, Lens], None], language: str) -> None:
    """Draw, or say in words why not. Streamlit's own control flow passes through."""
    lens = viewer_lens(language)
    w = lens.words
    try:
        draw(current(), lens)
    except NotSignedIn:
        signed_out(lens)
    except NotAllowed as refusal:
        _log.warning("a page was refused: %s", refusal)
        st.html(markup.blank(w("error.not_yours"), [w("error.not_yours_why")]))
    except NotReady:
        st.html(markup.blank(w("error.not_ready"), [w("error.not_ready_do")]))
    except StoreError as error:
        _log.warning("history did not answer a page: %s", error)
        st.html(markup.blank(w("error.store"), [w("error.store_why"), w("error.store_do")]))
    except Exception:
        reference = uuid.uuid4().hex[:8]
        _log.exception("page fault %s", reference)
        st.html(markup.fault(w, reference))


def signed_out(lens: Lens) -> None:
    """What is left of a page whose session is over."""
    w = lens.words
    st.html(markup.blank(w("login.ended"), [w("login.ended_why")]))
    st.html(f'<div class="d"><a class="d-leave" href="{LOG_IN}" target="_self">{escape(w("login.again"))}</a></div>')


def status_of(context: Context) -> pipeline.Status:
    """The pipeline's state; nothing when it cannot be had, which the sidebar shows."""
    try:
        return context.status()
    except Exception as error:
        _log.warning("the pipeline's state cannot be had: %s", error)
        return {}


def late(status: pipeline.Status, lens: Lens) -> None:
    """A notice that history is late. Its place is there always: what follows would else be drawn from scratch when the
    notice comes or goes, and a chart lose its zoom."""
    place = st.empty()
    if pipeline.is_late(status):
        place.html(pipeline.banner(status, lens))


def plot(figure: Any, key: str, **more: Any) -> Any:
    """Draw a figure that was put together as plain dicts."""
    import plotly.graph_objects as go

    return st.plotly_chart(go.Figure(figure), theme=None, key=key, config=PLOT_CONFIG, **more)
