"""`python -m benchmarks [NAME..]`: run benchmarks one after the other, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# Each takes minutes. `detect` takes hours and `streams` needs the peers: `make bench-detect`, `make bench-streams`.
ORDER = {
    "kernel": ("benchmarks.kernel",),
    "quality_operator": ("benchmarks.quality_operator",),
    "history": ("benchmarks.history",),
    "explore": ("benchmarks.explore",),
    "gateway": ("benchmarks.gateway",),
    "gateway-kafka": ("benchmarks.gateway", "--kafka"),
    "agent": ("benchmarks.agent",),
    "simulate": ("benchmarks.simulate",),
    "health": ("benchmarks.health",),
    "loop": ("benchmarks.loop",),
    "sink": ("benchmarks.sink",),
    "chain": ("benchmarks.chain",),
    "soak": ("benchmarks.soak",),
    "localise": ("benchmarks.localise",),
}


def main(names: list[str]) -> int:
    """Run the named benchmarks, all without a name; 1 when one failed, after the others ran."""
    unknown = sorted(set(names) - set(ORDER))
    if unknown:
        print(f"benchmarks: expected some of {', '.join(ORDER)}, got {unknown[0]}", file=sys.stderr)
        return 2
    failed = []
    for name in names or ORDER:
        print(f"== {name}", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, "-m", *ORDER[name]], cwd=Path(__file__).parent.parent, check=False)
        if done.returncode:
            failed.append(name)
    if failed:
        print(f"benchmarks: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


raise SystemExit(main(sys.argv[1:]))
