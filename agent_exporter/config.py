"""The agent's settings: one TOML file and the key file, checked once at start."""

from __future__ import annotations

import difflib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent_exporter.errors import ConfigError
from agent_exporter.lines import PARSERS, Defaults, is_dimension
from contracts.auth import KEY_BYTES, check_id
from contracts.errors import ContractError, shorten

INTERVALS_S = (1, 2, 5, 10)  # divisors of the 10 s grid
MIN_SPOOL_BYTES = 2 * 1024 * 1024
GATEWAY, KAFKA = "gateway", "kafka"  # where reports are sent
DEFAULT_KEY_FILE = "/etc/dipper/agent.key"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """One log: its path, its format (`nginx` or `tasks`), where a first start begins, and its defaults."""

    path: Path
    kind: str
    defaults: Defaults
    start_at: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the configuration file says. `agent.example.toml` explains each setting."""

    server: str  # empty when reports go to Kafka
    key_file: Path
    state_dir: Path
    logs: tuple[LogSettings, ...]
    model: str = "unknown"
    firmware: str = "unknown"
    send_to: str = GATEWAY
    interval_s: int = 10
    ca_file: str = ""
    cache_path: str = "/"
    metrics_port: int = 0
    spool_max_bytes: int = 32 * 1024 * 1024
    backlog_reports_per_s: float = 4.0
    timeout_s: float = 10.0
    backoff_max_s: float = 60.0
    spread: float = 0.9


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """Who the box is, and the secret it proves it with."""

    device: str
    key_id: str
    key: bytes


class _Table:
    """A TOML table that is read key by key, so that what is left over is unknown."""

    def __init__(self, path: str, values: object) -> None:
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: expected a table, got {shorten(values)}")
        self._path = path
        self._values: dict[str, Any] = values
        self._known: set[str] = set()

    def take(self, name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """The value of a key, or the default; without a default the key is required."""
        self._known.add(name)
        value = self._values.get(name, default)
        if value is None:
            raise ConfigError(f"{self.name(name)}: required, and missing")
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if type(value) not in kinds:
            raise ConfigError(
                f"{self.name(name)}: expected {' or '.join(k.__name__ for k in kinds)}, got {shorten(value)}"
            )
        return value

    def number(self, name: str, default: float, least: float, most: float) -> Any:
        """A number within bounds; integers stay integers."""
        value = self.take(name, int if type(default) is int else (int, float), default)
        if not least <= value <= most:
            raise ConfigError(f"{self.name(name)}: expected {least}..{most}, got {value!r}")
        return value

    def name(self, key: str) -> str:
        """The key with its table, as a reader finds it in the file."""
        return f"{self._path}.{key}" if self._path else key

    def finish(self) -> None:
        """Refuse what nobody took, with the nearest known name."""
        for key in self._values:
            if key not in self._known:
                near = difflib.get_close_matches(key, self._known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(self._known))}"
                raise ConfigError(f"{self.name(key)}: no such setting; {hint}")


def load(path: Path) -> Settings:
    """Settings of a TOML file. Raises ConfigError with the setting, what was expected and what came."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML, got {error}") from None
    try:
        return _settings(document)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _settings(document: dict[str, Any]) -> Settings:
    top = _Table("", document)
    send_to = top.take("send_to", str, GATEWAY)
    if send_to not in (GATEWAY, KAFKA):
        raise ConfigError(f"send_to: expected {GATEWAY} or {KAFKA}, got {send_to!r}")
    server = top.take("server", str, "" if send_to == KAFKA else None).rstrip("/")
    if server or send_to == GATEWAY:
        check_server(server)
    interval_s = top.take("interval_s", int, 10)
    if interval_s not in INTERVALS_S:
        raise ConfigError(f"interval_s: expected one of {INTERVALS_S}, got {interval_s}")
    spool = _Table("spool", top.take("spool", dict, {}))
    sender = _Table("sender", top.take("sender", dict, {}))
    settings = Settings(
        server=server,
        key_file=Path(top.take("key_file", str, DEFAULT_KEY_FILE)),
        state_dir=Path(top.take("state_dir", str, "/var/lib/dipper-agent")),
        logs=_logs(top.take("log", list)),
        model=_text("model", top.take("model", str, "unknown")),
        firmware=_text("firmware", top.take("firmware", str, "unknown")),
        send_to=send_to,
        interval_s=interval_s,
        ca_file=top.take("ca_file", str, ""),
        cache_path=top.take("cache_path", str, "/"),
        metrics_port=top.number("metrics_port", 0, 0, 65535),
        spool_max_bytes=spool.number("max_bytes", 32 * 1024 * 1024, MIN_SPOOL_BYTES, 2**40),
        backlog_reports_per_s=sender.number("backlog_reports_per_s", 4.0, 0.01, 10_000),
        timeout_s=sender.number("timeout_s", 10.0, 0.1, 300),
        backoff_max_s=sender.number("backoff_max_s", 60.0, 0.1, 3600),
        spread=sender.number("spread", 0.9, 0.0, 1.0),
    )
    for table in (spool, sender, top):
        table.finish()
    return settings


def check_server(server: str) -> None:
    """A server's address: http or https, a host, no query."""
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"server: expected https://host[:port][/prefix], got {server!r}")
    try:
        _ = parts.port
    except ValueError:
        raise ConfigError(f"server: expected a port 0..65535, got {server!r}") from None


def _text(name: str, value: str) -> str:
    """A text, or with a leading @ the content of a file such as /proc/device-tree/model."""
    if value.startswith("@"):
        try:
            value = Path(value[1:]).read_text(encoding="utf-8").replace("\0", "").strip()[:64]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{name}: {value[1:]} cannot be read: {error}") from None
    if not is_dimension(value):
        raise ConfigError(f"{name}: expected 1 to 64 printable characters, got {shorten(value)}")
    return value


def _logs(values: list[Any]) -> tuple[LogSettings, ...]:
    logs = []
    for i, value in enumerate(values):
        table = _Table(f"log[{i}]", value)
        kind = table.take("kind", str)
        if kind not in PARSERS:
            raise ConfigError(f"{table.name('kind')}: expected one of {', '.join(PARSERS)}, got {kind!r}")
        start_at = table.take("start_at", str, "beginning")
        if start_at not in ("beginning", "end"):
            raise ConfigError(f"{table.name('start_at')}: expected beginning or end, got {start_at!r}")
        defaults = {}
        for name in ("customer", "service", "app"):
            text = table.take(name, str, "")
            if text and not is_dimension(text):
                raise ConfigError(f"{table.name(name)}: expected 1 to 64 printable characters, got {shorten(text)}")
            defaults[name] = text
        path = Path(table.take("path", str))
        if not path.is_absolute():
            raise ConfigError(f"{table.name('path')}: expected an absolute path, got {str(path)!r}")
        table.finish()
        logs.append(LogSettings(path, kind, Defaults(**defaults), start_at))
    if len({log.path for log in logs}) != len(logs) or not logs:
        raise ConfigError("log: expected at least one [[log]] and each path once")
    return tuple(logs)


def load_key(path: Path) -> DeviceKey:
    """The key file, JSON `{"device", "key_id", "key"}` with the key in hex. Raises ConfigError; never shows the key."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        key = DeviceKey(check_id("device", document["device"]), str(document["key_id"]), bytes.fromhex(document["key"]))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; `dipper-agent enroll` makes a key file") from None
    except ContractError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f'{path}: expected JSON {{"device", "key_id", "key"}} with the key in hex') from None
    if len(key.key) != KEY_BYTES:
        raise ConfigError(f"{path}: key: expected {KEY_BYTES} bytes in hex, got {len(key.key)}")
    return key
