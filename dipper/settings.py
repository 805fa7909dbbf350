"""Settings of a process: hosts and secrets from the environment, read once here; policy numbers from TOML.

`dipper/policy.toml` holds every policy number with its reason. `--policy FILE` (or DIPPER_POLICY) names a file with the
same tables; what it leaves out keeps the default, a name it invents is an error.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import ContractError
from contracts.kafka import ENVIRONMENT as KAFKA_ENVIRONMENT
from contracts.kafka import KafkaSettings, kafka_settings
from dipper.paths import DATA_VARIABLE, DEFAULT_DATA

ENVIRONMENT: dict[str, str] = {
    DATA_VARIABLE: "data directory; of a cluster's process: its replica of the registry (default: var)",
    "DIPPER_STORE": "chdb:///PATH or clickhouse://USER:PASSWORD@HOST:PORT/DATABASE (default: in the data directory)",
    **KAFKA_ENVIRONMENT,
    "DIPPER_HOST": "address of pages, health and local doors (default: 127.0.0.1)",
    "DIPPER_PORT": "their port (default: 8410; 0: any free one)",
    "DIPPER_PUBLIC": "HOST:PORT of a second listener: a gateway's for boxes, a feed's for schedulers (default: none)",
    "DIPPER_TLS_CERT": "certificate file of the public listener",
    "DIPPER_TLS_KEY": "its private key file",
    "DIPPER_METRICS": "HOST:PORT of a listener for /metrics, /healthz and /readyz alone, with a token (default: none)",
    "DIPPER_METRICS_TOKEN": "what Prometheus shows there as its bearer token, 16 characters or more",
    "DIPPER_PAGES": "HOST:PORT of a listener for people elsewhere: pages with log-in, customers' API (default: none)",
    "DIPPER_URL": "where people reach the pages, https://HOST[:PORT] (default: unknown; docs/accounts.md)",
    "DIPPER_SESSION_KEY": "key of sessions, 64 hex digits or more (default: session.key in the data directory)",
    "DIPPER_OIDC_..": "METADATA, CLIENT, SECRET, ROLES, ..: people of an identity provider (docs/accounts.md)",
    "DIPPER_SHARE_KEY": "key of links to reports, 64 hex digits or more (default: share.key in the data directory)",
    "DIPPER_REPORT_FONT": "font of reports as PDF, FILE or REGULAR:BOLD (default: one of the system's)",
    "DIPPER_NOTIFY": "TOML file that says who is told of incidents (default: notify.toml, docs/notifications.md)",
    "DIPPER_POLICY": "TOML file with policy numbers that differ from the defaults",
}
DEFAULT_PORT = 8410
LEAST_TOKEN = 16
# What the command line may override.
GIVEN = ("data", "store", "kafka", "host", "port", "public", "tls_cert", "tls_key", "policy")
POLICY = Path(__file__).with_name("policy.toml")


class SettingsError(ValueError):
    """A setting is wrong; the message names it, what was expected and what came."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a server listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """What a process needs to know before it starts. `store` may carry a password; None: the embedded one in `data`.
    `kafka` None: the embedded log in `data`."""

    data: Path
    local: Listener
    public: Listener | None
    tls_cert: Path | None
    tls_key: Path | None
    policy: Path | None
    store: str | None = dataclasses.field(default=None, repr=False)
    kafka: KafkaSettings | None = None
    metrics: Listener | None = None
    metrics_token: str | None = dataclasses.field(default=None, repr=False)

    def needs_kafka(self) -> KafkaSettings:
        """How to reach Kafka. Raises SettingsError without."""
        if self.kafka is None:
            raise SettingsError("DIPPER_KAFKA: expected the brokers of the log, HOST:PORT,.., got nothing")
        return self.kafka

    def needs_store(self) -> str:
        """Where history is. Raises SettingsError without."""
        if self.store is None:
            raise SettingsError(
                "DIPPER_STORE: expected clickhouse://USER:PASSWORD@HOST:PORT/DATABASE or chdb:///PATH, got nothing"
            )
        return self.store


def from_environment(environment: Mapping[str, str], **given: Any) -> ProcessSettings:
    """Settings from the environment; a value in `given` (from the command line) that is not None wins."""

    def pick(name: str, variable: str) -> str | None:
        value = given.get(name)
        return str(value) if value is not None else (environment.get(variable) or None)

    public = pick("public", "DIPPER_PUBLIC")
    cert, key = pick("tls_cert", "DIPPER_TLS_CERT"), pick("tls_key", "DIPPER_TLS_KEY")
    if (cert is None) != (key is None):
        raise SettingsError("DIPPER_TLS_CERT, DIPPER_TLS_KEY: expected both or neither, got one")
    policy = pick("policy", "DIPPER_POLICY")
    brokers = {"DIPPER_KAFKA": str(given["kafka"])} if given.get("kafka") is not None else {}
    try:
        kafka = kafka_settings({**environment, **brokers})
    except ContractError as error:
        raise SettingsError(str(error)) from None
    return ProcessSettings(
        data=Path(pick("data", DATA_VARIABLE) or DEFAULT_DATA),
        local=Listener(
            pick("host", "DIPPER_HOST") or "127.0.0.1",
            _port("DIPPER_PORT", pick("port", "DIPPER_PORT") or str(DEFAULT_PORT)),
        ),
        public=None if public is None else _listener("DIPPER_PUBLIC", public),
        tls_cert=None if cert is None else Path(cert),
        tls_key=None if key is None else Path(key),
        policy=None if policy is None else Path(policy),
        store=pick("store", "DIPPER_STORE"),
        kafka=kafka,
        **_metrics(environment),
    )


def _metrics(environment: Mapping[str, str]) -> dict[str, Any]:
    address, token = (environment.get(name) or None for name in ("DIPPER_METRICS", "DIPPER_METRICS_TOKEN"))
    if address is None:
        return {}
    if token is None or len(token) < LEAST_TOKEN:
        got = "none" if token is None else f"{len(token)} characters"
        raise SettingsError(f"DIPPER_METRICS_TOKEN: expected {LEAST_TOKEN} characters or more, got {got}")
    return {"metrics": _listener("DIPPER_METRICS", address), "metrics_token": token}


def _port(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise SettingsError(f"{name}: expected a port 0..65535, got {text!r}")
    return int(text)


def _listener(name: str, text: str) -> Listener:
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise SettingsError(f"{name}: expected HOST:PORT, got {text!r}")
    return Listener(host.strip("[]"), _port(name, port))


def load_policy(path: Path | None = None) -> dict[str, dict[str, Any]]:
    """Tables of policy numbers: the defaults, overlaid with a file. Raises SettingsError naming table and field."""
    policy: dict[str, dict[str, Any]] = tomllib.loads(POLICY.read_text())
    return policy if path is None else overlaid(policy, path)


def overlaid(policy: Mapping[str, Mapping[str, Any]], path: Path) -> dict[str, dict[str, Any]]:
    """A policy with what a TOML file says differently. Raises SettingsError naming table and field."""
    result = {table: dict(values) for table, values in policy.items()}
    try:
        given = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: expected a readable TOML file, got: {error}") from None
    for table, values in given.items():
        if table not in result or not isinstance(values, dict):
            raise SettingsError(f"{path}: [{table}]: expected one of the tables {sorted(result)}")
        for name, value in values.items():
            if name not in result[table]:
                raise SettingsError(f"{path}: {table}.{name}: expected one of {sorted(result[table])}")
            default = result[table][name]
            if type(value) is not type(default) and not (isinstance(default, float) and type(value) is int):
                raise SettingsError(f"{path}: {table}.{name}: expected a {type(default).__name__}, got {value!r}")
            result[table][name] = value
    return result


def settings_of(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A settings dataclass of a package from a policy table; the table must name fields of the class only."""
    known = {f.name for f in dataclasses.fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise SettingsError(f"policy: {unknown[0]}: {kind.__name__} has no such field, expected {sorted(known)}")
    return kind(**values)


def environment() -> Mapping[str, str]:
    """The process's environment."""
    return os.environ
