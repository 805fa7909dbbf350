"""Where messages may go. https to the open internet; http, and addresses that are not public, only to hosts that the
file allows by name, and to loopback for the house's own receivers. Nothing here lets a name that resolves to an inner
address through: addresses are judged after resolution, and the connection goes to the address that was judged."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from dipper.settings import SettingsError

MAX_URL_CHARS = 2_000
LOCALHOST = "localhost"
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9])?\.?")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Forbidden(Exception):
    """A host whose addresses may not be reached."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address to POST to. `free`: any address of this host may be reached; `loopback`: it is one of this machine,
    and only this machine's may be reached. `shown`: what may stand in logs."""

    host: str
    port: int
    path: str = field(repr=False)
    tls: ssl.SSLContext | None
    free: bool
    loopback: bool
    shown: str


def hosts_allowed(path: str, names: tuple[str, ...]) -> frozenset[str]:
    """Hosts by name or address. Raises SettingsError."""
    for name in names:
        if not (_HOST.fullmatch(name) or _literal(name)):
            raise SettingsError(f"{path}: expected host names or addresses in small letters, got {name!r}")
    return frozenset(names)


def target(path: str, url: str, allowed: frozenset[str], *, loopback: bool, secret: bool, ca: str = "") -> Target:
    """A checked address. `loopback`: this machine may be reached; `secret`: the URL's path may not be shown. Raises
    SettingsError naming `path`."""
    told = "an address that is not shown" if secret else repr(url[:200])
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or ""), parts.port
    except ValueError:
        raise SettingsError(f"{path}: expected https://HOST[:PORT]/PATH, got {told}") from None
    plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= MAX_URL_CHARS
    if not plain or parts.scheme not in ("https", "http") or not (_HOST.fullmatch(host) or _literal(host)):
        raise SettingsError(f"{path}: expected https://HOST[:PORT]/PATH, got {told}")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise SettingsError(f"{path}: expected an address without user, password and fragment, got {told}")
    here, free = is_loopback(host), host in allowed
    if here and not (loopback or free):
        raise SettingsError(
            f"{path}: expected a host that is not this machine, or one of network.allow_hosts, got {host}"
        )
    if parts.scheme == "http" and not (here or free):
        raise SettingsError(f"{path}: expected https; http is for loopback and network.allow_hosts, got {told}")
    shown = f"{parts.scheme}://{parts.netloc}" + ("" if secret else parts.path)
    query = f"?{parts.query}" if parts.query else ""
    context = _context(path, ca) if parts.scheme == "https" else None
    return Target(
        host, port or (443 if context else 80), (parts.path or "/") + query, context, free, here and not free, shown
    )


def resolve(where: Target) -> list[tuple[int, str]]:
    """(family, address) of a host that may be reached. Raises OSError, Forbidden."""
    found = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
    open_ones: list[tuple[int, str]] = [
        (family, str(at[0])) for family, _, _, _, at in found if where.free or _permitted(where, str(at[0]))
    ]
    if not open_ones:
        raise Forbidden(f"{where.host}: expected a public address, or a host of network.allow_hosts")
    return open_ones


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name."""
    found = _literal(host)
    return host.rstrip(".") == LOCALHOST or (found is not None and found.is_loopback)


def _permitted(where: Target, text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in _NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if where.loopback:
        return address.is_loopback
    return address.is_global and not address.is_multicast


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _context(path: str, ca: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"{path}: ca: expected a readable file of certificates, got {ca!r}: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
