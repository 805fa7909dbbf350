"""The scheduler of the live demo: the feed's own client over HTTP, with a token of its own, steers who serves whom."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from feed.app import SCOPE
from feed.client import HealthClient
from simulator.fleet import Fleet
from simulator.scheduler import Assignment, Scheduler

NAME = "simulated-scheduler"
MOST_LOGGED_BYTES = 16 * 1024 * 1024


def give_token(registry: Any, now: int) -> str:
    """A token for the feed."""
    token: str = registry.add_api_token(NAME, [SCOPE], now)
    return token


class LiveScheduler:
    """Follows a feed and steers a fleet by it. `clock`: ms UTC, as the feed's. `log`: where assignments of steered
    boxes are kept, with the probability of each; an older part of them in a second file."""

    def __init__(self, fleet: Fleet, address: str, token: str, clock: Callable[[], int], log: Path) -> None:
        self.client = HealthClient(address, token, clock=clock)
        self._devices = [device.id for device in fleet.world.devices]
        self._scheduler = fleet.scheduler = Scheduler(fleet.rows, self._devices)
        self._log = log

    def start(self) -> None:
        """Begin to follow."""
        self.client.start()

    async def stop(self) -> None:
        """Leave the feed; placement stays as it is."""
        await asyncio.to_thread(self.client.stop)

    async def follow(self) -> None:
        """Take what the feed says for the next interval."""
        share = self.client.copy.share
        self._scheduler.share = np.array([share(device, 1.0) for device in self._devices])
        noted, self._scheduler.log = self._scheduler.log, []
        if noted:
            await asyncio.to_thread(self._write, noted)

    def _write(self, assignments: Iterable[Assignment]) -> None:
        lines = [json.dumps(dataclasses.asdict(a), separators=(",", ":")) + "\n" for a in assignments]
        if self._log.exists() and self._log.stat().st_size > MOST_LOGGED_BYTES:
            self._log.replace(self._log.with_suffix(".old"))
        with self._log.open("a", encoding="utf-8") as file:
            file.writelines(lines)
