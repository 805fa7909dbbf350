"""Sessions, waits after wrong passwords, and who a provider's claims make of somebody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.incidents import VERBS_OF_PEOPLE
from contracts.times import HOUR_MS, MINUTE_MS
from dashboards.access import Access, LogInRefused
from dashboards.backoff import FREE, LONGEST_MS, MOST_NAMES, Backoff
from dashboards.people import ADMIN, CUSTOMER, DEEDS, OPERATOR, ROLES, VIEWER, NotAllowed, Person, deed_of
from dashboards.sessions import COOKIE, LIFETIME_MS, Session, Sessions
from tests.dashboards.people import (
    ANA,
    KEY,
    LI,
    NOW,
    PASSWORD,
    PORTAL,
    MadeAccounts,
    Notes,
    make_access,
    make_claims,
    make_oidc,
)

# ---- roles


def test_what_each_role_may_do_and_see() -> None:
    may = {role: {deed for deed in DEEDS if Person("p", role).may(deed)} for role in ROLES}
    assert may == {
        VIEWER: set(),
        CUSTOMER: set(),
        OPERATOR: {"act", "label", "share"},
        ADMIN: {"act", "label", "share", "accounts"},
    }
    assert {deed_of(verb) for verb in VERBS_OF_PEOPLE} == {"act", "label"}
    pages = ("overview", "triage", "sla", "ledger", "accounts", "a page to come")
    sees = {role: [page for page in pages if Person("p", role).sees(page)] for role in ROLES}
    assert sees[CUSTOMER] == ["sla"]
    assert sees[VIEWER] == sees[OPERATOR] == [page for page in pages if page != "accounts"]
    assert sees[ADMIN] == list(pages)
    with pytest.raises(NotAllowed, match=r"li \(viewer\) may not act"):
        Person("li").require("act")


# ---- sessions


def test_a_session_holds_until_its_end_and_not_beyond() -> None:
    sessions = Sessions(KEY)
    text = sessions.begin("ana", "s1", NOW)
    assert sessions.read(text, NOW + LIFETIME_MS - 1) == Session("ana", "s1", NOW + LIFETIME_MS)
    assert sessions.read(text, NOW + LIFETIME_MS) is None
    assert Sessions(bytes(32)).read(text, NOW) is None
    sessions.end(text, NOW)
    assert sessions.read(text, NOW) is None
    assert sessions.read(sessions.begin("ana", "s1", NOW + 1), NOW + 1) is not None


@given(st.integers(0, 200), st.characters(codec="utf-8"))
def test_a_changed_cookie_opens_nothing(place: int, letter: str) -> None:
    sessions = Sessions(KEY)
    text = sessions.begin("ana", "s1", NOW)
    place %= len(text)
    changed = text[:place] + letter + text[place + 1 :]
    assert (sessions.read(changed, NOW) is None) == (changed != text)


@given(st.text(max_size=100))
def test_any_text_opens_nothing(text: str) -> None:
    assert Sessions(KEY).read(text, NOW) is None


# ---- waits


def test_waits_double_up_to_a_bound_and_are_forgotten() -> None:
    backoff, now, waits = Backoff(), NOW, []
    for _ in range(FREE + 12):
        backoff.failed("ana", now)
        waits.append(backoff.wait_ms("ana", now))
        now += waits[-1]
    assert waits[: FREE + 3] == [0] * FREE + [2_000, 4_000, 8_000]
    assert waits[-1] == max(waits) == LONGEST_MS == 5 * MINUTE_MS
    assert backoff.wait_ms("li", now) == 0
    backoff.failed("ana", now)
    assert backoff.wait_ms("ana", now + HOUR_MS) == 0
    backoff.passed("ana")
    assert backoff.wait_ms("ana", now) == 0


def test_waits_are_kept_for_a_bounded_number_of_names() -> None:
    backoff = Backoff()
    for n in range(MOST_NAMES + 50):
        backoff.failed(f"name-{n}", NOW)
    assert len(backoff._failures) == MOST_NAMES


# ---- logging in


def cookie_of(access: Access, name: str = "ana") -> dict[str, str]:
    return {COOKIE: access.log_in(name, PASSWORD)}


def test_a_session_is_its_accounts_as_it_is_now() -> None:
    accounts, notes = MadeAccounts(ANA, PORTAL), Notes()
    access = Access(accounts, KEY, lambda: NOW, notes)
    cookies = cookie_of(access)
    assert access.of_cookies(cookies) == Person("ana", OPERATOR, leaves="local")
    assert access.of_cookies(cookie_of(access, "portal")) == Person("portal", CUSTOMER, "c001", leaves="local")
    for change in ({"open": False}, {"open": True, "stamp": "s2"}):
        accounts.change("ana", **change)
        assert access.of_cookies(cookies) is None
    cookies = cookie_of(access)
    access.log_out(cookies)
    assert access.of_cookies(cookies) is None
    assert notes == [
        ("ana", "", "log in", 200), ("portal", "c001", "log in", 200), ("ana", "", "log in", 200),
        ("ana", "", "log out", 200),
    ]  # fmt: skip


def test_wrong_passwords_make_the_next_attempt_wait_without_looking_at_it() -> None:
    accounts, notes, now = MadeAccounts(ANA), Notes(), [NOW]
    access = Access(accounts, KEY, lambda: now[0], notes)
    for _ in range(FREE + 1):
        with pytest.raises(LogInRefused, match="wrong"):
            access.log_in("ana", "not the password")
    asked = accounts.asked
    with pytest.raises(LogInRefused, match="wait") as caught:
        access.log_in("ana", PASSWORD)
    assert caught.value.wait_s == 2
    assert accounts.asked == asked
    now[0] += 2_000
    assert access.log_in("ana", PASSWORD)
    assert notes == [("ana", "", "log in: wrong name or password", 401)] * (FREE + 1) + [("ana", "", "log in", 200)]


def test_what_nobody_is_called_is_not_noted_for_it_may_be_a_password() -> None:
    notes = Notes()
    with pytest.raises(LogInRefused):
        make_access(ANA, notes=notes).log_in("correct horse battery", "")
    assert notes == [("nobody", "", "log in: wrong name or password", 401)]


def test_what_cannot_be_noted_lets_nobody_in() -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        Access(MadeAccounts(ANA), KEY, lambda: NOW, full).log_in("ana", PASSWORD)


def test_when_everybody_has_to_say_who_they_are() -> None:
    closed = MadeAccounts(ANA)
    closed.change("ana", open=False)
    assert not make_access().required
    assert make_access(ANA).required
    assert make_access(always=True).required
    assert make_access(oidc=make_oidc()).required
    assert Access(closed, KEY, lambda: NOW, Notes()).required  # it does not open again when the last account ends
    assert not Access(closed, KEY, lambda: NOW, Notes()).has_accounts


# ---- people of a provider


def test_a_group_makes_the_role_and_the_first_that_fits_counts() -> None:
    access = make_access(LI, oidc=make_oidc())
    assert access.of_claims(make_claims()) == Person("ana@example.com", OPERATOR, leaves="oidc")
    assert access.of_claims(make_claims(groups=["acme"])) == Person("ana@example.com", CUSTOMER, "c001", "oidc")
    assert access.of_claims(make_claims(groups="all more")) == Person("ana@example.com", VIEWER, leaves="oidc")
    anybody = make_access(oidc=make_oidc(roles=(("*", "viewer", ""),), claim="roles"))
    assert anybody.of_claims(make_claims(groups=None)) == Person("ana@example.com", VIEWER, leaves="oidc")
    assert make_access(LI).of_claims(make_claims()) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"groups": ["strangers"]},
        {"groups": None},
        {"groups": {"ops": True}},
        {"is_logged_in": False},
        {"iat": None},
        {"iat": NOW // 1000 - LIFETIME_MS // 1000},
        {"email": None, "sub": ""},
        {"email": None, "sub": "x" * 200},
        {"email": None, "sub": "line\nbreak"},
    ],
)
def test_whoever_fits_nothing_is_nobody(changes: dict[str, object]) -> None:
    assert make_access(oidc=make_oidc()).of_claims(make_claims(**changes)) is None


@pytest.mark.parametrize(
    ("changes", "comes_in"),
    [
        ({}, True),
        ({"email": "bo@elsewhere.org"}, True),
        ({"email": "eve@elsewhere.org"}, False),
        ({"email": "eve@notexample.com"}, False),
        ({"email_verified": False}, False),
        ({"email_verified": "true"}, False),
        ({"email": None}, False),
    ],
)
def test_a_list_of_addresses_lets_in_verified_ones_only(changes: dict[str, object], comes_in: bool) -> None:
    access = make_access(oidc=make_oidc(emails=("@example.com", "bo@elsewhere.org")))
    assert (access.of_claims(make_claims(**changes)) is not None) == comes_in


def test_the_providers_secret_is_told_to_streamlit_and_to_nobody_else() -> None:
    oidc = make_oidc()
    told = oidc.secrets(KEY)["auth"]
    assert told["redirect_uri"] == "https://dipper.example.com/oauth2callback"
    assert (told["client_id"], told["client_secret"]) == ("dipper", "hush")
    assert len(told["cookie_secret"]) == 64
    assert "hush" not in repr(oidc)
