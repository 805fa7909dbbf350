"""Bytes of the native protocol: a source that is read as it arrives, and where the values of a column end.

Columns are never decoded: whoever passes a block on needs to know only where each column begins and ends.
"""

from __future__ import annotations

import socket
import struct

BLOCK_INFO = b"\x01\x00\x02" + struct.pack("<i", -1) + b"\x00"
_WIDTHS = {
    **{f"{sign}Int{bits}": bits // 8 for sign in ("", "U") for bits in (8, 16, 32, 64, 128, 256)},
    "Float32": 4,
    "Float64": 8,
    "Bool": 1,
    "Nothing": 1,
    "UUID": 16,
    "IPv4": 4,
    "IPv6": 16,
    "Date": 2,
    "Date32": 4,
    "DateTime": 4,
    "Enum8": 1,
    "Enum16": 2,
    "DateTime64": 8,
    "Decimal32": 4,
    "Decimal64": 8,
    "Decimal128": 16,
    "Decimal256": 32,
}


class Gone(Exception):
    """The other side closed the connection."""


class Source:
    """A cursor over bytes that are all there, or that a socket still delivers."""

    def __init__(self, data: bytes = b"", sock: socket.socket | None = None) -> None:
        self._sock = sock
        self._buffer = bytearray(data) if sock is None else bytearray(1 << 16)
        self.view = memoryview(self._buffer)
        self.at = 0
        self.end = len(data)

    def need(self, size: int) -> None:
        """Wait until so many bytes follow the cursor."""
        missing = self.at + size - self.end
        if missing > 0 and self._sock is None:
            raise Gone("the data ends within a value")
        if self.at + size > len(self._buffer):
            grown = bytearray(max(2 * len(self._buffer), self.at + size))
            grown[: self.end] = self.view[: self.end]
            self._buffer, self.view = grown, memoryview(grown)
        while self._sock is not None and self.end < self.at + size:
            got = self._sock.recv_into(self.view[self.end :])
            if got == 0:
                raise Gone("the client went away")
            self.end += got

    def rewind(self) -> None:
        """Forget what lies before the cursor."""
        rest = bytes(self.view[self.at : self.end])
        self.view[: len(rest)] = rest
        self.at, self.end = 0, len(rest)

    def skip(self, size: int) -> None:
        """Pass over bytes."""
        self.need(size)
        self.at += size

    def number(self, form: str) -> int:
        """A fixed number, as struct names it."""
        size = struct.calcsize(form)
        self.need(size)
        (value,) = struct.unpack_from(form, self.view, self.at)
        self.at += size
        return int(value)

    def varint(self) -> int:
        """A number of 7 bits a byte."""
        value = shift = 0
        while True:
            self.need(1)
            byte = self.view[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def text(self) -> str:
        """A string with its length before it."""
        size = self.varint()
        self.skip(size)
        return str(self.view[self.at - size : self.at], "utf-8", "replace")


def varint(value: int) -> bytes:
    """A number of 7 bits a byte."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(value: str) -> bytes:
    """A string with its length before it."""
    data = value.encode()
    return varint(len(data)) + data


def pass_column(source: Source, kind: str, rows: int) -> None:
    """Move the cursor over a column's values."""
    _prefix(source, kind)
    _values(source, kind, rows)


def _prefix(source: Source, kind: str) -> None:
    name, inner = _split(kind)
    if name == "LowCardinality":
        source.skip(8)
    elif name in ("Array", "Nullable", "Tuple", "Map"):
        for part in inner:
            _prefix(source, part)


def _values(source: Source, kind: str, rows: int) -> None:
    name, inner = _split(kind)
    if name in _WIDTHS:
        source.skip(rows * _WIDTHS[name])
    elif name == "String":
        for _ in range(rows):
            source.skip(source.varint())
    elif name == "FixedString":
        source.skip(rows * int(inner[0]))
    elif name == "Nullable":
        source.skip(rows)
        _values(source, inner[0], rows)
    elif name == "Tuple":
        for part in inner:
            _values(source, part, rows)
    elif name in ("Array", "Map"):
        source.skip(8 * rows)
        total = struct.unpack_from("<Q", source.view, source.at - 8)[0] if rows else 0
        for part in inner:
            _values(source, part, total)
    elif name == "LowCardinality":
        if rows:
            width = 1 << (source.number("<Q") & 0xF)
            _values(source, inner[0].removeprefix("Nullable(").removesuffix(")"), source.number("<Q"))
            source.skip(8 + rows * width)
    else:
        raise ValueError(f"test server: expected a type it can pass on, got {kind}")


def _split(kind: str) -> tuple[str, list[str]]:
    """A type's name and its arguments; of named tuple elements the types."""
    name, bracket, rest = kind.partition("(")
    if not bracket:
        return kind, []
    parts, depth, begin = [], 0, 0
    rest = rest[:-1]
    for at, letter in enumerate(rest):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append(rest[begin:at].strip())
            begin = at + 1
    parts.append(rest[begin:].strip())
    if name == "Tuple":
        parts = [part.split(" ", 1)[1] if " " in part.split("(")[0] else part for part in parts]
    if name == "Decimal":
        digits = int(parts[0])
        name = next(f"Decimal{bits}" for bits, most in ((32, 9), (64, 18), (128, 38), (256, 76)) if digits <= most)
    if name == "SimpleAggregateFunction":
        return _split(parts[1])
    return name, parts
