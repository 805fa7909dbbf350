"""What people do on the pages: the one place where it is held against their role, done, and noted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from contracts.incidents import Action
from dashboards.context import Context
from dashboards.people import SHARE, NotAllowed, Person, deed_of

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


def act(context: Context, person: Person, action: Action) -> None:
    """Record an action on an incident. Raises NotAllowed, contracts.protocols.LogError."""
    if action.author != person.name or context.act is None:
        raise NotAllowed(f"{person.name} may not act as {action.author}")
    act_on = context.act
    _do(context, person, deed_of(action.verb), f"incident {action.incident}: {action.verb}", lambda: act_on(action))


def share(context: Context, person: Person, customer: str, what: str, make: Callable[[], str]) -> str:
    """Make a link to a customer's report. Raises NotAllowed, ContractError."""
    return _do(context, person, SHARE, f"link to {what}", make, customer)


def _do(context: Context, person: Person, deed: str, what: str, call: Callable[[], _T], customer: str = "") -> _T:
    """What cannot be noted is not done, so its note comes first; refusals and failures are noted too."""
    note = (lambda *_: None) if context.audit is None else context.audit
    note(person.name, customer, what, 200 if person.may(deed) else 403)
    person.require(deed)
    _log.info("%s (%s): %s", person.name, person.role, what)
    try:
        return call()
    except Exception:
        note(person.name, customer, f"{what}: failed", 503)
        raise
