"""Which registry a process uses: the file of the embedded mode, or a replica of its own that follows Kafka."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from dipper.clock import wall_clock
from dipper.paths import FileLock, Paths
from dipper.settings import ProcessSettings
from ingest.registry import NotFound, SqliteRegistry


@contextlib.contextmanager
def opened_registry(process: ProcessSettings, user: str, *, create: bool = True, wait: bool = False) -> Iterator[Any]:
    """The registry of a deployment, closed at the end; SqliteRegistry's methods, whichever it is. `user`: who opens
    it; on Kafka each has a replica of its own, locked while it is in use (`wait`: for another user of the same name,
    instead of raising DataDirBusy). Raises RegistryError; NotFound when there is none yet and `create` is False."""
    paths = Paths(process.data)
    if process.kafka is None:
        if not create and not paths.registry.exists():
            raise NotFound(
                f"registry: there is none at {paths.registry} yet; `add` or `import` makes it, --data names another"
            )
        with SqliteRegistry(paths.registry, create=create, clock=wall_clock) as registry:
            yield registry
        return
    from ingest.registry.kafka import KafkaRegistry

    with FileLock(paths.root / f"registry-{user}.lock", wait=wait):
        replica = KafkaRegistry(process.kafka, paths.root / f"registry-{user}.sqlite", clock=wall_clock)
        try:
            yield replica
        finally:
            replica.close()
