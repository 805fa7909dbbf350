"""Bulk import of devices, customers and rules from CSV or JSON: all is checked before anything is stored.

CSV: a header line with the field names, then one record per line. JSON: a list of objects with the same names, where
customers' `objectives` is a list of objects. Every problem names its line and column.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from contracts.auth import check_id
from contracts.entities import Customer, DeviceAttributes, Objective, SchedulingRule
from contracts.errors import ContractError
from contracts.times import from_rfc3339
from ingest.registry.checks import check_attributes, check_customer, check_rule
from ingest.registry.errors import RegistryError

T = TypeVar("T")
Format = Literal["csv", "json"]
MAX_IMPORT_CHARS = 64 * 1024 * 1024
MAX_PROBLEMS = 20  # shown; a file with more has one cause

DEVICE_FIELDS = ("device", "device_isp", "device_region", "nat_type", "cohort", "capacity_mbps", "valid_from")
CUSTOMER_FIELDS = ("id", "name", "timezone", "objectives")
RULE_FIELDS = ("id", "version", "name", "owner", "valid_from")
OPTIONAL_FIELDS = frozenset({"valid_from", "timezone", "objectives"})


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a place of an import file; `column` empty: with the whole line."""

    line: int
    column: str
    message: str

    def __str__(self) -> str:
        place = f"line {self.line}, column {self.column}" if self.column else f"line {self.line}"
        return f"{place}: {self.message}"


class BadImport(RegistryError):
    """A file that was refused as a whole; `problems` in order of lines, at most MAX_PROBLEMS."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems[:MAX_PROBLEMS])
        more = len(problems) - len(self.problems)
        lines = [*map(str, self.problems), *([f"and {more} more"] if more > 0 else [])]
        super().__init__("nothing was imported:\n  " + "\n  ".join(lines))


@dataclass(frozen=True, slots=True)
class Row:
    """A record of a file: its first line, and its values by name (text from CSV, anything from JSON)."""

    line: int
    values: Mapping[str, Any]


def read_devices(text: str, form: Format, now: int) -> list[tuple[str, DeviceAttributes]]:
    """(device, attributes) per record; `valid_from` is an RFC 3339 time, by default `now`. Raises BadImport."""

    def build(values: Mapping[str, Any]) -> tuple[str, DeviceAttributes]:
        attributes = DeviceAttributes(
            _time(values, now),
            values["device_isp"],
            values["device_region"],
            values["nat_type"],
            values["cohort"],
            _number(values, "capacity_mbps", form),
        )
        check_attributes(attributes)
        return check_id("device", values["device"]), attributes

    return _build_all(text, form, DEVICE_FIELDS, build, lambda pair: pair[0])


def read_customers(text: str, form: Format) -> list[Customer]:
    """Customers with their objectives. Raises BadImport."""

    def build(values: Mapping[str, Any]) -> Customer:
        identity = check_id("id", values["id"])
        given = values.get("objectives") or []
        parsed = parse_objectives(identity, given) if isinstance(given, str) else _objectives(identity, given)
        customer = Customer(identity, values["name"], values.get("timezone") or "UTC", parsed)
        check_customer(customer)
        return customer

    return _build_all(text, form, CUSTOMER_FIELDS, build, lambda customer: customer.id)


def read_rules(text: str, form: Format, now: int) -> list[SchedulingRule]:
    """Scheduling rules; `valid_from` is an RFC 3339 time, by default `now`. Raises BadImport."""

    def build(values: Mapping[str, Any]) -> SchedulingRule:
        version = _number(values, "version", form)
        if not version.is_integer():
            raise ContractError("bad_field", "version", "an integer", values["version"])
        rule = SchedulingRule(
            check_id("id", values["id"]), int(version), values["name"], values["owner"], _time(values, now)
        )
        check_rule(rule)
        return rule

    return _build_all(text, form, RULE_FIELDS, build, lambda rule: rule.sched_rule)


def parse_objective(customer: str, text: str) -> Objective:
    """An objective from `measure=failures,service=video,target=0.995[,threshold=800]`, parts separated by commas or
    spaces. Raises ContractError `bad_objective`."""
    values: dict[str, Any] = {}
    for part in text.replace(",", " ").split():
        name, equals, value = part.partition("=")
        if not equals or name in values:
            raise ContractError("bad_objective", "objective", "name=value, each name once", part)
        values[name] = value
    for name in {"target", "threshold"} & values.keys():
        try:
            values[name] = float(values[name])
        except ValueError:
            raise ContractError("bad_objective", f"objective.{name}", "a number", values[name]) from None
    return _objective(customer, values)


def parse_objectives(customer: str, text: str) -> tuple[Objective, ...]:
    """Objectives separated by `;`."""
    return tuple(parse_objective(customer, part) for part in text.split(";") if part.strip())


def _objectives(customer: str, given: object) -> tuple[Objective, ...]:
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise ContractError("bad_objective", "objectives", "a list of objects", given)
    return tuple(_objective(customer, item) for item in given)


def _objective(customer: str, values: Mapping[str, Any]) -> Objective:
    needed, known = {"measure", "service", "target"}, {"measure", "service", "target", "threshold"}
    if not needed <= values.keys() <= known:
        raise ContractError("bad_objective", "objective", "measure, service, target[, threshold]", sorted(values))
    for name in {"target", "threshold"} & values.keys():
        if isinstance(values[name], bool) or not isinstance(values[name], int | float):
            raise ContractError("bad_objective", f"objective.{name}", "a number", values[name])
    return Objective(customer, values["service"], values["measure"], values["target"], values.get("threshold"))


def _build_all(
    text: str,
    form: Format,
    fields: tuple[str, ...],
    build: Callable[[Mapping[str, Any]], T],
    key: Callable[[T], str],
) -> list[T]:
    """Build every record; collect what is wrong with any of them."""
    if len(text) > MAX_IMPORT_CHARS:
        raise BadImport([Problem(1, "", f"expected at most {MAX_IMPORT_CHARS} characters, got {len(text)}")])
    result: list[T] = []
    problems: list[Problem] = []
    line_of: dict[str, int] = {}
    for row in _csv_rows(text, fields) if form == "csv" else _json_rows(text, fields):
        try:
            item = build(row.values)
        except ContractError as error:
            column = error.field.rpartition(".")[2] if error.reason != "bad_objective" else "objectives"
            problems.append(Problem(row.line, column, f"expected {error.expected}, got {error.got}"))
            continue
        if key(item) in line_of:
            problems.append(Problem(row.line, fields[0], f"{key(item)!r} stands on line {line_of[key(item)]} already"))
        line_of[key(item)] = row.line
        result.append(item)
    if problems:
        raise BadImport(problems)
    return result


def _csv_rows(text: str, fields: tuple[str, ...]) -> Iterator[Row]:
    reader = csv.reader(text.removeprefix("\ufeff").splitlines(keepends=True), strict=True)
    first = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_names(1, header, fields)
        first = reader.line_num + 1
        for cells in reader:
            if cells:
                if len(cells) != len(header):
                    raise BadImport([Problem(first, "", f"expected {len(header)} values, got {len(cells)}")])
                yield Row(first, dict(zip(header, cells, strict=True)))
            first = reader.line_num + 1
    except csv.Error as error:
        raise BadImport([Problem(first, "", f"expected CSV, got: {error}")]) from None


def _json_rows(text: str, fields: tuple[str, ...]) -> Iterator[Row]:
    """Items of a list, each with the line it starts on (json.loads alone would forget the lines)."""
    decoder = json.JSONDecoder()
    at, line = _skip(text, 0), 1
    try:
        if text[at : at + 1] != "[":
            raise json.JSONDecodeError("expected a list of objects", text, at)
        at = _skip(text, at + 1)
        counted = 0
        while text[at : at + 1] != "]":
            line, counted = line + text.count("\n", counted, at), at
            values, at = decoder.raw_decode(text, at)
            if not isinstance(values, dict):
                raise BadImport([Problem(line, "", f"expected an object, got {type(values).__name__}")])
            _check_names(line, list(values), fields)
            yield Row(line, values)
            at = _skip(text, at)
            if text[at : at + 1] == ",":
                at = _skip(text, at + 1)
            elif text[at : at + 1] != "]":
                raise json.JSONDecodeError("expected , or ]", text, at)
        if _skip(text, at + 1) != len(text):
            raise json.JSONDecodeError("expected the end of the file", text, at + 1)
    except json.JSONDecodeError as error:
        raise BadImport([Problem(error.lineno, str(error.colno), f"not JSON: {error.msg}")]) from None
    except (RecursionError, ValueError) as error:
        raise BadImport([Problem(line, "", f"not JSON: {error}")]) from None


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _check_names(line: int, names: list[str], fields: tuple[str, ...]) -> None:
    """Every needed name, no unknown one, none twice."""
    missing = [f for f in fields if f not in names and f not in OPTIONAL_FIELDS]
    wrong = [n for n in names if n not in fields or names.count(n) > 1]
    if missing or wrong:
        got = f"missing {', '.join(missing)}" if missing else f"unknown or repeated {wrong[0]!r}"
        raise BadImport([Problem(line, (missing or wrong)[0], f"expected the fields {', '.join(fields)}, got {got}")])


def _time(values: Mapping[str, Any], now: int) -> int:
    value = values.get("valid_from")
    if value in (None, ""):
        return now
    try:
        return from_rfc3339(value)
    except (TypeError, ValueError):
        raise ContractError("bad_field", "valid_from", "RFC 3339 with a zone (2026-01-31T08:00:00Z)", value) from None


def _number(values: Mapping[str, Any], name: str, form: Format) -> float:
    value = values[name]
    try:
        if form == "csv":
            return float(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise ContractError("bad_field", name, "a number", value)
