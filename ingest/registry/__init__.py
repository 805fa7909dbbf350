"""What is known of devices, customers and scheduling rules; who holds which key or token."""

from ingest.registry.checks import SCOPES
from ingest.registry.errors import NotFound, RegistryError, RegistryUnavailable
from ingest.registry.importing import BadImport
from ingest.registry.sqlite import DEFAULT_OVERLAP_MS, SqliteRegistry

__all__ = [
    "DEFAULT_OVERLAP_MS",
    "SCOPES",
    "BadImport",
    "NotFound",
    "RegistryError",
    "RegistryUnavailable",
    "SqliteRegistry",
]
