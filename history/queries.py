"""Every question pages and commands ask of history: typed, parameterised. The answers' types are in query_model."""

from history.query_customers import (
    customer_series,
    customer_totals,
    fleet_overview,
    latency_cells,
    services,
    services_by_customer,
)
from history.query_fleet import (
    box_counts,
    boxes_by,
    changes,
    device,
    devices,
    exemplars,
    freshness,
    rejected,
    rejected_by_reason,
    rejected_one,
    restatements,
    traffic_by,
)

__all__ = [
    "box_counts",
    "boxes_by",
    "changes",
    "customer_series",
    "customer_totals",
    "device",
    "devices",
    "exemplars",
    "fleet_overview",
    "freshness",
    "latency_cells",
    "rejected",
    "rejected_by_reason",
    "rejected_one",
    "restatements",
    "services",
    "services_by_customer",
    "traffic_by",
]
