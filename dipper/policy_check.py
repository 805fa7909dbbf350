"""Is a policy file right as a whole? Every table is made into what works with it; what is out of range is refused with
table and field before anything uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from contracts.errors import ContractError
from dipper.engine import RETENTION_HOURS
from dipper.parts import WatchSettings
from dipper.self_test import SelfTestSettings
from dipper.settings import SettingsError, load_policy, settings_of
from feed.app import FeedSettings
from history.maintenance import Retention
from history.sink import SinkSettings
from ingest.gateway import GatewaySettings
from ingest.log.kafka_topics import TopicPlan
from streams.health_settings import HealthJobSettings
from streams.incident_settings import DetectorSettings, IncidentSettings, SilenceSettings
from streams.settings import QualitySettings, StreamsError, WorkerSettings

Policy = Mapping[str, Mapping[str, Any]]
Load = Callable[[Path], Policy]

LIVE = ("detector", "silence", "incident", "health", "retention")
"""Tables that take effect while a process runs. All others are read once, at the start."""
_KINDS: dict[str, type[Any]] = {
    "gateway": GatewaySettings,
    "quality": QualitySettings,
    "health": HealthJobSettings,
    "feed": FeedSettings,
    "sink": SinkSettings,
    "retention": Retention,
    "detector": DetectorSettings,
    "silence": SilenceSettings,
    "incident": IncidentSettings,
    "topics": TopicPlan,
    "worker": WorkerSettings,
    "watch": WatchSettings,
    "self_test": SelfTestSettings,
}
_MAY_BE_ZERO = frozenset({"detector.replay_days", "detector.min_excess", "feed.most_streams", "feed.streams_per_token"})


def checked(path: Path, load: Load = load_policy) -> Policy:
    """The policy of a file. Raises SettingsError naming file, table and field."""
    policy = load(path)
    for table, values in policy.items():
        for name, value in values.items():
            why = _wrong(f"{table}.{name}", value)
            if why:
                raise SettingsError(f"{path}: {table}.{name}: {why}")
        if table in _KINDS:
            _made(path, table, values)
    return policy


def _made(path: Path, table: str, values: Mapping[str, Any]) -> None:
    try:
        settings_of(_KINDS[table], {n: v for n, v in values.items() if n != RETENTION_HOURS})
    except (SettingsError, StreamsError, ContractError, ValueError) as error:
        raise SettingsError(f"{path}: {table}.{error}") from None


def _wrong(name: str, value: Any) -> str:
    """What is wrong with a number, whatever works with it: a share beyond 0..1, nothing where something is counted."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    if name.endswith(("_share", ".min_coverage")):
        return "" if 0.0 <= value <= 1.0 else f"expected 0 to 1, got {value:g}"
    least_is_zero = name in _MAY_BE_ZERO
    if not (value >= 0 if least_is_zero else value > 0) or value == float("inf"):
        return f"expected {'0 or more' if least_is_zero else 'above 0'}, got {value:g}"
    return ""


def differences(before: Policy, after: Policy) -> list[tuple[str, Any, Any]]:
    """(table.name, old, new) of what differs, in the file's order."""
    return [
        (f"{table}.{name}", before[table][name], value)
        for table, values in after.items()
        for name, value in values.items()
        if before[table][name] != value
    ]


def in_words(changes: list[tuple[str, Any, Any]]) -> list[str]:
    """One line per difference."""
    return [f"{name}: {_said(old)} -> {_said(new)}" for name, old, new in changes]


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
