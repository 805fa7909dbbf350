"""`dipper doctor`: checks the installation and says what to mend."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.kafka import KafkaSettings
from contracts.times import rfc3339
from dipper import settings
from dipper.command import add_data_arguments, print_json, process_of
from dipper.paths import Paths

PACKAGES = (
    "chdb", "clickhouse_driver", "cramjam", "crc32c", "faust", "kafka", "msgspec", "numpy", "plotly",
    "prometheus_client", "pyarrow", "starlette", "streamlit", "uvicorn", "uvloop", "yaml", "zstandard",
)  # fmt: skip
ANSWER_TIMEOUT_S = 10.0
MIN_FREE_BYTES = 2 << 30
MIN_MEMORY_BYTES = 1 << 30
STALE_S = 120.0
OPEN_FILES = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked. `remedy`: what to do when it is not `ok`."""

    check: str
    ok: bool
    found: str
    remedy: str = ""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="check the installation and say what to mend",
        description="Check the installation and, with DIPPER_KAFKA or DIPPER_STORE, the cluster it belongs to. "
        "Exit code 0: all well; 1: something needs mending.",
    )
    parser.add_argument(
        "--running",
        action="store_true",
        help="only whether a Dipper runs and keeps up: on the data, or with DIPPER_KAFKA on DIPPER_HOST:DIPPER_PORT",
    )
    add_data_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print every finding."""
    process = process_of(arguments)
    if arguments.running:
        findings = list(running(process.data) if process.kafka is None else ready(process.local))
    else:
        findings = [*installation(process), *cluster(process)]
    if arguments.json:
        print_json([{"check": f.check, "ok": f.ok, "found": f.found, "remedy": f.remedy} for f in findings])
    else:
        for f in findings:
            print(f"{'ok  ' if f.ok else 'MEND'}  {f.check:12} {f.found}")
            if not f.ok:
                print(f"      {'':12} {f.remedy}")
    return 0 if all(f.ok for f in findings) else 1


def installation(process: settings.ProcessSettings) -> Iterator[Finding]:
    """Checks of everything a process needs before it starts."""
    yield Finding("python", sys.version_info >= (3, 11), sys.version.split()[0], "install Python 3.11 or newer")
    for name in PACKAGES:
        yield _guarded(name, lambda n=name: _package(n), "run `make setup`")
    yield _guarded("engine", _engine, "reinstall chdb: `make setup` in a new folder")
    yield _guarded("policy", lambda: _policy(process), "correct the file that --policy or DIPPER_POLICY names")
    yield _data(process.data)
    yield _space(process.data)
    yield _memory()
    yield _files()


def running(data: Path) -> Iterator[Finding]:
    """Whether a process answers on the data directory, its workers live, and history keeps up."""
    from dipper import control

    try:
        status = control.ask(Paths(data).control, "status", {})
    except control.ControlError as error:
        yield Finding("running", False, str(error), f"start it: dipper up --data {data}")
        return
    yield Finding("running", True, status["address"])
    for worker in status["workers"]:
        detail = f"{worker['failures']} failures in a row: {worker['last_error']}" if worker["failures"] else "working"
        yield Finding(worker["name"], worker["alive"] and worker["failures"] < 5, detail, "see the process's log")
    lag_s = float(status["sink"]["lag_s"] or 0.0)
    yield Finding("history", lag_s < STALE_S, f"{lag_s:.0f} s behind the log", "see the process's log and its disk")


def ready(listener: settings.Listener) -> Iterator[Finding]:
    """Whether a process of a cluster answers on its health listener, and what it says of itself."""
    address = f"http://{listener.host}:{listener.port}/readyz"
    try:
        with urllib.request.urlopen(address, timeout=ANSWER_TIMEOUT_S) as answer:
            said = json.load(answer)
    except urllib.error.HTTPError as error:
        said = json.load(error)
    except (OSError, ValueError) as error:
        yield Finding("running", False, f"{address}: {error}", "start it, or set DIPPER_HOST and DIPPER_PORT")
        return
    reasons = said.get("reasons", [])
    found = f"{said.get('process', 'a process')} is {said.get('status')}"
    yield Finding("running", not reasons, "; ".join([found, *reasons]), "see the process's log")


def cluster(process: settings.ProcessSettings) -> Iterator[Finding]:
    """Checks of what the processes of a cluster share; none without one."""
    if process.kafka is not None:
        kafka = process.kafka
        brokers = _guarded(
            "brokers", lambda: _brokers(kafka), "start the brokers, or correct DIPPER_KAFKA and what goes with it"
        )
        yield brokers
        if brokers.ok:
            yield _topics(process)
            yield _guarded("registry", lambda: _registry(process), "see whether the topic `registry` can be read")
    if process.store is not None:
        url = process.store
        yield _guarded("store", lambda: _store(url), "start the server, or correct DIPPER_STORE")


def _brokers(kafka: KafkaSettings) -> str:
    from ingest.log.kafka import KafkaLog

    log = KafkaLog(kafka, client_id="dipper-doctor")
    log.close()
    return f"answer at {','.join(kafka.brokers)} ({kafka.security})"


def _topics(process: settings.ProcessSettings) -> Finding:
    from ingest.log.kafka_topics import TopicPlan, check

    try:
        plan = settings.settings_of(TopicPlan, settings.load_policy(process.policy)["topics"])
        findings = check(process.needs_kafka(), plan)
    except Exception as error:  # whatever fails here is the finding
        return Finding("topics", False, f"{type(error).__name__}: {error}", "dipper topics check")
    fatal = [f"{f.topic} {f.problem}" for f in findings if f.fatal]
    found = "; ".join(fatal) or f"as declared, {len(findings)} remarks (dipper topics check)"
    return Finding("topics", not fatal, found, "dipper topics apply")


def _registry(process: settings.ProcessSettings) -> str:
    from dipper.registries import opened_registry

    with opened_registry(process, "commands", wait=True) as registry:
        boxes, customers = len(registry.device_ids()), len(registry.customers())
        behind = registry.status()["behind"]
        return f"{boxes} boxes, {customers} customers; {behind or 0} entries not applied yet"


def _store(url: str) -> str:
    from history import open_store, queries

    store = open_store(url, read_only=True)
    try:
        version = store.query("SELECT version() AS v")["v"][0]
        newest = queries.freshness(store).newest_end
        return f"ClickHouse {version}; newest data {'none' if newest is None else rfc3339(newest)}"
    finally:
        store.close()


def _guarded(check: str, probe: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(check, True, probe())
    except Exception as error:  # whatever fails here is the finding
        return Finding(check, False, f"{type(error).__name__}: {error}", remedy)


def _package(name: str) -> str:
    module = importlib.import_module(name)
    return str(getattr(module, "__version__", "present"))


def _engine() -> str:
    from history.chdb_store import ChdbStore

    with tempfile.TemporaryDirectory() as folder, ChdbStore(folder, min_free_bytes=1) as store:
        return f"ClickHouse {store.query('SELECT version() AS v')['v'][0]}"


def _policy(process: settings.ProcessSettings) -> str:
    settings.load_policy(process.policy)
    return str(process.policy or "defaults")


def _data(data: Path) -> Finding:
    folder = data if data.exists() else data.absolute().parent
    writable = os.access(folder, os.W_OK)
    return Finding("data", writable, f"{data.absolute()}", f"make {folder} writable, or name another --data")


def _space(data: Path) -> Finding:
    folder = next(p for p in (data.absolute(), *data.absolute().parents) if p.exists())
    free = shutil.disk_usage(folder).free
    return Finding("disk", free >= MIN_FREE_BYTES, f"{free / 2**30:.1f} GiB free", "free at least 2 GiB")


def _memory() -> Finding:
    facts: dict[str, Any] = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(facts["MemAvailable"].split()[0]) * 1024
    text = f"{available / 2**30:.1f} GiB available"
    return Finding("memory", available >= MIN_MEMORY_BYTES, text, "free at least 1 GiB")


def _files() -> Finding:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = soft >= OPEN_FILES or soft == resource.RLIM_INFINITY
    return Finding("open files", enough, f"{soft} allowed (hard limit {hard})", f"ulimit -n {OPEN_FILES}")
