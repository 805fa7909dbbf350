"""What the registry raises beside ContractError (bad input): not found, not reachable, not a registry."""

from __future__ import annotations


class RegistryError(Exception):
    """Base of the registry's errors. Not retriable unless it is RegistryUnavailable."""


class NotFound(RegistryError):
    """A device, customer, rule or token that the registry does not know; the message names it."""


class RegistryUnavailable(RegistryError):
    """The file cannot be read or written now (locked, disk full, gone). Retry later; nothing was changed."""
