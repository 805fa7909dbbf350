"""A simulated fleet beside a deployment: what an operator and the scheduler would do for a real one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from contracts.entities import Change
from dipper.errors import DipperError
from ingest.operators import CHANGES_SCOPE, change_to_json
from simulator.fleet import Fleet
from simulator.world import World

CHANGES_PATH = "/v1/changes"
ANNOUNCER = "simulated-operators"
ILL_BOXES_PER_HOUR = 3.0  # of a demo: single boxes, for the scheduler to keep clear of

Post = Callable[[str, Mapping[str, str], bytes], Awaitable[tuple[int, dict[str, str], bytes]]]


class FleetError(DipperError):
    """The simulated fleet could not be set up or its people were refused."""


def register(registry: Any, world: World, now: int) -> str:
    """Load a world's boxes, customers and rules into a registry; returns the API token of its operators."""
    rows = world.registry_rows()
    keys = {device: key for device, key, _ in rows["devices"]}
    registry.bulk_add_devices(((device, attributes) for device, _, attributes in rows["devices"]), now, keys)
    registry.upsert_customers(rows["customers"])
    registry.upsert_rules(rows["rules"])
    names = {token.name for token in registry.api_tokens()}
    name = next(name for i in itertools.count(1) if (name := f"{ANNOUNCER}-{i}") not in names)
    token: str = registry.add_api_token(name, [CHANGES_SCOPE], now)
    return token


class Announcer:
    """Tells the gateway about changes and the registry about new rule versions, when the fleet's people make them.
    `waiting`: changes that no gateway has taken yet; they are told again."""

    def __init__(self, registry: Any, fleet: Fleet, token: str, post: Post) -> None:
        self.waiting: list[Change] = []
        self._registry = registry
        self._fleet = fleet
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._post = post

    async def announce(self, now: int) -> None:
        """What began since the last call. Raises FleetError when the gateway refuses it."""
        changes, rules = self._fleet.announcements(now)
        if rules:
            self._registry.upsert_rules(rules)
        await self._tell([*self.waiting, *changes])

    async def _tell(self, changes: list[Change]) -> None:
        self.waiting = []
        for change in changes:
            status, _, answer = await self._post(CHANGES_PATH, self._headers, change_to_json(change))
            if status in (0, 401, 429) or status >= 500:  # 401: the gateway has not heard of the new token yet
                self.waiting.append(change)
            elif status != 200:
                detail: Any = json.loads(answer or b"{}").get("detail", "no answer")
                raise FleetError(f"change {change.id}: the gateway answered {status}: {detail}")
