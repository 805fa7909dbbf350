"""What this package raises, all with sentences for people."""

from __future__ import annotations


class DipperError(Exception):
    """Base: a command could not be done."""
