"""What `dipper devices|customers|rules|tokens` do: each function takes the registry and the parsed arguments
(`args.now`: ms UTC) and prints. Errors are raised and turned into sentences by `registry_cli`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from contracts import self_test
from contracts.entities import Customer, DeviceAttributes, SchedulingRule
from contracts.errors import ContractError
from contracts.times import rfc3339
from dipper.tables import counted, duration, table
from ingest.registry import NotFound, SqliteRegistry
from ingest.registry.devices import DeviceInfo
from ingest.registry.importing import Format, parse_objective, read_customers, read_devices, read_rules

_TIME_FIELDS = frozenset(
    {"valid_from", "created_at", "revoked_at", "accepted_until", "expires_at", "used_at", "cancelled_at"}
)


def _check_reserved(kind: str, ids: Iterable[str]) -> None:
    """What the self-test is called belongs to nobody else: its traffic is left out of what people are told."""
    for identity in ids:
        if identity == self_test.CUSTOMER or identity.startswith(self_test.DEVICE_PREFIX):
            raise ContractError(
                "reserved_id", kind, f"an id other than those of the self-test ({self_test.CUSTOMER}*)", identity
            )


# --- devices ---


def devices_add(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """Register a device, with `--token` also issue its enrolment token."""
    attributes = DeviceAttributes(
        args.now if args.since is None else args.since, args.isp, args.region, args.nat, args.cohort, args.capacity
    )
    _check_reserved("device", [args.id])
    registry.add_device(args.id, attributes, args.now)
    token = registry.issue_token(args.id, args.now, args.now + args.valid) if args.token else None
    if args.json:
        _print_json({"device": args.id, "token": token} if token else {"device": args.id})
    else:
        print(f"added device {args.id}")
        if token:
            _print_token(token, args.id, args.valid)


def devices_set(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """A new row of attributes: what is not named stays as it was."""
    since = args.now if args.since is None else args.since
    before = registry.attributes(args.id, since)
    if before is None:
        raise NotFound(f"device: no device is named {args.id!r}")
    given = (args.isp, args.region, args.nat, args.cohort, args.capacity)
    kept = (before.device_isp, before.device_region, before.nat_type, before.cohort, before.capacity_mbps)
    if all(value is None for value in given):
        raise ContractError(
            "bad_field", "attributes", "at least one of --isp --region --nat --cohort --capacity", "none"
        )
    row = DeviceAttributes(since, *(k if g is None else g for g, k in zip(given, kept, strict=True)))
    registry.set_attributes(args.id, row, args.now)
    print(_json(asdict(row)) if args.json else f"device {args.id} from {rfc3339(since)}: {_describe(row)}")


def devices_list(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """Devices with their attributes now, filtered."""
    wanted = {"device_isp": args.isp, "device_region": args.region, "nat_type": args.nat, "cohort": args.cohort}
    found = []
    for info in registry.devices():
        current = registry.attributes(info.device, args.now)
        if current and all(v is None or getattr(current, n) == v for n, v in wanted.items()):
            found.append((info, current))
    shown = found[: args.limit]
    if args.json:
        _print_json([{"device": i.device, "state": _state(i, args.now), **asdict(a)} for i, a in shown])
        return
    rows = [
        [i.device, _state(i, args.now), a.device_isp, a.device_region, a.nat_type, a.cohort, f"{a.capacity_mbps:g}"]
        for i, a in shown
    ]
    _print_table(["DEVICE", "STATE", "ISP", "REGION", "NAT", "COHORT", "MBIT/S"], rows, ["MBIT/S"])
    rest = f", {len(shown):,} shown" if len(shown) < len(found) else ""
    _note(counted(len(found), "device") + rest)


def devices_show(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """All that is kept of a device, its history of attributes and keys included."""
    info = registry.device(args.id)
    if info is None:
        raise NotFound(f"device: no device is named {args.id!r}")
    if args.json:
        _print_json({**asdict(info), "state": _state(info, args.now)})
        return
    print(f"device {info.device}: {_state(info, args.now)}, registered {rfc3339(info.created_at)}")
    if info.revoked_at is not None:
        print(f"revoked {rfc3339(info.revoked_at)}")
    rows = [
        [rfc3339(a.valid_from), a.device_isp, a.device_region, a.nat_type, a.cohort, f"{a.capacity_mbps:g}"]
        for a in info.attributes
    ]
    print()
    _print_table(["VALID FROM", "ISP", "REGION", "NAT", "COHORT", "MBIT/S"], rows, ["MBIT/S"])
    if info.keys:
        print()
        keys = [[k.key_id, rfc3339(k.created_at), _until(k.accepted_until, args.now)] for k in info.keys]
        _print_table(["KEY", "MADE", "ACCEPTED"], keys)


def devices_import(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """Add or update devices from a file, all or nothing."""
    rows = read_devices(*_file_of(args), args.now)
    _check_reserved("device", [row[0] for row in rows])
    _print_outcomes(args, "device", registry.upsert_devices(rows, args.now))


def devices_revoke(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """End all keys of a device."""
    registry.revoke(args.id, args.now)
    if args.json:
        _print_json({"device": args.id, "revoked": True})
    else:
        print(f"revoked device {args.id}: its keys and open tokens end now; `dipper devices token {args.id}` lifts it")


def devices_rotate(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """A new key; the old ones end after the overlap."""
    key = registry.rotate(args.id, args.now, args.overlap)
    if args.json:
        _print_json(
            {
                "device": args.id,
                "key_id": key.key_id,
                "key": key.secret.hex(),
                "overlap_until": rfc3339(args.now + args.overlap),
            }
        )
        return
    print(f"device {args.id}: new key {key.key_id}; older keys are accepted for {duration(args.overlap)} more")
    print(key.secret.hex())
    _note("the line above is the key (hex). It is not shown again.")


def devices_token(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """A one-time enrolment token."""
    if (args.id is None) != args.any:
        raise ContractError("bad_field", "ID", "a device's id, or --any for any new device", args.id)
    token = registry.issue_token(args.id, args.now, args.now + args.valid)
    if args.json:
        _print_json({"device": args.id, "token": token, "expires_at": rfc3339(args.now + args.valid)})
    else:
        _print_token(token, args.id, args.valid)


# --- customers ---


def customers_add(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """Store a customer with its objectives."""
    _check_reserved("customer", [args.id])
    objectives = tuple(parse_objective(args.id, text) for text in args.objective)
    registry.add_customer(Customer(args.id, args.name, args.timezone, objectives), replace=args.replace)
    _done(args, {"customer": args.id}, f"stored customer {args.id} with {counted(len(objectives), 'objective')}")


def customers_list(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """All customers."""
    customers = registry.customers()
    if args.json:
        _print_json([asdict(c) for c in customers])
        return
    rows = [[c.id, c.name, c.timezone, str(len(c.objectives))] for c in customers]
    _print_table(["CUSTOMER", "NAME", "TIME ZONE", "OBJECTIVES"], rows, ["OBJECTIVES"])
    _note(counted(len(customers), "customer"))


def customers_show(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """A customer and its objectives."""
    customer = registry.customer(args.id)
    if customer is None:
        raise NotFound(f"customer: no customer is named {args.id!r}")
    if args.json:
        _print_json(asdict(customer))
        return
    print(f"customer {customer.id}: {customer.name}, months in {customer.timezone}")
    units = {"slow_requests": "ms", "low_throughput": "kB/s"}
    rows = [
        [o.service, o.measure, f"{o.target:.6g}", f"{(1 - o.target) * 100:.4g} %",
         "" if o.threshold is None else f"{o.threshold:g} {units.get(o.measure, '')}".strip()]
        for o in customer.objectives
    ]  # fmt: skip
    if rows:
        print()
        _print_table(["SERVICE", "MEASURE", "TARGET", "BAD AT MOST", "THRESHOLD"], rows, ["TARGET", "BAD AT MOST"])


def customers_import(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """Add or update customers from a file, all or nothing."""
    customers = read_customers(*_file_of(args))
    _check_reserved("customer", [customer.id for customer in customers])
    _print_outcomes(args, "customer", registry.upsert_customers(customers))


# --- rules ---


def rules_add(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """Store a version of a scheduling rule."""
    since = args.now if args.since is None else args.since
    rule = SchedulingRule(args.id, args.version, args.name, args.owner, since)
    registry.add_rule(rule, replace=args.replace)
    _done(args, {"sched_rule": rule.sched_rule}, f"stored rule {rule.sched_rule}, valid from {rfc3339(since)}")


def rules_list(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """All scheduling rules."""
    rules = [r for r in registry.rules() if args.owner in (None, r.owner)]
    _show_rules(rules, args)
    if not args.json:
        _note(counted(len(rules), "rule version"))


def rules_show(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """The versions of a rule, by `id` or `id@version` as traffic carries it."""
    rules = [r for r in registry.rules() if args.id in (r.id, r.sched_rule)]
    if not rules:
        raise NotFound(f"rule: no rule is named {args.id!r}")
    _show_rules(rules, args)


def rules_import(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """Add or update rules from a file, all or nothing."""
    _print_outcomes(args, "rule", registry.upsert_rules(read_rules(*_file_of(args), args.now)))


# --- operators' tokens ---


def tokens_add(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """Make a token for a program or operator."""
    token = registry.add_api_token(args.name, args.scope, args.now)
    if args.json:
        _print_json({"name": args.name, "scopes": args.scope, "token": token})
        return
    print(token)
    _note(f"token {args.name} for {', '.join(args.scope)}. It is not shown again.")


def tokens_list(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """Operators' tokens and open enrolment tokens, without their secrets."""
    tokens = registry.api_tokens()
    pending = [t for t in registry.enrolment_tokens() if t.used_at is None and t.cancelled_at is None]
    if args.json:
        _print_json({"api": [asdict(t) for t in tokens], "enrolment": [asdict(t) for t in pending]})
        return
    rows = [[t.name, ", ".join(t.scopes), rfc3339(t.created_at), _until(t.revoked_at, args.now)] for t in tokens]
    _print_table(["TOKEN", "SCOPES", "MADE", "ACCEPTED"], rows)
    _note(counted(len(tokens), "token"))
    if pending:
        print()
        rows = [
            [t.id, t.device or "any new device", rfc3339(t.created_at), _until(t.expires_at, args.now)] for t in pending
        ]
        _print_table(["ENROLMENT", "DEVICE", "MADE", "ACCEPTED"], rows)


def tokens_revoke(registry: SqliteRegistry, args: argparse.Namespace) -> None:
    """End a token at once."""
    registry.revoke_api_token(args.name, args.now)
    _done(args, {"name": args.name, "revoked": True}, f"revoked token {args.name}")


# --- printing and reading ---


def _state(info: DeviceInfo, now: int) -> str:
    if info.revoked_at is not None:
        return "revoked"
    accepted = any(k.accepted_until is None or now < k.accepted_until for k in info.keys)
    return "enrolled" if accepted else "no key"


def _until(time_ms: int | None, now: int) -> str:
    if time_ms is None:
        return "yes"
    return f"until {rfc3339(time_ms)}" if now < time_ms else f"ended {rfc3339(time_ms)}"


def _describe(a: DeviceAttributes) -> str:
    return f"{a.device_isp}, {a.device_region}, {a.nat_type}, {a.cohort}, {a.capacity_mbps:g} Mbit/s"


def _show_rules(rules: Sequence[SchedulingRule], args: argparse.Namespace) -> None:
    if args.json:
        _print_json([{**asdict(r), "sched_rule": r.sched_rule} for r in rules])
        return
    rows = [[r.sched_rule, r.name, r.owner, rfc3339(r.valid_from)] for r in rules]
    _print_table(["RULE", "NAME", "OWNER", "VALID FROM"], rows)


def _print_token(token: str, device: str | None, valid_ms: int) -> None:
    print(token)
    _note(
        f"one-time enrolment token of {device or 'any new device'}, valid {duration(valid_ms)}. It is not shown again."
    )


def _print_outcomes(args: argparse.Namespace, one: str, outcomes: Sequence[str]) -> None:
    counts = {name: Counter(outcomes)[name] for name in ("added", "changed", "unchanged")}
    parts = ", ".join(f"{n:,} {name}" for name, n in counts.items())
    _done(args, counts, f"{counted(len(outcomes), one)} from {args.file}: {parts}")


def _done(args: argparse.Namespace, document: dict[str, Any], sentence: str) -> None:
    print(_json(document) if args.json else sentence)


def _print_table(header: list[str], rows: list[list[str]], right: Sequence[str] = ()) -> None:
    print(table(header, rows, right))


def _print_json(document: object) -> None:
    print(_json(document))


def _json(document: object) -> str:
    return json.dumps(_readable(document), indent=2, ensure_ascii=False, allow_nan=False)


def _readable(document: object) -> object:
    """Times for people: RFC 3339 instead of milliseconds."""
    if isinstance(document, dict):
        return {
            name: rfc3339(value) if name in _TIME_FIELDS and isinstance(value, int) else _readable(value)
            for name, value in document.items()
        }
    return [_readable(item) for item in document] if isinstance(document, list | tuple) else document


def _note(sentence: str) -> None:
    """Beside the data, on stderr, so that a pipe gets data only."""
    sys.stdout.flush()
    print(sentence, file=sys.stderr)


def _file_of(args: argparse.Namespace) -> tuple[str, Format]:
    """The text of the file to import (- for stdin) and its format, stated or by its name."""
    file: str = args.file
    form = args.format or Path(file).suffix.lower().lstrip(".")
    if form not in get_args(Format):
        raise ContractError("bad_file", "FILE", "a name ending in .csv or .json, or --format", file)
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode(), form
    except OSError as error:
        raise ContractError("bad_file", "FILE", "a file that can be read", f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ContractError("bad_file", "FILE", "UTF-8 text", f"{file}, line {line}: {error.reason}") from None
