"""Where people reach the pages and who says who they are: settings are refused by name, secrets stay out of sight."""

import stat

import pytest

from dashboards.oidc import Oidc
from dipper.people_settings import PeopleSettings, people_settings, session_key
from dipper.settings import Listener, SettingsError, from_environment

OIDC = {
    "DIPPER_URL": "https://dipper.example.com/",
    "DIPPER_OIDC_METADATA": "https://id.example.com/.well-known/openid-configuration",
    "DIPPER_OIDC_CLIENT": "dipper",
    "DIPPER_OIDC_SECRET": "hush-hush",
    "DIPPER_OIDC_ROLES": "noc=operator, acme=customer:acme,cn=ops=admin,*=viewer",
}


def settings(**environment):
    return people_settings(environment, from_environment(environment))


def test_nothing_said_means_this_machine_and_no_provider():
    assert settings() == PeopleSettings()


def test_a_provider_with_its_groups():
    found = settings(**OIDC, DIPPER_OIDC_EMAILS="@Example.com, bo@partner.org")
    assert found.oidc == Oidc(
        metadata=OIDC["DIPPER_OIDC_METADATA"],
        client="dipper",
        url="https://dipper.example.com",
        roles=(("noc", "operator", ""), ("acme", "customer", "acme"), ("cn=ops", "admin", ""), ("*", "viewer", "")),
        secret="hush-hush",
        emails=("@example.com", "bo@partner.org"),
    )
    assert "hush" not in repr(found)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"DIPPER_OIDC_SECRET": ""}, "DIPPER_OIDC_SECRET: expected as well"),
        ({"DIPPER_URL": ""}, "DIPPER_URL: expected as well"),
        ({"DIPPER_URL": "http://dipper.example.com"}, "DIPPER_URL: expected https://"),
        ({"DIPPER_URL": "https://dipper.example.com/pages"}, "DIPPER_URL: expected https://"),
        ({"DIPPER_OIDC_METADATA": "http://id.example.com/x"}, "DIPPER_OIDC_METADATA: expected https://"),
        ({"DIPPER_OIDC_ROLES": "noc=root"}, "DIPPER_OIDC_ROLES: expected GROUP=ROLE"),
        ({"DIPPER_OIDC_ROLES": "noc=customer"}, "DIPPER_OIDC_ROLES: expected GROUP=ROLE"),
        ({"DIPPER_OIDC_ROLES": "noc=viewer:acme"}, "DIPPER_OIDC_ROLES: expected GROUP=ROLE"),
        ({"DIPPER_OIDC_ROLES": "noc=customer:a b"}, "DIPPER_OIDC_ROLES: expected GROUP=ROLE"),
        ({"DIPPER_OIDC_EMAILS": "example.com"}, "DIPPER_OIDC_EMAILS: expected addresses"),
        ({"DIPPER_PAGES": "8443"}, "DIPPER_PAGES: expected HOST:PORT"),
        ({"DIPPER_PAGES": "0.0.0.0:8443", "DIPPER_URL": "http://127.0.0.1:8410"}, "DIPPER_PAGES: people elsewhere"),
    ],
)
def test_what_is_wrong_is_named(changes, said):
    with pytest.raises(SettingsError) as caught:
        settings(**{**OIDC, **changes})
    assert said in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "more",
    [{"DIPPER_URL": "https://dipper.example.com"}, {"DIPPER_TLS_CERT": "cert.pem", "DIPPER_TLS_KEY": "key.pem"}],
)
def test_people_elsewhere_need_an_encrypted_way(more):
    assert settings(DIPPER_PAGES="0.0.0.0:8443", **more).listener == Listener("0.0.0.0", 8443)
    with pytest.raises(SettingsError, match="send passwords"):
        settings(DIPPER_PAGES="0.0.0.0:8443")
    assert settings(DIPPER_PAGES="127.0.0.1:0").listener == Listener("127.0.0.1", 0)


def test_the_key_of_sessions_is_given_or_made_once_for_its_owner_only(tmp_path):
    made = session_key({}, tmp_path)
    assert session_key({}, tmp_path) == made
    assert len(made) == 32
    assert stat.S_IMODE((tmp_path / "session.key").stat().st_mode) == 0o600
    assert session_key({"DIPPER_SESSION_KEY": "ab" * 32}, tmp_path) == bytes.fromhex("ab" * 32)
    with pytest.raises(SettingsError, match="DIPPER_SESSION_KEY: expected at least 64 hex digits, got 4 characters"):
        session_key({"DIPPER_SESSION_KEY": "abcd"}, tmp_path)
