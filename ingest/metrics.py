"""The gateway's counters and gauges in Prometheus' text format, names and meanings in one place."""

from __future__ import annotations

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# name -> (type, labels, meaning)
METRICS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "dipper_gateway_answers_total": ("counter", ("route", "status", "reason"), "answers given, reason empty for 2xx"),
    "dipper_gateway_reports_stored_total": ("counter", (), "reports that are durable"),
    "dipper_gateway_reports_duplicate_total": ("counter", (), "reports that had been stored before"),
    "dipper_gateway_slices_stored_total": ("counter", (), "slices that are durable"),
    "dipper_gateway_slices_rejected_total": ("counter", (), "slices of unknown customers"),
    "dipper_gateway_body_bytes_total": ("counter", (), "bytes of authenticated bodies as sent"),
    "dipper_gateway_flushes_total": ("counter", (), "appends to the log"),
    "dipper_gateway_flush_seconds_total": ("counter", (), "time from the start of an append to its end"),
    "dipper_gateway_log_errors_total": ("counter", ("kind",), "appends the log refused"),
    "dipper_gateway_heartbeats_total": ("counter", (), "heartbeats to idle partitions"),
    "dipper_gateway_pending_bytes": ("gauge", (), "decoded bytes that wait for an append"),
    "dipper_gateway_known_boots": ("gauge", (), "(device, boot) pairs whose newest reports are remembered"),
    "dipper_gateway_follow_failing": ("gauge", (), "1 while it cannot learn what other gateways store"),
}


class Metrics:
    """Values by name and label values."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, tuple[str, ...]], float] = {}

    def add(self, name: str, amount: float = 1, labels: tuple[str, ...] = ()) -> None:
        """Count up. A name that METRICS does not declare is a KeyError."""
        assert len(METRICS[name][1]) == len(labels)
        self._values[name, labels] = self._values.get((name, labels), 0.0) + amount

    def put(self, name: str, value: float) -> None:
        """Set a gauge."""
        assert METRICS[name][0] == "gauge"
        self._values[name, ()] = value

    def value(self, name: str, labels: tuple[str, ...] = ()) -> float:
        """The present value."""
        return self._values.get((name, labels), 0.0)

    def text(self) -> str:
        """Prometheus' text exposition format."""
        lines = []
        for name, (kind, label_names, meaning) in METRICS.items():
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
            found = sorted((labels, value) for (n, labels), value in self._values.items() if n == name)
            if not found and not label_names:
                found = [((), 0.0)]
            for labels, value in found:
                pairs = ",".join(f'{n}="{v}"' for n, v in zip(label_names, labels, strict=True))
                lines.append(f"{name}{{{pairs}}} {value:g}" if pairs else f"{name} {value:g}")
        return "\n".join(lines) + "\n"
