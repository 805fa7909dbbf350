"""Pages as somebody sees them, run by Streamlit's own harness: what is drawn, what is done, what is noted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contracts.incidents import Action
from dashboards import deeds
from dashboards.context import Context, NotSignedIn, current, set_context
from dashboards.people import ADMIN, CUSTOMER, OPERATOR, VIEWER, NotAllowed, Person
from tests.dashboards.people import ANA, LI, PORTAL, MadeAccount, Notes, make_access, with_people
from tests.dashboards.synthetic import NOW, make_context
from tests.dashboards.test_script import markup, open_page


def looked_at_by(person: Person, **more: Any) -> Context:
    context = with_people(make_context(), make_access(ANA, LI, PORTAL))
    return replace(context, person=lambda: person, **more)


def buttons(app: Any) -> set[str]:
    return {button.label for button in app.button}


def test_without_a_session_the_script_draws_nothing_but_the_way_in() -> None:
    set_context(with_people(make_context(), make_access(ANA)))
    with pytest.raises(NotSignedIn):
        current()
    for page in ("overview", "ledger", "sla"):
        said = markup(open_page(page, lang="en", customer="c001"))
        assert "You are logged out." in said
        assert 'href="/account/login"' in said
        assert "Lark Live" not in said


def test_as_long_as_nobody_has_an_account_the_page_says_who_one_is_taken_for() -> None:
    set_context(with_people(make_context(), make_access()))
    assert "Nobody has an account" in markup(open_page("overview", lang="en"))
    set_context(with_people(make_context(demo=True), make_access()))
    said = markup(open_page("overview", lang="en"))
    assert "Demo: signed in as the demo operator." in said
    assert "Log out" not in said


@pytest.mark.parametrize(("role", "acts"), [(VIEWER, False), (OPERATOR, True), (ADMIN, True)])
def test_buttons_are_there_for_whom_they_are(role: str, acts: bool) -> None:
    set_context(looked_at_by(Person("li", role, leaves="local")))
    app = open_page("triage", lang="en")
    assert ("Acknowledge" in buttons(app)) == acts
    said = markup(app)
    assert 'href="/account/logout"' in said
    assert "<b>li</b>" in said
    sla = open_page("sla", lang="en", customer="c001")
    assert ("Make a link" in buttons(sla)) == acts


def test_a_link_is_made_noted_and_shown() -> None:
    notes = Notes()
    set_context(replace(looked_at_by(Person("ana", OPERATOR)), audit=notes))
    app = open_page("sla", lang="en", customer="c001")
    app.button(key="sla-share").click().run()
    assert app.code[0].value == "https://dipper.example.com/v1/shared/en/c001.2026-10.html"
    assert notes == [("ana", "c001", "link to report 2026-10", 200)]


def test_an_action_is_checked_when_it_is_done_and_a_refusal_is_noted() -> None:
    acts: list[Action] = []
    notes = Notes()
    context = replace(make_context(acts=acts), audit=notes)
    action = Action("a-1", "inc-1", "acknowledge", "ana", NOW)
    deeds.act(context, Person("ana", OPERATOR), action)
    for person in (Person("ana", VIEWER), Person("ana", CUSTOMER, "c001"), Person("li", ADMIN)):
        with pytest.raises(NotAllowed):
            deeds.act(context, person, action)
    assert acts == [action]
    what = "incident inc-1: acknowledge"
    assert notes == [("ana", "", what, 200), ("ana", "", what, 403), ("ana", "", what, 403)]


def test_what_cannot_be_noted_is_not_done() -> None:
    acts: list[Action] = []

    def full(*_: object) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        deeds.act(
            replace(make_context(acts=acts), audit=full),
            Person("ana", OPERATOR),
            Action("a-1", "inc-1", "acknowledge", "ana", NOW),
        )
    assert acts == []


def test_whoever_was_demoted_meanwhile_does_nothing_with_buttons_that_are_still_there() -> None:
    acts: list[Action] = []
    person = [Person("ana", OPERATOR)]
    set_context(replace(make_context(acts=acts), person=lambda: person[0]))
    app = open_page("triage", lang="en")
    person[0] = Person("ana", VIEWER)
    app.button(key="act-acknowledge").click().run()
    assert acts == []


def test_a_customer_is_given_one_customer_and_refused_all_else() -> None:
    set_context(looked_at_by(Person("portal", CUSTOMER, "c001", leaves="local")))
    context = current()
    assert [c.id for c in context.registry.customers()] == ["c001"]
    assert context.registry.customer("c003") is None
    assert (context.act, context.share, context.accounts, context.status()) == (None, None, None, {})
    other = make_context().registry.customer("c003")
    assert other is not None
    month = context.backend.promised_months("c001", NOW)[0]
    for ask in (
        lambda: context.backend.promised_months("c003", NOW),
        lambda: context.backend.report(other, month, NOW),
        lambda: context.backend.services("c003"),
        lambda: context.backend.fleet(0, NOW, 60_000),
        lambda: context.backend.incidents(0, NOW),
        lambda: context.backend.something_to_come(1),  # type: ignore[attr-defined]
    ):
        with pytest.raises(NotAllowed):
            ask()


def test_an_account_of_a_customer_who_left_sees_nothing() -> None:
    set_context(looked_at_by(Person("portal", CUSTOMER, "gone", leaves="local")))
    assert current().registry.customers() == ()
    said = markup(open_page("sla", lang="en", customer="c001"))
    assert "Lark Live" not in said


def test_an_admin_sees_who_has_an_account() -> None:
    closed = MadeAccount("old", "operator", open=False, disabled_at=NOW)
    gone = MadeAccount("gone", "viewer", open=False, removed_at=NOW)
    context = with_people(make_context(), make_access(ANA, PORTAL, closed, gone))
    set_context(replace(context, person=lambda: Person("root", ADMIN)))
    said = markup(open_page("accounts", lang="en"))
    assert "2 people may log in" in said
    for cell in ("ana", "portal", "Lark Live", "old", "closed since"):
        assert f">{cell}" in said
    assert ">gone" not in said
