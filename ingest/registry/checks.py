"""Rules of what operators declare, beyond what the entities check themselves. Each raises ContractError."""

from __future__ import annotations

import math
from zoneinfo import ZoneInfo

from contracts.auth import check_id
from contracts.entities import Customer, DeviceAttributes, SchedulingRule
from contracts.errors import ContractError
from contracts.report import MAX_COUNT, MAX_TEXT
from contracts.times import MAX_TIME_MS

# What a holder of an API token may do. `customer:<id>` stands beside these: read that customer's own data.
SCOPES = ("changes:write", "feed:read", "history:read", "incidents:write", "registry:write")
CUSTOMER_SCOPE = "customer:"


def check_text(field: str, value: object, most: int = MAX_TEXT) -> str:
    """A printable text of 1 to `most` characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= most or not value.isprintable():
        raise ContractError("bad_field", field, f"1 to {most} printable characters", value)
    return value


def check_time(field: str, value: object) -> int:
    """A time in ms UTC."""
    if type(value) is not int or not 0 <= value <= MAX_TIME_MS:
        raise ContractError("bad_field", field, "a time in ms UTC", value)
    return value


def check_attributes(attributes: DeviceAttributes) -> None:
    """Dimension values are short printable texts, the capacity is a number."""
    check_time("valid_from", attributes.valid_from)
    for name in ("device_isp", "device_region", "nat_type", "cohort"):
        check_text(name, getattr(attributes, name))
    capacity = attributes.capacity_mbps
    if isinstance(capacity, bool) or not isinstance(capacity, int | float) or not 0 <= capacity < math.inf:
        raise ContractError("bad_field", "capacity_mbps", "a number of Mbit/s, 0 or more", capacity)


def check_customer(customer: Customer) -> None:
    """Known time zone; objectives are the customer's own, at most one per service and measure."""
    check_id("customer.id", customer.id)
    check_text("customer.name", customer.name)
    try:
        ZoneInfo(check_text("customer.timezone", customer.timezone))
    except (ValueError, OSError, LookupError):
        raise ContractError(
            "bad_field", "customer.timezone", "an IANA name (Asia/Shanghai)", customer.timezone
        ) from None
    seen = set()
    for objective in customer.objectives:
        if objective.customer != customer.id:
            raise ContractError(
                "bad_objective", "objective.customer", f"this customer ({customer.id})", objective.customer
            )
        check_text("objective.service", objective.service)
        if (objective.service, objective.measure) in seen:
            raise ContractError(
                "bad_objective",
                "objective.measure",
                "one objective per service and measure",
                f"{objective.measure} of {objective.service} twice",
            )
        seen.add((objective.service, objective.measure))


def check_rule(rule: SchedulingRule) -> None:
    """`id@version` fits into a dimension value; name and owner are stated."""
    check_id("rule.id", rule.id)
    if type(rule.version) is not int or not 1 <= rule.version <= MAX_COUNT:
        raise ContractError("bad_field", "rule.version", f"an integer 1..{MAX_COUNT}", rule.version)
    check_text("rule.id@version", rule.sched_rule)
    check_text("rule.name", rule.name)
    check_text("rule.owner", rule.owner)
    check_time("rule.valid_from", rule.valid_from)


def check_scopes(scopes: tuple[str, ...]) -> None:
    """At least one scope, each one of SCOPES or `customer:<id>`."""
    for scope in scopes:
        if scope.startswith(CUSTOMER_SCOPE):
            check_id("scope", scope.removeprefix(CUSTOMER_SCOPE))
        elif scope not in SCOPES:
            raise ContractError("bad_scope", "scope", f"one of {', '.join(SCOPES)} or customer:<id>", scope)
    if not scopes:
        raise ContractError("bad_scope", "scope", "at least one scope", "none")
