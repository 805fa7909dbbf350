"""What runs beside the pipeline and must never hold it up: notifications, and settings that change while it runs."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable, Mapping
from typing import Any

from dipper.audit import AuditLog
from dipper.clock import wall_clock
from dipper.control import Handler
from dipper.customer_side import AUDIT_FILE
from dipper.demo_incidents import for_demo
from dipper.engine import Engine
from dipper.live_settings import LiveSettings
from dipper.notify_side import NotifyPart, NotifySide
from dipper.policy_check import Load
from dipper.settings import ProcessSettings, environment, load_policy
from dipper.worker import Worker

STDIN = 0


class Upkeep:
    """Of one process. `demo`: its policy is a demo's. Raises SettingsError for a notify.toml that is wrong."""

    def __init__(self, engine: Engine, process: ProcessSettings, *, demo: bool) -> None:
        audit = AuditLog(engine.paths.root / AUDIT_FILE, wall_clock)
        load: Load = (lambda path: for_demo(load_policy(path))) if demo else load_policy
        self.notify = NotifySide(engine.log, process, environment(), engine.clock, audit)
        self.live = LiveSettings(engine, process.policy, load, audit)
        self.part = NotifyPart(self.notify, engine.clock)
        self._clock = engine.clock
        self._listens = False

    def workers(self, chance: random.Random) -> list[Worker]:
        """Threads of their own."""
        return [
            Worker("notify", self.notify.step, self._clock, chance),
            Worker("settings", self.live.step, self._clock, chance),
        ]

    def status(self) -> dict[str, Any]:
        """What a status page shows, by subject."""
        return {"notify": self.notify.status(), "settings": self.live.status()}

    def answering(self, others: Handler) -> Handler:
        """A handler of commands that knows those about settings as well."""
        known: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
            "settings.show": lambda _: {"policy": self.live.policy(), "status": self.live.status()},
            "settings.reload": lambda arguments: self.live.reload(str(arguments["author"])),
        }

        def handle(command: str, arguments: Mapping[str, Any]) -> Any:
            return known[command](arguments) if command in known else others(command, arguments)

        return handle

    def begin(self) -> None:
        """In the loop: SIGHUP reloads settings. In a terminal it goes on to mean that the terminal was closed."""
        if not os.isatty(STDIN):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.live.ask)
            self._listens = True

    def end(self) -> None:
        """In the loop: SIGHUP means again what it did."""
        if self._listens:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
            self._listens = False

    def close(self) -> None:
        """When the threads have ended."""
        self.notify.close()
