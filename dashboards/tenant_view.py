"""What a customer's account gets in place of the whole: history through history.tenant, the registry's one entry.

Everything else that a page may ask of `context.Backend` is refused, what is added to it later included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Protocol

from contracts.entities import Customer, DeviceAttributes, SchedulingRule
from contracts.protocols import DeviceKey
from contracts.sla import Month
from dashboards.people import NotAllowed


class TenantView(Protocol):
    """The part of history.tenant.Tenant that pages show."""

    customer: str

    def services(self) -> tuple[str, ...]:
        """Services with traffic."""

    def months(self, now: int) -> list[Month]:
        """Months with a service level, newest first."""

    def report(self, month: Month, now: int) -> Mapping[str, Any]:
        """The report of a month."""


class TenantBackend:
    """Answers about one customer; `tenant` None: about nobody."""

    def __init__(self, tenant: TenantView | None) -> None:
        self._tenant = tenant

    def services(self, customer: str) -> tuple[str, ...]:
        """Services with traffic."""
        return self._of(customer).services()

    def promised_months(self, customer: str, now: int) -> Sequence[Month]:
        """Months with a service level."""
        return self._of(customer).months(now)

    def report(self, customer: Customer, month: Month, now: int) -> Mapping[str, Any]:
        """The report of a month."""
        return self._of(customer.id).report(month, now)

    def _of(self, customer: str) -> TenantView:
        if self._tenant is None or customer != self._tenant.customer:
            raise NotAllowed("another customer's data was asked for")
        return self._tenant

    def __getattr__(self, name: str) -> NoReturn:
        raise NotAllowed(f"{name} is not for customers")


class TenantRegistry:
    """A registry that knows one customer, or nobody."""

    def __init__(self, customer: Customer | None) -> None:
        self._customer = customer

    def customer(self, customer_id: str) -> Customer | None:
        """The one, or None."""
        return self._customer if self._customer is not None and self._customer.id == customer_id else None

    def customers(self) -> Sequence[Customer]:
        """At most one."""
        return () if self._customer is None else (self._customer,)

    def keys(self, device: str) -> Sequence[DeviceKey]:  # noqa: ARG002
        """None."""
        return ()

    def attributes(self, device: str, at_ms: int) -> DeviceAttributes | None:  # noqa: ARG002
        """Nothing."""
        return None

    def rules(self) -> Sequence[SchedulingRule]:
        """None."""
        return ()

    def version(self) -> int:
        """It does not change."""
        return 0
