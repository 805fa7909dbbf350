"""How much faster than real time `dipper demo --once` runs: the whole pipeline, simulator included, in one process."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import write_result

GOAL_TIMES_REAL = 10.0


def main() -> int:
    """Run and write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate", description=__doc__)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    root = Path(__file__).parent.parent
    with tempfile.TemporaryDirectory(dir=root) as out:
        command = [sys.executable, "-m", "dipper", "demo", "--once", "--no-loop", "--out", out]
        for name in ("devices", "minutes", "seed"):
            command += [f"--{name}", str(getattr(arguments, name))]
        began = time.perf_counter()
        subprocess.run(command, check=True, cwd=root, stdout=subprocess.DEVNULL)
        took_s = time.perf_counter() - began
        books = json.loads((Path(out) / "ledger.json").read_text())
    slices = books["slices"]["stored"]
    reports = arguments.devices * arguments.minutes * 6
    figures = {
        "devices": arguments.devices,
        "simulated_minutes": arguments.minutes,
        "seed": arguments.seed,
        "wall_s": round(took_s, 1),
        "times_real": round(arguments.minutes * 60 / took_s, 2),
        "goal_times_real": GOAL_TIMES_REAL,
        "slices_per_report": round(slices / reports, 2),
        "slices_per_s": round(slices / took_s),
        "matches_truth": books["matches_truth"],
    }
    write_result("simulate", figures, ("chdb", "msgspec", "numpy", "pyarrow"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
