"""What commands ask of a deployment: in the process that runs it (control socket), opened for the moment, or straight
from the store and the log of a cluster."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.columns import FAILURE_NAMES
from contracts.entities import Objective
from contracts.errors import ContractError
from contracts.histogram import COMPUTE_SERVICE, latency_base_ms, merge, quantile
from contracts.protocols import Log, Store
from contracts.times import DAY_MS
from dipper import control, incident_operations, replay_operations, report_operations
from dipper.clock import wall_clock
from dipper.demo_incidents import for_demo
from dipper.engine import Engine, Policy, objectives_of, open_engine
from dipper.errors import DipperError
from dipper.paths import DEMO_MARKER, OwnerLock, Paths
from dipper.settings import ProcessSettings, settings_of
from history import queries
from history.imported import SCHEMA, store_imported
from history.ledger import ledger
from history.maintenance import Retention, expire
from ingest.pipeline import Pipeline
from ingest.rejected import replay

Arguments = Mapping[str, Any]
# Commands that change history; the others ask.
WRITING = frozenset({"history.expire", "history.import"}) | report_operations.WRITING
QUANTILES = {"latency_p50_ms": 0.50, "latency_p95_ms": 0.95, "latency_p99_ms": 0.99}


class NotHere(DipperError):
    """This deployment has no such part; the message says what to do instead."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What operations work on. `intake`: opens the log and the pipeline that judges reports, for replays; `expire`:
    retention as of a time; `backup`: copies history into a new folder; `name_of`: a customer's name for people;
    `complete_through`: until when history holds all that was received; `policy`: with which it runs now; `objectives`:
    what customers are promised now."""

    store: Store
    clock: Callable[[], int]
    intake: Callable[[], contextlib.AbstractContextManager[tuple[Log, Pipeline]]]
    expire: Callable[[int], dict[str, int]]
    backup: Callable[[Path], Path]
    complete_through: Callable[[], int]
    name_of: Callable[[str], str] = str
    policy: Callable[[], Policy] = dict
    objectives: Callable[[], Sequence[Objective]] = tuple

    @staticmethod
    def of_engine(engine: Engine) -> Parts:
        """Those of an engine in this process."""
        gateway = engine.gateway
        return Parts(
            engine.store,
            engine.clock,
            lambda: contextlib.nullcontext((engine.log, gateway.pipeline)),
            engine.expire,
            engine.backup,
            lambda: report_operations.complete_through(engine.sink.status(engine.clock())),
            lambda customer: getattr(engine.registry.customer(customer), "name", customer),
            lambda: engine.policy,
            lambda: objectives_of(engine.registry),
        )


class Operations:
    """Commands by name; arguments and results are JSON values. Called from worker threads, one command at a time
    or several: each only reads, or goes through a part that is made for many threads."""

    def __init__(self, parts: Parts, status: Callable[[], Mapping[str, Any]] | None = None) -> None:
        self._parts = parts
        self._status = status or dict
        self._commands: dict[str, Callable[[Arguments], Any]] = {
            "status": lambda _: self._status(),
            "ledger": self._ledger,
            "quality": self._quality,
            "changes": self._changes,
            **incident_operations.commands(parts.store, parts.clock, parts.intake),
            **replay_operations.commands(parts.store, parts.policy, parts.objectives),
            "rejected.list": self._rejected_list,
            "rejected.show": self._rejected_show,
            "rejected.replay": self._rejected_replay,
            "history.backup": self._backup,
            "history.import": self._import,
            "history.expire": lambda _: self._parts.expire(self._parts.clock()),
            **report_operations.ReportOperations(
                parts.store, parts.clock, parts.name_of, parts.complete_through
            ).commands(),
        }

    def __call__(self, command: str, arguments: Arguments) -> Any:
        """Run a command. Raises ContractError for an unknown one or bad arguments."""
        if command not in self._commands:
            raise ContractError("bad_command", "command", f"one of {sorted(self._commands)}", command)
        return self._commands[command](arguments)

    def _span(self, arguments: Arguments) -> tuple[int, int]:
        now = self._parts.clock()
        start, end = arguments.get("start"), arguments.get("end")
        start = now - DAY_MS if start is None else int(start)
        end = now + DAY_MS if end is None else int(end)
        if start >= end:
            raise ContractError("bad_span", "start", f"a time before end ({end})", start)
        return start - start % 60_000, end

    def _ledger(self, _: Arguments) -> Any:
        return ledger(self._parts.store, self._parts.clock()).to_json()

    def _quality(self, arguments: Arguments) -> Any:
        start, end = self._span(arguments)
        store = self._parts.store
        served = queries.services_by_customer(store, start, end)
        histograms = queries.latency_cells(store, start, end)
        customers = []
        for name, counts in queries.customer_totals(store, start, end).items():
            services = served.get(name, ())
            cells = merge([histograms.get((name, s), {}) for s in services if s != COMPUTE_SERVICE])
            latency = {key: quantile(cells, q, latency_base_ms("")) for key, q in QUANTILES.items()}
            customers.append(
                {
                    "customer": name,
                    **counts,
                    "failures": sum(counts[f] for f in FAILURE_NAMES),
                    "services": list(services),
                    **{key: None if value is None else value.value for key, value in latency.items()},
                }
            )
        return {"start": start, "end": end, "customers": customers}

    def _changes(self, arguments: Arguments) -> Any:
        start, end = self._span(arguments)
        found = queries.changes(self._parts.store, start, end)
        return [{**dataclasses.asdict(change), "scope": dict(change.scope)} for change in found]

    def _rejected_list(self, arguments: Arguments) -> Any:
        start, end = self._span(arguments)
        rows = queries.rejected(self._parts.store, start, end, int(arguments.get("limit", 200)))
        return [_plain(row) for row in rows]

    def _rejected_show(self, arguments: Arguments) -> Any:
        return _plain(self._refusal(arguments["id"]))

    def _refusal(self, refusal_id: str) -> Any:
        found = queries.rejected_one(self._parts.store, refusal_id)
        if found is None:
            raise ContractError("bad_id", "id", "the id of a refusal (dipper rejected list)", refusal_id)
        return found

    def _rejected_replay(self, arguments: Arguments) -> Any:
        records = [dataclasses.asdict(self._refusal(refusal_id)) for refusal_id in arguments["ids"]]
        with self._parts.intake() as (log, pipeline):
            outcomes = replay(log, pipeline, records, self._parts.clock())
        return [_plain(outcome) for outcome in outcomes]

    def _backup(self, arguments: Arguments) -> Any:
        return {"backup": str(self._parts.backup(Path(arguments["destination"])))}

    def _import(self, arguments: Arguments) -> Any:
        rows = replay_operations.unpacked(arguments["rows"])
        if rows.schema != SCHEMA:
            raise ContractError("malformed", "rows", f"columns {SCHEMA.names}", rows.schema.names)
        source, version = str(arguments["source"]), int(arguments["version"])
        return {"rows": store_imported(self._parts.store, rows, source, version)}


def _plain(value: Any) -> dict[str, Any]:
    """A dataclass as JSON values; bytes in base64."""
    document = dataclasses.asdict(value)
    return {k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in document.items()}


def run(process: ProcessSettings, policy: Policy, command: str, arguments: Arguments) -> Any:
    """Run a command on the deployment that the settings name: a cluster's store when there is one, else a data
    directory."""
    with opened(process, policy, read_only=command not in WRITING) as ask:
        return ask(command, arguments)


@contextlib.contextmanager
def opened(process: ProcessSettings, policy: Policy, *, read_only: bool = True) -> Iterator[Callable[..., Any]]:
    """The same for several commands: `ask(command, arguments)`."""
    if process.store is not None:
        with _cluster(process, policy, read_only=read_only) as parts:
            yield Operations(parts)
    else:
        with _embedded(process.data, policy) as ask:
            yield ask


@contextlib.contextmanager
def _embedded(data: Path, policy: Policy) -> Iterator[Callable[..., Any]]:
    """In the process that owns the directory, or here when nobody does."""
    paths = Paths(data)
    if not any(path.exists() for path in (paths.registry, paths.log, paths.history)):
        raise control.ControlError(f"{data}: no Dipper data here; `dipper up --data {data}` starts one")
    with contextlib.ExitStack() as stack:
        here: Operations | None = None

        def ask(command: str, arguments: Arguments) -> Any:
            nonlocal here
            if here is None:
                try:
                    return control.ask(paths.control, command, arguments)
                except control.NotRunning:
                    here = stack.enter_context(_here(paths, policy))
            return here(command, arguments)

        yield ask


@contextlib.contextmanager
def _here(paths: Paths, policy: Policy) -> Iterator[Operations]:
    """The engine in this process. What the log holds is worked off first, so that the answer covers everything that
    was ever accepted."""
    with OwnerLock(paths):
        own = for_demo(policy) if (paths.root / DEMO_MARKER).exists() else policy
        engine = open_engine(paths, own, wall_clock, manual=True, live=False)
        try:
            engine.drain(wall_clock())
            yield Operations(Parts.of_engine(engine))
            engine.drain(wall_clock())
        finally:
            engine.close()


@contextlib.contextmanager
def _cluster(process: ProcessSettings, policy: Policy, *, read_only: bool) -> Iterator[Parts]:
    """A cluster's store; log and registry are opened only by what needs them."""
    from history import open_store

    store = open_store(process.needs_store(), read_only=read_only)

    def refuse_backup(_: Path) -> Path:
        raise NotHere("history backup: history is on ClickHouse here; use its own BACKUP, docs/operations.md says how")

    try:
        yield Parts(
            store,
            wall_clock,
            lambda: _cluster_intake(process, policy),
            lambda now: expire(store, now, settings_of(Retention, policy["retention"])),
            refuse_backup,
            lambda: 0,  # rows do not tell whether the log holds older ones: only the sink knows, and it seals
            policy=lambda: policy,
            objectives=lambda: _cluster_objectives(process),
        )
    finally:
        store.close()


def _cluster_objectives(process: ProcessSettings) -> list[Objective]:
    from dipper.registries import opened_registry

    process.needs_kafka()
    with opened_registry(process, "commands", wait=True) as registry:
        return objectives_of(registry)


@contextlib.contextmanager
def _cluster_intake(process: ProcessSettings, policy: Policy) -> Iterator[tuple[Log, Pipeline]]:
    from dipper.registries import opened_registry
    from ingest.known import KnownReports
    from ingest.log.kafka import KafkaLog
    from ingest.settings import GatewaySettings

    log = KafkaLog(process.needs_kafka(), client_id="dipper-commands")
    try:
        with opened_registry(process, "commands", wait=True) as registry:
            limits = settings_of(GatewaySettings, policy["gateway"])
            yield log, Pipeline(registry, log, KnownReports(limits.max_boots, limits.digests_per_boot))
    finally:
        log.close()
