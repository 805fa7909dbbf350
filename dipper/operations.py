"""What commands do to an open engine: in the process that runs it (control socket), or opened for the moment."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from contracts.columns import FAILURE_NAMES
from contracts.errors import ContractError
from contracts.histogram import COMPUTE_SERVICE, latency_base_ms, merge, quantile
from contracts.times import DAY_MS
from dipper import control
from dipper.clock import wall_clock
from dipper.engine import Engine, Policy, open_engine
from dipper.paths import OwnerLock, Paths
from history import queries
from history.ledger import ledger
from ingest.rejected import replay

Arguments = Mapping[str, Any]
QUANTILES = {"latency_p50_ms": 0.50, "latency_p95_ms": 0.95, "latency_p99_ms": 0.99}


class Operations:
    """Commands by name; arguments and results are JSON values. Called from worker threads, one command at a time
    or several: each only reads, or goes through a part that is made for many threads."""

    def __init__(self, engine: Engine, status: Callable[[], Mapping[str, Any]] | None = None) -> None:
        self._engine = engine
        self._status = status or dict
        self._commands: dict[str, Callable[[Arguments], Any]] = {
            "status": lambda _: self._status(),
            "ledger": self._ledger,
            "quality": self._quality,
            "rejected.list": self._rejected_list,
            "rejected.show": self._rejected_show,
            "rejected.replay": self._rejected_replay,
            "history.backup": self._backup,
            "history.expire": lambda _: self._engine.expire(self._engine.clock()),
        }

    def __call__(self, command: str, arguments: Arguments) -> Any:
        """Run a command. Raises ContractError for an unknown one or bad arguments."""
        if command not in self._commands:
            raise ContractError("bad_command", "command", f"one of {sorted(self._commands)}", command)
        return self._commands[command](arguments)

    def _span(self, arguments: Arguments) -> tuple[int, int]:
        now = self._engine.clock()
        start, end = arguments.get("start"), arguments.get("end")
        start = now - DAY_MS if start is None else int(start)
        end = now + DAY_MS if end is None else int(end)
        if start >= end:
            raise ContractError("bad_span", "start", f"a time before end ({end})", start)
        return start - start % 60_000, end

    def _ledger(self, _: Arguments) -> Any:
        return ledger(self._engine.store, self._engine.clock()).to_json()

    def _quality(self, arguments: Arguments) -> Any:
        start, end = self._span(arguments)
        store = self._engine.store
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

    def _rejected_list(self, arguments: Arguments) -> Any:
        start, end = self._span(arguments)
        rows = queries.rejected(self._engine.store, start, end, int(arguments.get("limit", 200)))
        return [_plain(row) for row in rows]

    def _rejected_show(self, arguments: Arguments) -> Any:
        return _plain(self._refusal(arguments["id"]))

    def _refusal(self, refusal_id: str) -> Any:
        found = queries.rejected_one(self._engine.store, refusal_id)
        if found is None:
            raise ContractError("bad_id", "id", "the id of a refusal (dipper rejected list)", refusal_id)
        return found

    def _rejected_replay(self, arguments: Arguments) -> Any:
        records = [dataclasses.asdict(self._refusal(refusal_id)) for refusal_id in arguments["ids"]]
        outcomes = replay(self._engine.log, self._engine.gateway.pipeline, records, self._engine.gateway.now())
        return [_plain(outcome) for outcome in outcomes]

    def _backup(self, arguments: Arguments) -> Any:
        return {"backup": str(self._engine.backup(Path(arguments["destination"])))}


def _plain(value: Any) -> dict[str, Any]:
    """A dataclass as JSON values; bytes in base64."""
    document = dataclasses.asdict(value)
    return {k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in document.items()}


def run(data: Path, policy: Policy, command: str, arguments: Arguments) -> Any:
    """Run a command on a data directory: in the process that owns it, or here when nobody does. What the log holds is
    worked off first, so that the answer covers everything that was ever accepted."""
    paths = Paths(data)
    if not any(path.exists() for path in (paths.registry, paths.log, paths.history)):
        raise control.ControlError(f"{data}: no Dipper data here; `dipper up --data {data}` starts one")
    try:
        return control.ask(paths.control, command, arguments)
    except control.NotRunning:
        pass
    with OwnerLock(paths):
        engine = open_engine(paths, policy, wall_clock, manual=True, live=False)
        try:
            engine.drain(wall_clock())
            result = Operations(engine)(command, arguments)
            engine.drain(wall_clock())
            return result
        finally:
            engine.close()
