"""Where a process may listen."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from ingest.errors import IngestError


class BindRefused(IngestError):
    """An address that the network reaches, while a door behind it asks nobody who they are."""


@dataclass(frozen=True, slots=True)
class Door:
    """Something that answers on a listener. `authenticated`: it asks every caller who they are; `remedy`: how to make
    it, as the end of a sentence."""

    name: str
    authenticated: bool
    remedy: str = ""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address. A name other than localhost may be anything: no."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_bind(host: str, doors: Iterable[Door]) -> None:
    """Allow a loopback address always, any other only when every door authenticates. Raises BindRefused."""
    if is_loopback(host):
        return
    open_doors = [door for door in doors if not door.authenticated]
    if open_doors:
        named = "; ".join(f"{d.name}: {d.remedy}" if d.remedy else d.name for d in open_doors)
        raise BindRefused(
            f"listen address: expected a loopback address such as 127.0.0.1, got {host!r}, which others reach while "
            f"these doors ask nobody who they are: {named}"
        )
