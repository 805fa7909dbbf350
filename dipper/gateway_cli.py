"""`dipper gateway`: the door for boxes, in front of Kafka. Any number of them."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import replace
from typing import Any

from dipper.clock import wall_clock
from dipper.cluster import add_process_parser, add_public_arguments, log_part, opened_log, opened_replica, settled
from dipper.parts import GatewayPart, RegistryPart, WatchSettings
from dipper.service import PUBLIC_DOORS, only_public
from dipper.settings import ProcessSettings, settings_of
from dipper.shell import Opening, Shell, beside, say
from dipper.watch import Watch
from ingest.bind import check_bind
from ingest.gateway import Gateway, GatewaySettings
from ingest.tuning import tune_gc, tune_malloc

EXAMPLES = """\
  DIPPER_KAFKA=k1:9092,k2:9092 dipper gateway --public 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem
  dipper gateway --kafka 127.0.0.1:9092 --port 8411      boxes of this machine only

Boxes may use any gateway and change between them. An answer of 2xx follows the brokers' acknowledgement; while Kafka
is slow or away boxes are told to come back, and keep their reports.
"""


def add_parser(subparsers: Any) -> None:
    """Register `gateway`."""
    parser = add_process_parser(
        subparsers, "gateway", "a cluster's door for boxes",
        "Take in reports, enrolments and changes over HTTP and append them to Kafka.", EXAMPLES, run,
    )  # fmt: skip
    add_public_arguments(parser, "boxes")


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal."""
    import uvloop

    process, policy, limits = settled(arguments)
    tune_gc()
    tune_malloc()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(opened_log(process, policy, "gateway"))
        registry = stack.enter_context(opened_replica(process, "gateway"))
        # Boxes may send a report again to another gateway: each learns what the others store.
        settings = replace(settings_of(GatewaySettings, policy["gateway"]), follow=True)
        gateway = Gateway(log, registry, settings, wall_clock)
        uvloop.run(GatewayShell(process, gateway, log, registry, limits).run(ready=announce))
    return 0


class GatewayShell(Shell):
    """A gateway on its listeners: boxes reach the doors that authenticate, this machine all of them and health."""

    def __init__(
        self, process: ProcessSettings, gateway: Gateway, log: Any, registry: Any, limits: WatchSettings
    ) -> None:
        if process.public is not None:
            check_bind(process.public.host, PUBLIC_DOORS)
        self._gateway = gateway
        parts = [GatewayPart(gateway), log_part(log, "gateway"), RegistryPart(registry.status, limits)]
        watch = Watch("gateway", parts, wall_clock, silent_after_ms=limits.silent_after_ms, extra=gateway.metrics_text)
        super().__init__(process, watch)

    def listeners(self) -> list[Opening]:
        """The local one, and the boxes' own when it is named."""
        openings = [Opening(beside(self.watch, self._gateway), self.settings.local, "DIPPER_PORT")]
        if self.settings.public is not None:
            openings.append(Opening(only_public(self._gateway), self.settings.public, "DIPPER_PUBLIC", tls=True))
        return openings

    async def begin(self) -> None:
        """Learn the newest reports from the log; until then boxes are told to come back."""
        await self._gateway.start()

    async def finish(self) -> None:
        """Append what is pending."""
        await self._gateway.stop()


def announce(shell: GatewayShell) -> None:
    """Say where everything is."""
    lines = [("health", f"{shell.address}/readyz"), ("gateway", f"{shell.address}/v1/telemetry")]
    public = shell.settings.public
    if public is not None:
        scheme = "https" if shell.settings.tls_cert else "http"
        lines.append(("boxes", f"{scheme}://{public.host}:{public.port}/v1/telemetry"))
    say(lines)
