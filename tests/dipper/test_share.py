"""Signed links: what they open, for how long, and that nothing else opens."""

import asyncio
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.entities import Customer
from contracts.errors import ContractError
from contracts.sla import Month
from contracts.times import DAY_MS, from_rfc3339
from dipper.cli import main
from dipper.customer_side import AUDIT_FILE, CustomerSide
from dipper.settings import SettingsError
from dipper.share import LinkRefused, Share, checked, link, opened, share_key
from history.chdb_store import ChdbStore
from history.objectives import record
from simulator.asgi import call
from tests.history.sla_world import MINUTE, Row, fill, level

KEY = bytes(range(32))
NOW = from_rfc3339("2026-10-08T12:00:00Z")
SHARE = Share("acme", Month(2026, 10), NOW + DAY_MS)


def test_a_link_opens_what_it_was_made_for_until_it_expires():
    text = link(KEY, SHARE)
    assert opened(KEY, text, NOW) == SHARE
    assert opened(KEY, text, SHARE.expires_at - 1) == SHARE
    with pytest.raises(LinkRefused, match="expired"):
        opened(KEY, text, SHARE.expires_at)
    with pytest.raises(LinkRefused, match="tampered"):
        opened(bytes(32), text, NOW)


@given(st.integers(0, 200), st.characters(codec="ascii"))
def test_a_changed_link_opens_nothing(place, letter):
    text = link(KEY, SHARE)
    place %= len(text)
    changed = text[:place] + letter + text[place + 1 :]
    if changed != text:
        with pytest.raises(LinkRefused, match="tampered"):
            opened(KEY, changed, NOW)


@given(st.text(max_size=80))
def test_any_text_is_refused_and_never_a_traceback(text):
    with pytest.raises(LinkRefused, match="tampered"):
        opened(KEY, text, NOW)


def test_links_of_another_customer_cannot_be_made_from_ones_own():
    own, other = link(KEY, SHARE), link(KEY, Share("beta", Month(2026, 10), NOW + DAY_MS))
    mixed = f"{other.partition('.')[0]}.{own.partition('.')[2]}"
    with pytest.raises(LinkRefused, match="tampered"):
        opened(KEY, mixed, NOW)


@pytest.mark.parametrize("expires_at", [NOW, NOW - 1, NOW + 401 * DAY_MS])
def test_a_link_without_a_near_end_is_not_made(expires_at):
    with pytest.raises(ContractError, match="expires_at: expected a time to come, within 400 days"):
        checked(Share("acme", Month(2026, 10), expires_at), NOW)


def test_the_key_comes_from_the_environment_or_a_file_of_its_owner(tmp_path):
    assert share_key({"DIPPER_SHARE_KEY": "ab" * 32}, tmp_path) == b"\xab" * 32
    made = share_key({}, tmp_path)
    assert share_key({}, tmp_path) == made
    assert (tmp_path / "share.key").stat().st_mode & 0o777 == 0o600
    for wrong in ("ab", "x" * 64):
        with pytest.raises(SettingsError, match="DIPPER_SHARE_KEY: expected at least 64 hex digits") as refused:
            share_key({"DIPPER_SHARE_KEY": wrong}, tmp_path)
        assert wrong not in str(refused.value).replace("expected", "")
    (tmp_path / "share.key").write_bytes(b"short")
    with pytest.raises(SettingsError, match="expected 32 bytes of a key, got 5"):
        share_key({}, tmp_path)


class People:
    """Two customers; a token for one."""

    def check_api_token(self, token, scope):
        return token if (token, scope) == ("token-a", "customer:acme") else None

    def customer(self, customer_id):
        names = {"acme": "Acme Video", "beta": "Beta Live"}
        return Customer(customer_id, names[customer_id]) if customer_id in names else None


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    """A data directory, and the applications for customers in front of one that answers 404 to everything."""
    data = tmp_path_factory.mktemp("share")
    with ChdbStore(data / "history", min_free_bytes=0) as store:
        for name, failing in (("acme", 7), ("beta", 61)):
            rows = [Row(NOW - i * MINUTE, failures=failing, customer=name, service=f"{name}-vod") for i in range(1, 60)]
            fill(store, rows)
            record(store, [level(customer=name, name=f"{name}-failures", service=f"{name}-vod")], "ana", 0)
        side = CustomerSide(store, People(), lambda: NOW, data, {"DIPPER_SHARE_KEY": KEY.hex()})

        async def nothing(scope, receive, send):
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"beside"})

        yield data, side.beside(nothing)


def get(app, path, headers=None):
    return asyncio.run(call(app, "GET", path, headers or {}))


@pytest.mark.parametrize(
    ("form", "kind", "start"),
    [
        ("html", "text/html; charset=utf-8", b"<!doctype html>"),
        ("pdf", "application/pdf", b"%PDF"),
        ("csv", "text/csv; charset=utf-8", b"row,"),
        ("json", "application/json", b"{"),
    ],
)
def test_a_link_shows_the_report_in_every_form_and_nothing_of_others(deployment, form, kind, start):
    _, app = deployment
    for language in ("en", "zh"):
        status, headers, body = get(app, f"/v1/shared/{language}/{link(KEY, SHARE)}.{form}")
        assert (status, headers["content-type"]) == (200, kind)
        assert body.startswith(start)
        assert b"beta" not in body.lower()
        if form != "pdf":
            assert b"acme-vod" in body
        assert headers["cache-control"] == "private, no-store"
        assert "default-src 'none'" in headers["content-security-policy"]


def test_links_that_open_nothing_say_why(deployment):
    _, app = deployment
    text = link(KEY, SHARE)
    status, _, body = get(app, f"/v1/shared/en/{text[:-2]}AA.html")
    assert (status, b"was changed or cut" in body) == (403, True)
    status, _, body = get(app, f"/v1/shared/en/{link(KEY, Share('acme', Month(2026, 10), NOW))}.html")
    assert (status, b"has expired" in body) == (410, True)
    gone = Share("departed", Month(2026, 10), NOW + DAY_MS)
    assert get(app, f"/v1/shared/en/{link(KEY, gone)}.html")[0] == 404
    early = Share("acme", Month(2025, 10), NOW + DAY_MS)
    assert get(app, f"/v1/shared/en/{link(KEY, early)}.html")[0] == 404
    for path in ("/v1/shared/", "/v1/shared/fr/x.html", f"/v1/shared/en/{text}.exe", f"/v1/shared/en/../{text}.html"):
        assert get(app, path)[0] == 403


def test_a_link_that_is_asked_too_often_waits(deployment):
    _, app = deployment
    path = f"/v1/shared/en/{link(KEY, Share('acme', Month(2026, 10), NOW + 2 * DAY_MS))}.csv"
    assert [get(app, path)[0] for _ in range(11)] == [200] * 10 + [429]


def test_the_read_api_stands_beside_and_everything_else_passes(deployment):
    _, app = deployment
    assert get(app, "/v1/customers/acme/services", {"authorization": "Bearer token-a"})[0] == 200
    assert get(app, "/v1/customers/beta/services", {"authorization": "Bearer token-a"})[0] == 401
    assert get(app, "/overview")[2] == b"beside"


def test_looks_are_audited_without_the_link_itself(deployment):
    data, app = deployment
    text = link(KEY, Share("acme", Month(2026, 10), NOW + 3 * DAY_MS))
    assert get(app, f"/v1/shared/en/{text}.csv")[0] == 200
    assert (data / AUDIT_FILE).stat().st_mode & 0o777 == 0o600
    lines = (data / AUDIT_FILE).read_text().splitlines()
    last = json.loads(lines[-1])
    assert re.fullmatch(r"link [0-9a-f]{12}", last.pop("who"))
    assert last == {
        "at": "2026-10-08T12:00:00.000Z", "customer": "acme", "what": "report 2026-10 csv", "status": 200,
    }  # fmt: skip
    assert not any(text in line for line in lines)


def test_the_command_prints_a_link_that_opens(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DIPPER_SHARE_KEY", KEY.hex())
    arguments = ["share", "acme", "2026-10", "--url", "https://sla.example.net/", "--data", str(tmp_path)]
    assert main([*arguments, "--days", "7", "--language", "zh", "--format", "pdf"]) == 0
    found = re.fullmatch(r"https://sla\.example\.net/v1/shared/zh/(\S+)\.pdf\n", capsys.readouterr().out)
    share = opened(KEY, found[1], NOW)
    assert (share.customer, str(share.month)) == ("acme", "2026-10")
    assert main([*arguments, "--days", "0"]) == 2
    assert "expires_at: expected a time to come" in capsys.readouterr().err
    assert main([*arguments[:4], "javascript:alert(1)", "--data", str(tmp_path)]) == 2
    assert "--url: expected http(s)" in capsys.readouterr().err
