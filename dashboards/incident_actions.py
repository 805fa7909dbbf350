"""What may be done to an incident, as a row of buttons; every action is recorded with its author."""

from __future__ import annotations

import logging
import uuid

import streamlit as st

from contracts.columns import CELL_DIMENSIONS
from contracts.errors import ContractError
from contracts.incidents import (
    ACKNOWLEDGE,
    FALSE_ALARM,
    MUTE,
    NOTE,
    REAL_CAUSE,
    REOPEN,
    RESOLVE,
    UNMUTE,
    Action,
    Incident,
    apply,
    permitted,
)
from contracts.protocols import LogError
from contracts.times import DAY_MS, HOUR_MS
from dashboards import deeds, markup
from dashboards.context import Context, NotSignedIn
from dashboards.lens import Lens
from dashboards.people import ACT, NotAllowed, deed_of
from dashboards.viewer import viewing

MUTES_MS = (HOUR_MS, 4 * HOUR_MS, DAY_MS, 7 * DAY_MS)
PENDING = "incident-actions"  # in the session: what was done here and the job has not said yet
_PLAIN = (ACKNOWLEDGE, UNMUTE, REOPEN)
_WITH_TEXT = (MUTE, NOTE, RESOLVE, FALSE_ALARM, REAL_CAUSE)
_SAID = "incident-said"
_log = logging.getLogger(__name__)


def with_pending(incident: Incident) -> Incident:
    """The incident as it will be once what was done from this browser is applied."""
    for action in st.session_state.get(PENDING, ()):
        if action.incident == incident.id and permitted(incident, action.verb):
            incident = apply(incident, action)
    return incident


def bar(context: Context, incident: Incident, lens: Lens) -> None:
    """The row of actions; those its state does not allow are left out."""
    w = lens.words
    person = viewing(w)
    if context.act is None:
        st.caption(w("act.not_here"))
        return
    if not person.may(ACT):
        st.caption(w("act.viewer", author=person.name))
        return
    with st.container(key="actions", horizontal=True, vertical_alignment="center"):
        for verb in (ACKNOWLEDGE, UNMUTE, REOPEN, MUTE, NOTE, RESOLVE, FALSE_ALARM, REAL_CAUSE):
            if not permitted(incident, verb) or not person.may(deed_of(verb)):
                continue
            if verb in _PLAIN:
                st.button(
                    w(f"verb.{verb}"), key=f"act-{verb}", on_click=_do, args=(context, incident, verb, lens)
                )  # fmt: skip
            else:
                _asked(context, incident, verb, lens)
        st.caption(w("act.as", author=person.name))
    said = st.session_state.pop(_SAID, None)
    if said is not None:
        st.html(markup.notice([said[0]], late=said[1]))


def _asked(context: Context, incident: Incident, verb: str, lens: Lens) -> None:
    """An action that asks for more first."""
    w = lens.words
    with st.popover(w(f"verb.{verb}")):
        if verb == MUTE:
            st.selectbox(w("act.mute_for"), MUTES_MS, key="act-until", format_func=lens.span)
        if verb == REAL_CAUSE:
            st.selectbox(w("act.cause"), CELL_DIMENSIONS, key="act-dimension", format_func=lambda d: w(f"dim.{d}"))
            st.text_input(w("act.cause_value"), key="act-value", max_chars=128)
        st.text_area(w("act.why"), key=f"act-text-{verb}", max_chars=2_000, height=80)
        st.button(w("act.do"), key=f"act-do-{verb}", on_click=_do, args=(context, incident, verb, lens))


def _do(context: Context, incident: Incident, verb: str, lens: Lens) -> None:
    """Record it; whatever comes of it is said above the next drawing."""
    w = lens.words
    session = st.session_state
    now = context.now()
    try:
        person = viewing(w)  # who it is now: the buttons were drawn a while ago
        action = Action(
            id=uuid.uuid4().hex,
            incident=incident.id,
            verb=verb,
            author=person.name,
            at=now,
            text=str(session.get(f"act-text-{verb}", "")).strip(),
            until=now + int(session["act-until"]) if verb == MUTE else None,
            cause={session["act-dimension"]: str(session["act-value"]).strip()} if verb == REAL_CAUSE else None,
        )
        apply(incident, action)
        deeds.act(context, person, action)
    except (NotAllowed, NotSignedIn):
        session[_SAID] = w("act.not_yours"), True
        return
    except ContractError as error:
        session[_SAID] = w("act.refused", field=error.field, expected=error.expected, got=error.got), True
        return
    except (LogError, OSError) as error:
        _log.warning("an action on an incident was not recorded: %s", error)
        session[_SAID] = w("act.away"), True
        return
    st.query_params["incident"] = incident.id  # it stays in view, wherever the list now puts it
    session[PENDING] = [*session.get(PENDING, ()), action][-50:]
    if verb in _WITH_TEXT:
        session[f"act-text-{verb}"] = ""
    session[_SAID] = w("act.sent", verb=w(f"verb.{verb}"), author=person.name), False
