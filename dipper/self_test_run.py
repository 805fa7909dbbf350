"""`dipper up --self-test`: the self-test beside a running Dipper, in its process but through its doors."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from agent_exporter.agent import Agent
from agent_exporter.config import DeviceKey, LogSettings, Settings
from agent_exporter.errors import ConfigError, SendError
from agent_exporter.lines import Defaults
from agent_exporter.transport import Transport
from contracts.auth import KEY_BYTES
from contracts.entities import Change, SchedulingRule
from contracts.protocols import LogError, Record, StoreError
from contracts.self_test import AUTHOR, CUSTOMER, NOWHERE, start_notice, stop_notice
from contracts.times import DAY_MS, MINUTE_MS, SECOND_MS
from contracts.topics import CHANGES
from dipper.engine import Engine
from dipper.fleet import CHANGES_PATH
from dipper.parts import Base
from dipper.self_test import APP, DEVICE, SERVICE, Plan, SelfTestSettings, Traffic, attributes, customer
from dipper.settings import settings_of
from history.query_alert_quality import self_test_minutes
from ingest.operators import CHANGES_SCOPE, change_to_json

logger = logging.getLogger(__name__)

MARGIN_MINUTES = 10  # after the detectors' warm-up, before the first fault
SOON_MINUTES = 10  # until the first fault when the detectors know the customer
AGAIN_MS = 10 * SECOND_MS  # what could not be done is tried again
ANSWER_TIMEOUT_S = 10.0
STOP_S = 8.0


class SelfTest(Base):
    """A part of a process (`dipper.watch`), and the work itself (`run`)."""

    def __init__(self, engine: Engine, clock: Callable[[], int]) -> None:
        super().__init__("self-test")
        self._engine = engine
        self._clock = clock
        self._settings: SelfTestSettings = settings_of(SelfTestSettings, engine.policy["self_test"])
        self._folder: Path = engine.paths.root / "self-test"
        self._traffic = Traffic(self._folder / "tasks.log", self._settings, Random())
        self._agent: Agent | None = None
        self._thread: threading.Thread | None = None
        self._plan: Plan | None = None
        self._trouble = "it has not begun yet"
        self._token = ("", "")  # name, secret

    # --- what it says of itself ---

    def facts(self, now: int) -> Mapping[str, Any]:  # noqa: ARG002
        """How it is; `trouble` is empty when it runs."""
        plan, agent = self._plan, self._agent
        delivered = None if agent is None else agent.sender.stats.last_delivered_at
        return {
            "trouble": self._trouble,
            "fault": None if plan is None or plan.current is None else plan.current.id,
            "next_fault_at": None if plan is None else plan.due,
            "reports_waiting": None if agent is None else agent.spool.waiting(),
            "delivered_at": delivered,
        }

    def _say(self, trouble: str) -> None:
        """In the log, when it changes."""
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble:
                logger.error("self-test: cannot run: %s", trouble)
            else:
                logger.info("self-test: runs")

    # --- life ---

    async def run(self, address: str) -> None:
        """Make traffic and faults until cancelled. What goes wrong is said and tried again; it ends no process."""
        transport = Transport(address, "", ANSWER_TIMEOUT_S)
        try:
            while True:
                try:
                    if self._plan is None:
                        await asyncio.to_thread(self._begin, address, transport)
                    now = self._clock()
                    await asyncio.to_thread(self._second, now)
                    self._say("")
                    await asyncio.sleep((SECOND_MS - now % SECOND_MS) / SECOND_MS)
                except (ConfigError, LogError, OSError, SendError, StoreError, ValueError) as error:
                    self._say(str(error) or type(error).__name__)
                    await asyncio.sleep(AGAIN_MS / SECOND_MS)
        finally:
            await asyncio.shield(asyncio.to_thread(self._end))
            transport.close()

    def _begin(self, address: str, transport: Transport) -> None:
        now = self._clock()
        key = self._register(now)
        first = now + self._wait_minutes(now) * MINUTE_MS
        # Straight into the log: whoever waits for faults must know of it even if no door is open.
        self._record(start_notice(f"self-test-{now // SECOND_MS}-start", now, first))
        if self._agent is None:
            self._agent = self._make_agent(address, key)
            self._thread = threading.Thread(target=self._run_agent, args=(self._agent,), name="self-test", daemon=True)
            self._thread.start()
        plan = Plan(self._folder / "fault.json", self._settings, first, lambda change: self._post(transport, change))
        plan.settle()
        self._plan = plan

    def _second(self, now: int) -> None:
        assert self._plan is not None
        if self._thread is None or not self._thread.is_alive():
            raise OSError("its agent has ended")
        self._traffic.second(now, self._plan.look(now))

    def _end(self) -> None:
        """Nobody waits for the next fault; what is on is taken back."""
        try:
            if self._plan is not None:
                self._plan.settle()
                now = self._clock()
                self._record(stop_notice(f"self-test-{now // SECOND_MS}-stop", now))
        except (LogError, OSError, SendError) as error:
            logger.warning("self-test: its end could not be announced: %s", error)
        if self._agent is not None and self._thread is not None:
            self._agent.stop.set()
            self._thread.join(STOP_S)
        if self._token[0]:
            self._engine.registry.revoke_api_token(self._token[0], self._clock())

    # --- its box, its customer, its operator ---

    def _register(self, now: int) -> DeviceKey:
        registry = self._engine.registry
        registry.upsert_customers([customer()])
        registry.upsert_rules([SchedulingRule(NOWHERE, 1, "Self-test", AUTHOR, 0)])
        registry.bulk_add_devices([(DEVICE, attributes(0))], now, {DEVICE: secrets.token_bytes(KEY_BYTES)})
        newest = registry.keys(DEVICE)[-1]
        if not self._token[0]:
            known = {token.name for token in registry.api_tokens()}
            name = next(name for n in itertools.count(1) if (name := f"{AUTHOR}-{n}") not in known)
            self._token = (name, registry.add_api_token(name, [CHANGES_SCOPE], now))
        return DeviceKey(DEVICE, newest.key_id, newest.secret)

    def _wait_minutes(self, now: int) -> int:
        """Until the first fault: the detectors must know what is usual."""
        wanted = int(self._engine.policy["detector"]["warm_up_minutes"])
        measured = self_test_minutes(self._engine.store, now - DAY_MS)
        return SOON_MINUTES if measured >= wanted else wanted - measured + MARGIN_MINUTES

    def _make_agent(self, address: str, key: DeviceKey) -> Agent:
        log = LogSettings(self._traffic.path.absolute(), "tasks", Defaults(CUSTOMER, SERVICE, APP), "end")
        settings = Settings(
            server=address,
            key_file=self._folder / "no.key",  # it is given its key
            state_dir=self._folder / "agent",
            logs=(log,),
            model=NOWHERE,
            firmware=NOWHERE,
            cache_path=str(self._folder),
        )
        return Agent(settings, key, random=Random(), log=lambda message: logger.info("self-test: %s", message))

    def _run_agent(self, agent: Agent) -> None:
        try:
            agent.run()
        except Exception:
            logger.exception("self-test: its agent failed")

    # --- announcing ---

    def _post(self, transport: Transport, change: Change) -> None:
        headers = {"Authorization": f"Bearer {self._token[1]}", "Content-Type": "application/json"}
        answer = transport.post(CHANGES_PATH, change_to_json(change), lambda: headers)
        if answer.status != 200:
            detail = answer.body[:200].decode("utf-8", "replace")
            raise SendError(f"change {change.id}: the gateway answered {answer.status}: {detail}")

    def _record(self, change: Change) -> None:
        key = json.dumps(dict(change.scope), separators=(",", ":"), sort_keys=True).encode()
        self._engine.log.submit([Record(CHANGES.name, key, change_to_json(change), change.start)]).result()
