"""notify.toml: what it may say, and how it is refused."""

import pytest

from dipper.notify.settings import find_file, load
from dipper.settings import SettingsError, from_environment

ENVIRONMENT = {
    "OPS_URL": "https://hooks.example.com/services/T0/B0/very-secret",
    "OPS_KEY": "0123456789abcdef",
    "SHORT": "short",
    "INNER": "https://127.0.0.1/hook",
}
GOOD = """
pages = "https://dipper.example.net/"
[network]
allow_hosts = ["alertmanager.internal"]
timeout_s = 5
[[receiver]]
name = "ops"
kind = "slack"
url_env = "OPS_URL"
severity = "high"
kinds = ["quality", "silence.region"]
[[receiver]]
name = "am"
kind = "alertmanager"
url = "http://alertmanager.internal:9093"
bearer_env = "OPS_KEY"
[customer.acme]
url = "https://api.acme.example/dipper"
secret_env = "OPS_KEY"
"""


def written(tmp_path, text):
    file = tmp_path / "notify.toml"
    file.write_text(text)
    return file


def test_a_file_names_receivers_and_customers_own(tmp_path):
    settings = load(written(tmp_path, GOOD), ENVIRONMENT)
    ops, am, acme = settings.receivers
    assert settings.pages == "https://dipper.example.net"
    assert (ops.name, ops.severity, ops.kinds, ops.repeat_interval_ms) == (
        "ops", "high", ("quality", "silence.region"), 4 * 3_600_000,
    )  # fmt: skip
    assert (am.target.host, am.target.port, am.bearer, am.group_by) == (
        "alertmanager.internal", 9093, "0123456789abcdef", "receiver",
    )  # fmt: skip
    assert (acme.customer, acme.customers, acme.events) == ("acme", ("acme",), ("opened", "reopened", "resolved"))


def test_secrets_are_shown_nowhere(tmp_path):
    settings = load(written(tmp_path, GOOD), ENVIRONMENT)
    assert "very-secret" not in repr(settings)
    assert "0123456789abcdef" not in repr(settings)
    assert settings.receivers[0].target.shown == "https://hooks.example.com"
    with pytest.raises(SettingsError) as refused:
        load(written(tmp_path, GOOD), {**ENVIRONMENT, "OPS_URL": "ftp://very-secret"})
    assert "very-secret" not in str(refused.value)


def receiver_with(line):
    return f'[[receiver]]\nname = "ops"\nkind = "webhook"\nurl = "https://hooks.example.com/x"\n{line}\n'


def receiver_at(url):
    return f'[[receiver]]\nname = "ops"\nkind = "webhook"\nurl = "{url}"\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[receiver]\n", "expected a readable TOML file"),
        ("page = 'x'\n", "page: expected one of pages, network, receiver, customer"),
        ("pages = 'dipper'\n", "pages: expected the address of the pages"),
        ("[[receiver]]\nkind = 'slack'\n", "receiver[0].name: expected a text, got nothing"),
        ("[[receiver]]\nname = 'a b'\n", "receiver[0].name: expected 1 to 64"),
        ("[[receiver]]\nname = 'ops'\nkind = 'email'\n", "receiver ops.kind: expected one of webhook, slack"),
        ("[[receiver]]\nname = 'ops'\nkind = 'slack'\n", "receiver ops.url: expected url or url_env"),
        (receiver_with("severity = 'worst'"), "receiver ops.severity: expected one of low, medium, high, critical"),
        (receiver_with("kinds = ['quality', 'silence']"), "receiver ops.kinds: expected among quality"),
        (receiver_with("kinds = 'quality'"), "receiver ops.kinds: expected a list of texts"),
        (receiver_with("customers = ['no such/id']"), "receiver ops.customers"),
        (receiver_with("events = ['closed']"), "receiver ops.events: expected among opened"),
        (receiver_with("group_by = 'customer'"), "receiver ops.group_by: expected one of receiver, kind, incident"),
        (receiver_with("group_wait_s = -1"), "receiver ops.group_wait_s: expected 0 to"),
        (receiver_with("group_wait_s = true"), "receiver ops.group_wait_s: expected a number, got True"),
        (receiver_with("repeat_interval_s = 1"), "receiver ops.repeat_interval_s: expected 0 (never) or 10"),
        (receiver_with("secret_env = 'MISSING'"), "receiver ops.secret_env: expected MISSING in the environment"),
        (receiver_with("secret_env = 'hunter2!'"), "receiver ops.secret_env: expected the name of an environment"),
        (receiver_with("secret_env = 'SHORT'"), "receiver ops.secret_env: expected 16 or more"),
        (receiver_with("bearer_env = 'OPS_KEY'"), "receiver ops.bearer_env: expected only for kind alertmanager"),
        (receiver_with("colour = 'red'"), "receiver[0].colour: expected one of"),
        (receiver_with("") * 2, "receiver.name: expected each name once"),
        (receiver_with("ca = '/nowhere.pem'"), "ca: expected a readable file of certificates"),
        (receiver_at("http://hooks.example.com/x"), "receiver ops.url: expected https; http is for loopback"),
        (receiver_at("https://user:pw@hooks.example.com/"), "receiver ops.url: expected an address without user"),
        (receiver_at("https://hooks.example.com:99999/"), "receiver ops.url: expected https://HOST"),
        (receiver_at("https:///x"), "receiver ops.url: expected https://HOST"),
        (receiver_at("file:///etc/passwd"), "receiver ops.url: expected https://HOST"),
        (receiver_at("https://hooks.example.com/a b"), "receiver ops.url: expected https://HOST"),
        ("[network]\nallow_hosts = ['Not a host']\n", "network.allow_hosts: expected host names"),
        ("[network]\ntimeout_s = 0\n", "network.timeout_s: expected 0.1 to 120, got 0"),
        ("[customer.acme]\nurl = 'https://acme.example/'\n", "customer.acme.secret_env: expected the variable"),
        ("[customer.acme]\nsecret_env = 'OPS_KEY'\nurl_env = 'INNER'\n", "customer.acme.url_env: expected a host that"),
        ("[customer.acme]\nsecret_env = 'OPS_KEY'\nseverity = 'low'\n", "customer.acme.severity: expected one of url"),
        ("[customer.acme]\nsecret_env = 'OPS_KEY'\nurl_env = 'OPS_URL'\nevents = ['grown']\n", "customer.acme.events"),
        ("customer = 3\n", "customer: expected a table"),
        ("receiver = [1]\n", "receiver: expected tables [[receiver]]"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_the_file_and_the_field(tmp_path, text, sentence):
    file = written(tmp_path, text)
    with pytest.raises(SettingsError) as refused:
        load(file, ENVIRONMENT)
    assert str(refused.value).startswith(f"{file}: ")
    assert sentence in str(refused.value)


def test_the_file_is_named_by_the_environment_or_lies_beside_the_policy_or_in_the_data(tmp_path):
    data, etc = tmp_path / "data", tmp_path / "etc"
    for folder in (data, etc):
        folder.mkdir()
    process = from_environment({}, data=data, policy=etc / "policy.toml")
    assert find_file(process, {}) is None
    (data / "notify.toml").touch()
    assert find_file(process, {}) == data / "notify.toml"
    (etc / "notify.toml").touch()
    assert find_file(process, {}) == etc / "notify.toml"
    assert find_file(process, {"DIPPER_NOTIFY": "/srv/n.toml"}).as_posix() == "/srv/n.toml"
