"""Names of ClickHouse types, as they stand in the header of a native block, and the Arrow types that hold their values.

Fixed-width values have the same bytes in both, so they are passed on as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from contracts.protocols import StoreError

# Times, dates and enums keep the numbers that the embedded engine gives for them.
FIXED: dict[str, pa.DataType] = {
    **{f"Int{bits}": getattr(pa, f"int{bits}")() for bits in (8, 16, 32, 64)},
    **{f"UInt{bits}": getattr(pa, f"uint{bits}")() for bits in (8, 16, 32, 64)},
    "Float32": pa.float32(),
    "Float64": pa.float64(),
    "Date": pa.uint16(),
    "Date32": pa.date32(),
    "DateTime": pa.uint32(),
    "Enum8": pa.int8(),
    "Enum16": pa.int16(),
}
_NESTING = {"Array", "Nullable", "LowCardinality", "Tuple", "Map"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A type: its name and those of its parts. `names`: of a tuple's elements. `text`: as it was written."""

    text: str
    name: str
    parts: tuple[Kind, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def readable(self) -> bool:
        """Whether history.native_read reads it without the driver."""
        if self.name == "Nullable" and self.parts[0].name in _NESTING:
            return False
        if self.name in _NESTING:
            return all(part.readable for part in self.parts)
        return self.name in FIXED or self.name in ("String", "Bool", "Nothing")


@lru_cache(maxsize=1024)
def kind_of(text: str) -> Kind:
    """A type from its name, such as `Array(LowCardinality(String))`."""
    name, bracket, rest = text.partition("(")
    if not bracket:
        return Kind(text, text)
    arguments = _arguments(rest[:-1])
    if name == "SimpleAggregateFunction":
        return kind_of(arguments[-1])
    if name not in _NESTING:
        return Kind(text, name)
    if name != "Tuple":
        return Kind(text, name, tuple(kind_of(argument) for argument in arguments))
    named = [_named(i, argument) for i, argument in enumerate(arguments)]
    return Kind(text, name, tuple(kind_of(part) for _, part in named), tuple(label for label, _ in named))


def arrow_type(kind: Kind) -> pa.DataType:
    """The Arrow type that a column of this kind becomes. Raises StoreError for one that has none here."""
    if kind.name in FIXED:
        return FIXED[kind.name]
    if kind.name == "Nullable":
        return arrow_type(kind.parts[0])
    if kind.name == "LowCardinality":
        return pa.dictionary(pa.int32(), arrow_type(kind.parts[0]))
    if kind.name == "Array":
        return pa.list_(arrow_type(kind.parts[0]))
    if kind.name == "Map":
        return pa.map_(arrow_type(kind.parts[0]), arrow_type(kind.parts[1]))
    if kind.name == "Tuple":
        return pa.struct([pa.field(name, arrow_type(part)) for name, part in zip(kind.names, kind.parts, strict=True)])
    simple = {"String": pa.utf8(), "Bool": pa.bool_(), "Nothing": pa.null()}.get(kind.name)
    if simple is None:
        raise StoreError(f"history: expected a type this program reads, got {kind.text}")
    return simple


def _named(place: int, argument: str) -> tuple[str, str]:
    """An element of a tuple: `name Type`, or a type alone, which is named by its place from 1."""
    label, space, rest = argument.partition(" ")
    if space and "(" not in label:
        return label.strip("`"), rest
    return str(place + 1), argument


def _arguments(text: str) -> list[str]:
    """What stands between commas outside brackets and quotes."""
    found, depth, begin, quoted = [], 0, 0, False
    for at, letter in enumerate(text):
        if letter == "'" and text[at - 1 : at] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += {"(": 1, ")": -1}.get(letter, 0)
            if letter == "," and depth == 0:
                found.append(text[begin:at].strip())
                begin = at + 1
    found.append(text[begin:].strip())
    return found
