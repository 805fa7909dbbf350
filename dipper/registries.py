"""Which registry a process uses: the file of the embedded mode, or a replica that follows Kafka."""

from __future__ import annotations

from typing import Any

from dipper.clock import wall_clock
from dipper.paths import Paths
from dipper.settings import ProcessSettings
from ingest.registry import NotFound, SqliteRegistry

REPLICA = "registry-replica.sqlite"


def open_registry(process: ProcessSettings, *, create: bool = True) -> Any:
    """The registry of a deployment; SqliteRegistry's methods, whichever it is. Raises RegistryError: NotFound when
    there is none yet and `create` is False."""
    paths = Paths(process.data)
    if process.kafka is not None:
        from ingest.registry.kafka import KafkaRegistry

        paths.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        return KafkaRegistry(process.kafka, paths.root / REPLICA, clock=wall_clock)
    if not create and not paths.registry.exists():
        raise NotFound(
            f"registry: there is none at {paths.registry} yet; `add` or `import` makes it, --data names another"
        )
    return SqliteRegistry(paths.registry, create=create, clock=wall_clock)
