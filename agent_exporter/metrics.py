"""The agent's own figures for a local scraper: OpenMetrics text, on loopback only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family: `kind` is gauge or counter; `samples`: value per label value (`""` without a label)."""

    name: str
    kind: str
    meaning: str
    samples: dict[str, float] = field(default_factory=dict)
    label: str = ""


def render(metrics: list[Metric]) -> str:
    """OpenMetrics 1.0 text."""
    lines = []
    for metric in metrics:
        lines += [f"# TYPE {metric.name} {metric.kind}", f"# HELP {metric.name} {metric.meaning}"]
        suffix = "_total" if metric.kind == "counter" else ""
        for value_of_label, value in metric.samples.items():
            labels = f'{{{metric.label}="{_escaped(value_of_label)}"}}' if metric.label else ""
            lines.append(
                f"{metric.name}{suffix}{labels} {value:g}"
                if value % 1
                else f"{metric.name}{suffix}{labels} {value:.0f}"
            )
    return "\n".join([*lines, "# EOF", ""])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class MetricsServer:
    """Serves `/metrics` on 127.0.0.1 in a thread until closed. Raises OSError when the port is taken."""

    def __init__(self, port: int, read: Callable[[], list[Metric]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                found = self.path.partition("?")[0] == "/metrics"
                body = render(read()).encode() if found else b"only /metrics is here\n"
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", CONTENT_TYPE if found else "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Scrapes are not worth a line each."""

        self._server = HTTPServer(("127.0.0.1", port), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
