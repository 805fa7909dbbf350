"""`notify.toml`: who is told what, how, and how often. Secrets and secret addresses come from the environment; the file
names the variables. Whatever is wrong is refused with the field's name."""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.auth import check_id
from contracts.errors import ContractError
from contracts.incidents import KINDS, LEVELS
from contracts.times import SECOND_MS
from dipper.notify.events import EVENTS, OF_CUSTOMERS
from dipper.notify.targets import Target, hosts_allowed, target
from dipper.settings import ProcessSettings, SettingsError

VARIABLE = "DIPPER_NOTIFY"
FILE = "notify.toml"
WEBHOOK, SLACK, ALERTMANAGER = "webhook", "slack", "alertmanager"
RECEIVER_KINDS = (WEBHOOK, SLACK, ALERTMANAGER)
BY_RECEIVER, BY_KIND, BY_INCIDENT = "receiver", "kind", "incident"
GROUPINGS = (BY_RECEIVER, BY_KIND, BY_INCIDENT)
MOST_RECEIVERS = 500
LEAST_SECRET = 16
LONGEST_S = 30 * 86_400.0
OF_CUSTOMER = "customer:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
_COMMON = ("url", "url_env", "ca", "events", "kinds", "group_wait_s", "group_interval_s", "repeat_interval_s")
_OF_RECEIVER = (*_COMMON, "name", "kind", "severity", "customers", "group_by", "secret_env", "bearer_env")
_OF_CUSTOMER = (*_COMMON, "secret_env")
# (group_by, group_wait_s, group_interval_s, repeat_interval_s) where the file says nothing. Alertmanager groups and
# repeats itself, and forgets what is not told again.
_DEFAULTS = {
    WEBHOOK: (BY_KIND, 30.0, 300.0, 14_400.0),
    SLACK: (BY_KIND, 30.0, 300.0, 14_400.0),
    ALERTMANAGER: (BY_RECEIVER, 5.0, 10.0, 60.0),
}
_DEFAULTS_OF_CUSTOMERS = (BY_INCIDENT, 30.0, 60.0, 0.0)


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is told. `customer`: a customer's own receiver, which gets that customer's view and nothing else. `severity`:
    least level; `kinds`, `customers`: empty for all; `events`: what it hears of. Times in ms: how long a new event
    waits for others, the least time between two messages of a group, and after which what is still open is said again
    (0: never). `secret` signs (webhook); `bearer` is shown (alertmanager)."""

    name: str
    kind: str
    target: Target
    severity: str = LEVELS[0]
    kinds: tuple[str, ...] = ()
    customers: tuple[str, ...] = ()
    events: tuple[str, ...] = EVENTS
    group_by: str = BY_KIND
    group_wait_ms: int = 30_000
    group_interval_ms: int = 300_000
    repeat_interval_ms: int = 14_400_000
    customer: str | None = None
    secret: bytes | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """All of `notify.toml`. `pages`: address of the pages, for links; empty: no links. `timeout_s`: of one attempt.
    `most_incidents`: remembered per receiver. `give_up_ms`: after which an undelivered message is let go. `sha256`: of
    the file."""

    receivers: tuple[Receiver, ...]
    pages: str = ""
    timeout_s: float = 10.0
    most_incidents: int = 10_000
    give_up_ms: int = 86_400_000
    sha256: str = ""

    def receiver(self, name: str) -> Receiver:
        """One by its name. Raises SettingsError."""
        for receiver in self.receivers:
            if receiver.name == name:
                return receiver
        known = ", ".join(r.name for r in self.receivers) or "none"
        raise SettingsError(f"receiver: expected one of {known}, got {name!r}")


def find_file(process: ProcessSettings, environment: Mapping[str, str]) -> Path | None:
    """The file that DIPPER_NOTIFY names, else `notify.toml` beside the policy file, else in the data directory; None
    when there is none."""
    if environment.get(VARIABLE):
        return Path(environment[VARIABLE])
    folders = [process.policy.parent] if process.policy is not None else []
    return next((f for f in (folder / FILE for folder in (*folders, process.data)) if f.is_file()), None)


def load(path: Path, environment: Mapping[str, str] = os.environ) -> NotifySettings:
    """The settings of a file. Raises SettingsError naming file and field."""
    try:
        data = path.read_bytes()
        given = tomllib.loads(data.decode())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: expected a readable TOML file, got: {error}") from None
    try:
        return _settings(given, environment, hashlib.sha256(data).hexdigest())
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


def _settings(given: Mapping[str, Any], environment: Mapping[str, str], sha256: str) -> NotifySettings:
    top = _Table("", given, ("pages", "network", "receiver", "customer"))
    network = _Table("network", top.table("network"), ("allow_hosts", "timeout_s", "most_incidents", "give_up_s"))
    allowed = hosts_allowed("network.allow_hosts", network.texts("allow_hosts"))
    receivers = [
        _receiver(_Table(f"receiver[{i}]", row, _OF_RECEIVER), environment, allowed)
        for i, row in enumerate(top.tables("receiver"))
    ]
    for customer, row in top.table("customer").items():
        receivers.append(_of_customer(str(customer), row, environment, allowed))
    names = [r.name for r in receivers]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(f"receiver.name: expected each name once, got {twice!r} twice")
    if len(receivers) > MOST_RECEIVERS:
        raise SettingsError(f"receiver: expected at most {MOST_RECEIVERS} with customers' own, got {len(receivers)}")
    pages = top.text("pages", "").rstrip("/")
    if pages and not re.fullmatch(r"https?://[!-~]{1,500}", pages):
        raise SettingsError(f"pages: expected the address of the pages, http(s)://HOST, got {pages!r}")
    return NotifySettings(
        tuple(receivers),
        pages,
        network.seconds("timeout_s", 10.0, least=0.1, most=120.0),
        int(network.number("most_incidents", 10_000, least=10, most=1_000_000)),
        round(network.seconds("give_up_s", 86_400.0, least=60.0) * SECOND_MS),
        sha256,
    )


def _receiver(row: _Table, environment: Mapping[str, str], allowed: frozenset[str]) -> Receiver:
    name = row.text("name")
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{row.path}.name: expected 1 to 64 of A-Z a-z 0-9 . _ -, got {name!r}")
    row.path = f"receiver {name}"
    kind = row.one_of("kind", RECEIVER_KINDS)
    if kind != WEBHOOK and "secret_env" in row.given:
        raise SettingsError(f"{row.path}.secret_env: expected only for kind webhook, got it for {kind}")
    if kind != ALERTMANAGER and "bearer_env" in row.given:
        raise SettingsError(f"{row.path}.bearer_env: expected only for kind alertmanager, got it for {kind}")
    customers = tuple(_id(f"{row.path}.customers", c) for c in row.texts("customers"))
    group_by, *times = _DEFAULTS[kind]
    bearer = _secret(row, "bearer_env", environment)
    return Receiver(
        name,
        kind,
        _target(row, environment, allowed, loopback=True),
        row.one_of("severity", LEVELS, LEVELS[0]),
        customers=customers,
        group_by=row.one_of("group_by", GROUPINGS, group_by),
        secret=_secret(row, "secret_env", environment),
        bearer=None if bearer is None else bearer.decode(),
        **_common(row, EVENTS, times),
    )


def _of_customer(customer: str, given: Any, environment: Mapping[str, str], allowed: frozenset[str]) -> Receiver:
    path = f"customer.{customer}"
    if not isinstance(given, dict):
        raise SettingsError(f"[{path}]: expected a table, got {given!r}")
    row = _Table(path, given, _OF_CUSTOMER)
    _id(path, customer)
    secret = _secret(row, "secret_env", environment)
    if secret is None:
        raise SettingsError(f"{path}.secret_env: expected the variable that holds the key of the signature, got none")
    group_by, *times = _DEFAULTS_OF_CUSTOMERS
    return Receiver(
        f"{OF_CUSTOMER}{customer}",
        WEBHOOK,
        _target(row, environment, allowed, loopback=False),
        customers=(customer,),
        group_by=group_by,
        customer=customer,
        secret=secret,
        **_common(row, OF_CUSTOMERS, times),
    )


def _common(row: _Table, events: tuple[str, ...], times: list[float]) -> dict[str, Any]:
    wait_s, interval_s, repeat_s = (
        row.seconds(name, default)
        for name, default in zip(("group_wait_s", "group_interval_s", "repeat_interval_s"), times, strict=True)
    )
    if 0 < repeat_s < 10:
        raise SettingsError(f"{row.path}.repeat_interval_s: expected 0 (never) or 10 and more, got {repeat_s:g}")
    chosen = row.texts("events")
    for event in chosen:
        if event not in events:
            raise SettingsError(f"{row.path}.events: expected among {', '.join(events)}, got {event!r}")
    kinds = row.texts("kinds")
    for kind in kinds:
        if kind not in KINDS:
            raise SettingsError(f"{row.path}.kinds: expected among {', '.join(KINDS)}, got {kind!r}")
    return {
        "kinds": kinds,
        "events": chosen or events,
        "group_wait_ms": round(wait_s * SECOND_MS),
        "group_interval_ms": round(interval_s * SECOND_MS),
        "repeat_interval_ms": round(repeat_s * SECOND_MS),
    }


def _target(row: _Table, environment: Mapping[str, str], allowed: frozenset[str], *, loopback: bool) -> Target:
    if ("url" in row.given) == ("url_env" in row.given):
        raise SettingsError(f"{row.path}.url: expected url or url_env, one of them")
    secret = "url_env" in row.given
    url = _variable(row, "url_env", environment) if secret else row.text("url")
    ca = row.text("ca", "")
    return target(f"{row.path}.{'url_env' if secret else 'url'}", url, allowed, loopback=loopback, secret=secret, ca=ca)


def _secret(row: _Table, name: str, environment: Mapping[str, str]) -> bytes | None:
    if name not in row.given:
        return None
    text = _variable(row, name, environment)
    if len(text) < LEAST_SECRET or not text.isascii() or not text.isprintable():
        got = f"{len(text)} characters"
        raise SettingsError(f"{row.path}.{name}: expected {LEAST_SECRET} or more printable ASCII characters, got {got}")
    return text.encode()


def _variable(row: _Table, name: str, environment: Mapping[str, str]) -> str:
    variable = row.text(name)
    if not _VARIABLE.fullmatch(variable):
        raise SettingsError(f"{row.path}.{name}: expected the name of an environment variable, A-Z 0-9 _")
    if not environment.get(variable):
        raise SettingsError(f"{row.path}.{name}: expected {variable} in the environment, got nothing")
    return environment[variable]


def _id(path: str, value: str) -> str:
    try:
        return check_id(path, value)
    except ContractError as error:
        raise SettingsError(str(error)) from None


class _Table:
    """A table whose fields are asked for by name and type; a field it may not have is refused."""

    def __init__(self, path: str, given: Mapping[str, Any], names: tuple[str, ...]) -> None:
        self.path, self.given = path, given
        for name in given:
            if name not in names:
                raise SettingsError(f"{self._at(name)}: expected one of {', '.join(names)}")

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _typed(self, name: str, kinds: tuple[type, ...], what: str, default: Any) -> Any:
        value = self.given.get(name, default)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise SettingsError(f"{self._at(name)}: expected {what}, got {'nothing' if value is None else repr(value)}")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A text; without a default it must be there."""
        return str(self._typed(name, (str,), "a text", default))

    def one_of(self, name: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """One of some texts."""
        value = self.text(name, default)
        if value not in allowed:
            raise SettingsError(f"{self._at(name)}: expected one of {', '.join(allowed)}, got {value!r}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; empty when it is not there."""
        value = self._typed(name, (list,), "a list of texts", [])
        if not all(isinstance(item, str) for item in value):
            raise SettingsError(f"{self._at(name)}: expected a list of texts, got {value!r}")
        return tuple(value)

    def number(self, name: str, default: float, *, least: float, most: float) -> float:
        """A number within bounds."""
        value = float(self._typed(name, (int, float), "a number", default))
        if not least <= value <= most:
            raise SettingsError(f"{self._at(name)}: expected {least:g} to {most:g}, got {value:g}")
        return value

    def seconds(self, name: str, default: float, *, least: float = 0.0, most: float = LONGEST_S) -> float:
        """A duration in s."""
        return self.number(name, default, least=least, most=most)

    def table(self, name: str) -> dict[str, Any]:
        """A table; empty when it is not there."""
        return dict(self._typed(name, (dict,), "a table", {}))

    def tables(self, name: str) -> list[dict[str, Any]]:
        """A list of tables."""
        rows = self._typed(name, (list,), f"tables [[{name}]]", [])
        if not all(isinstance(row, dict) for row in rows):
            raise SettingsError(f"{self._at(name)}: expected tables [[{name}]], got {rows!r}")
        return list(rows)
