"""Registry contents for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from contracts.entities import Customer, DeviceAttributes, Objective

NOW = 1_767_225_600_000  # 2026-01-01T00:00:00Z

HOME = DeviceAttributes(NOW, "telecom", "guangdong", "full_cone", "stable", 30.0)


def make_attributes(**overrides: Any) -> DeviceAttributes:
    """Attributes of an ordinary home box."""
    return replace(HOME, **overrides)


def make_customer(identity: str = "acme", **overrides: Any) -> Customer:
    """A video customer with one objective."""
    customer = Customer(identity, "Acme Video", "Asia/Shanghai", (Objective(identity, "video", "failures", 0.995),))
    return replace(customer, **overrides)
