"""Frozen dataclasses to and from plain JSON values, strictly: every field's type, no unknown field, bounded sizes."""

from __future__ import annotations

import functools
import math
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from contracts.errors import ContractError

MAX_PLAIN_CHARS = 2_000
MAX_PLAIN_ITEMS = 10_000
_MAX_INTEGER = 2**53 - 1  # exact in every JSON reader
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can carry them, UTF-8 cannot

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """JSON values of a dataclass made of numbers, texts, tuples, mappings and dataclasses."""
    if is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


def from_plain(cls: type[T], document: object, reason: str, path: str = "") -> T:
    """The dataclass a JSON object states. Fields with a default may be left out. Raises ContractError `reason` with the
    path of the field; what the class itself refuses is named the same way."""
    if not isinstance(document, dict):
        raise ContractError(reason, path or "document", "an object", document)
    hints: dict[str, Any] = _hints(cls)  # type: ignore[arg-type]
    for name in document:
        if name not in hints:
            raise ContractError(reason, _join(path, str(name)), f"no field beyond {', '.join(hints)}", name)
    values = {}
    for field in fields(cls):  # type: ignore[arg-type]
        if field.name in document:
            values[field.name] = _value(hints[field.name], document[field.name], reason, _join(path, field.name))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ContractError(reason, _join(path, field.name), "this field", None)
    try:
        return cls(**values)
    except ContractError as error:
        error.args = (f"{path}.{error}",) if path else error.args
        error.field = _join(path, error.field)
        raise


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _value(hint: Any, value: object, reason: str, path: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        choices = get_args(hint)
        if value is None and type(None) in choices:
            return None
        return _first_fit([c for c in choices if c is not type(None)], value, reason, path)
    if origin is tuple:
        if not isinstance(value, list) or len(value) > MAX_PLAIN_ITEMS:
            raise ContractError(reason, path, f"a list of at most {MAX_PLAIN_ITEMS}", value)
        return tuple(_value(get_args(hint)[0], item, reason, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict) or len(value) > MAX_PLAIN_ITEMS:
            raise ContractError(reason, path, f"an object of at most {MAX_PLAIN_ITEMS} fields", value)
        for key in value:
            _text(key, reason, path)
        return {key: _value(get_args(hint)[1], item, reason, _join(path, key)) for key, item in value.items()}
    if is_dataclass(hint):
        return from_plain(hint, value, reason, path)  # type: ignore[arg-type]
    return _scalar(hint, value, reason, path)


def _first_fit(choices: list[Any], value: object, reason: str, path: str) -> Any:
    for choice in choices[:-1]:
        try:
            return _value(choice, value, reason, path)
        except ContractError:
            continue
    return _value(choices[-1], value, reason, path)


def _scalar(hint: Any, value: object, reason: str, path: str) -> Any:
    if hint is str:
        return _text(value, reason, path)
    if hint is bool:
        if isinstance(value, bool):
            return value
        raise ContractError(reason, path, "true or false", value)
    if hint is int:
        if type(value) is int and abs(value) <= _MAX_INTEGER:
            return value
        raise ContractError(reason, path, "an integer", value)
    if hint is not float:
        raise TypeError(f"{path}: contracts know no {hint}")
    if type(value) is int and abs(value) <= _MAX_INTEGER:
        return float(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ContractError(reason, path, "a finite number", value)


def _text(value: object, reason: str, path: str) -> str:
    if isinstance(value, str) and len(value) <= MAX_PLAIN_CHARS and not _LONE_SURROGATE.search(value):
        return value
    raise ContractError(reason, path, f"a Unicode text of at most {MAX_PLAIN_CHARS} characters", value)
