"""Errors of the agent. Every message names the thing, what was expected and what came."""

from __future__ import annotations


class AgentError(Exception):
    """Base of all errors the agent raises on purpose."""


class ConfigError(AgentError):
    """The configuration or the key file cannot be used as it stands."""


class LineError(AgentError):
    """A log line that does not follow its documented format."""


class RetriableError(AgentError):
    """Trying again later may succeed."""


class SpoolError(RetriableError):
    """The spool could not be written, for instance because the disk is full. Nothing of the tick was kept."""


class SendError(RetriableError):
    """No usable answer came from the server."""
