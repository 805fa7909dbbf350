"""What every benchmark shares: the machine and the versions it ran on, and where its result goes."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """CPU model, cores in reach, memory, kernel, Python."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            cpu = line.partition(":")[2].strip()
            break
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kb / 2**20, 1),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
    }


def write_result(name: str, figures: dict[str, Any], packages: Iterable[str]) -> Path:
    """Write `results/NAME.json` with figures, machine and package versions, print it, return its path."""
    result = {
        "benchmark": name,
        "figures": figures,
        "machine": machine(),
        "versions": {p: version(p) for p in packages},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    text = json.dumps(result, indent=2, sort_keys=True)
    path.write_text(text + "\n")
    print(text)
    return path
