"""A simulated fleet beside an engine: what an operator and the scheduler would do for a real one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from dipper.engine import Engine
from dipper.errors import DipperError
from ingest.operators import CHANGES_SCOPE, change_to_json
from simulator.fleet import Fleet
from simulator.world import World

CHANGES_PATH = "/v1/changes"
ANNOUNCER = "simulated-operators"

Post = Callable[[str, Mapping[str, str], bytes], Awaitable[tuple[int, dict[str, str], bytes]]]


class FleetError(DipperError):
    """The simulated fleet could not be set up or its people were refused."""


def register(engine: Engine, world: World, now: int) -> str:
    """Load a world's boxes, customers and rules into the registry; returns the API token of its operators."""
    rows = world.registry_rows()
    keys = {device: key for device, key, _ in rows["devices"]}
    engine.registry.bulk_add_devices(((device, attributes) for device, _, attributes in rows["devices"]), now, keys)
    engine.registry.upsert_customers(rows["customers"])
    engine.registry.upsert_rules(rows["rules"])
    names = {token.name for token in engine.registry.api_tokens()}
    name = next(name for i in itertools.count(1) if (name := f"{ANNOUNCER}-{i}") not in names)
    return engine.registry.add_api_token(name, [CHANGES_SCOPE], now)


class Announcer:
    """Tells the gateway about changes and the registry about new rule versions, when the fleet's people make them."""

    def __init__(self, engine: Engine, fleet: Fleet, token: str, post: Post) -> None:
        self._engine = engine
        self._fleet = fleet
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._post = post

    async def announce(self, now: int) -> None:
        """What began since the last call. Raises FleetError when the gateway refuses it."""
        changes, rules = self._fleet.announcements(now)
        if rules:
            self._engine.registry.upsert_rules(rules)
        for change in changes:
            status, _, answer = await self._post(CHANGES_PATH, self._headers, change_to_json(change))
            if status != 200:
                detail: Any = json.loads(answer or b"{}").get("detail", "no answer")
                raise FleetError(f"change {change.id}: the gateway answered {status}: {detail}")
