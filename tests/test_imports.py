"""Who may import whom: every import of every module is held against one table, type-checking and deferred ones too."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# package -> the packages of ours it may import
ARROWS: dict[str, set[str]] = {
    "contracts": set(),
    "agent_exporter": {"contracts"},
    "anomaly": set(),
    "ingest": {"contracts"},
    "streams": {"contracts", "anomaly"},
    "history": {"contracts"},
    "feed": {"contracts", "history"},
    "simulator": {"contracts"},
    "dashboards": {"contracts", "history"},
}
ARROWS["dipper"] = {*ARROWS}

# package -> third-party modules it may import; a box installs contracts and agent_exporter and nothing else
THIRD_PARTY: dict[str, set[str]] = {
    "contracts": set(),
    "agent_exporter": set(),
    "anomaly": {"numpy"},
    "ingest": {"crc32c", "kafka", "msgspec", "numpy", "pyarrow", "starlette", "uvicorn"},
    "streams": {"numpy", "pyarrow"},
    "history": {"chdb", "clickhouse_driver", "numpy", "pyarrow"},
    "feed": {"pyarrow"},
    "simulator": {"numpy"},
    "dashboards": {"fpdf", "numpy", "plotly", "starlette", "streamlit"},
}
# module -> what it may import beside; its package imports such a module only where a setting asks for it
OPTIONAL: dict[str, set[str]] = {
    "agent_exporter.kafka": {"kafka"},
    "streams.faust_app": {"aiokafka", "faust"},
}
THIRD_PARTY["dipper"] = set.union({"kafka", "prometheus_client", "uvloop", "yaml"}, *THIRD_PARTY.values())

# anomaly/ has no input, no output, no clock and no random state of its own
IMPURE = {
    "asyncio", "datetime", "http", "io", "multiprocessing", "os", "pathlib", "random", "secrets", "shutil", "socket",
    "sqlite3", "subprocess", "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip
NOT_PACKAGES = {"benchmarks", "tests", "tools"}  # they may import everything; no package imports them


def imports_of(source: str, module: str, *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import in a module's source, relative ones resolved, wherever they stand.

    A dynamic import counts with its literal name; one whose name is computed is reported as `?`.
    """
    parents = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = parents[: len(parents) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((node.lineno, ".".join([*base, name])) for name in names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or "?"
        elif isinstance(node, ast.Call) and _called(node) in {"__import__", "import_module", "find_spec"}:
            first = node.args[0] if node.args else None
            literal = isinstance(first, ast.Constant) and isinstance(first.value, str)
            yield node.lineno, first.value if literal else "?"


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What a module imports against the tables, as sentences."""
    package = module.split(".", maxsplit=1)[0]
    found = []
    for line, name in imports_of(source, module, is_package=is_package):
        top = name.split(".")[0]
        if top == package:
            continue
        if name == "?":
            wrong = "" if package == "dipper" else "imports a name that is computed"
        elif top in ARROWS or top in NOT_PACKAGES:
            wrong = "" if top in ARROWS[package] else f"may not import {top}"
        elif top in sys.stdlib_module_names:
            wrong = f"is pure and may not import {top}" if package == "anomaly" and top in IMPURE else ""
        else:
            allowed = THIRD_PARTY[package] | OPTIONAL.get(module, set())
            wrong = "" if top in allowed else f"may not use third-party {top}"
        if wrong:
            found.append(f"{module}, line {line}: {package} {wrong} ({name})")
    return found


def packages() -> list[Path]:
    return sorted(p.parent for p in ROOT.glob("*/__init__.py") if p.parent.name not in NOT_PACKAGES)


def modules(package: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def test_the_tables_name_every_package_and_no_other() -> None:
    assert {p.name for p in packages()} == set(ARROWS) == set(THIRD_PARTY)


@pytest.mark.parametrize("package", packages(), ids=lambda p: p.name)
def test_every_import_follows_an_arrow_of_the_table(package: Path) -> None:
    found, count = [], 0
    for module, path in modules(package):
        count += 1
        found += violations(path.read_text(), module, is_package=path.name == "__init__.py")
    assert count > 0
    assert found == []


def test_the_arrows_have_no_cycle() -> None:
    left = {name: set(targets) for name, targets in ARROWS.items()}
    while left:
        leaves = {name for name, targets in left.items() if not targets & left.keys()}
        assert leaves, f"a cycle among {sorted(left)}"
        left = {name: targets for name, targets in left.items() if name not in leaves}


def test_nobody_imports_dipper() -> None:
    assert not any("dipper" in targets for name, targets in ARROWS.items() if name != "dipper")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("contracts.x", "import numpy"),
        ("contracts.x", "import numpy.linalg as la"),
        ("contracts.x", "from pyarrow import compute"),
        ("contracts.x", "import ingest"),
        ("agent_exporter.x", "import requests"),
        ("agent_exporter.x", "from ingest.registry import SqliteRegistry"),
        ("agent_exporter.deep.x", "from ...ingest import registry"),
        ("anomaly.x", "import scipy"),
        ("anomaly.x", "from contracts.columns import COUNTS"),
        ("anomaly.x", "import time"),
        ("anomaly.x", "from pathlib import Path"),
        ("ingest.x", "from history.store import Store"),
        ("ingest.x", "import chdb"),
        ("streams.x", "import polars"),
        ("history.x", "import streams.quality"),
        ("feed.x", "import numpy"),
        ("simulator.x", "from ingest import gateway"),
        ("dashboards.x", "import streams"),
        ("dashboards.x", "import pandas"),
        ("history.x", "import dipper.settings"),
        ("history.x", "import tests.contracts.strategies"),
        ("dipper.x", "import pandas"),
        # wherever it stands
        ("contracts.x", "def f():\n    import numpy"),
        ("contracts.x", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from history import store"),
        ("contracts.x", "try:\n    import orjson\nexcept ImportError:\n    orjson = None"),
        ("contracts.x", "class A:\n    import numpy"),
        ("contracts.x", "import json, os, numpy"),
        ("contracts.x", "from importlib import import_module\nimport_module('numpy')"),
        ("contracts.x", "import importlib\nimportlib.import_module(name)"),
        ("contracts.x", "__import__('numpy')"),
        ("contracts.x", "import importlib.util\nimportlib.util.find_spec('numpy')"),
    ],
)
def test_the_gate_rejects(module: str, source: str) -> None:
    found = violations(source, module)
    assert len(found) == 1
    assert module in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("contracts.x", "from __future__ import annotations\nimport json, hmac\nfrom contracts.errors import E"),
        ("contracts.x", "from . import errors\nfrom .errors import E"),
        ("agent_exporter.deep.x", "from .. import spool\nfrom ..spool import Spool\nfrom contracts import report"),
        ("anomaly.x", "import math\nimport numpy as np"),
        ("streams.x", "from anomaly.localise import localise\nimport pyarrow as pa"),
        ("feed.x", "from history.queries import q"),
        ("dashboards.x", "import streamlit as st\nfrom history import queries"),
        ("dipper.x", "import importlib\nimportlib.import_module(name)\nimport ingest, streams, history, dashboards"),
    ],
)
def test_the_gate_lets_through(module: str, source: str) -> None:
    assert violations(source, module) == []


def test_relative_imports_are_resolved_from_packages_and_modules() -> None:
    assert list(imports_of("from . import b", "p.a")) == [(1, "p.b")]
    assert list(imports_of("from . import b", "p.a", is_package=True)) == [(1, "p.a.b")]
    assert list(imports_of("from ..c import d", "p.a.x")) == [(1, "p.c")]
    assert list(imports_of("from ...ingest import d", "p.a.x")) == [(1, "ingest")]
