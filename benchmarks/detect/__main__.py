"""`python -m benchmarks.detect --seeds 20`: faults found, time to detect, false incidents, causes, beside other rules.

Writes results/detect.json and prints the tables of README.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from benchmarks.common import write_result
from benchmarks.detect.cause import Named, named
from benchmarks.detect.compare import Peers
from benchmarks.detect.detectors import Bools, ours, static, workbook
from benchmarks.detect.report import GOALS, cause_figures, figures_of, line, tables
from benchmarks.detect.score import Found, Outcome, outcome
from benchmarks.detect.streams import Plan, Stream, stream

TUNING_SEEDS = 1000
"""Settings were chosen on streams with seeds above this; figures belong to seeds up to it."""
BATCH = 10
"""Streams that are worked through together; they take 60 MB each."""
QUICK = Plan(warm_up_days=8, days=2, quick=8, slight=8, any=4)
OURS = "dipper"
SIMPLE: dict[str, Callable[[Stream], Bools]] = {
    "sre_workbook": workbook,
    "static_1x_objective": lambda s: static(s, 1.0),
    "static_2x_objective": lambda s: static(s, 2.0),
}
PEERS = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 2 when the peers' environment is asked for and cannot be used."""
    args = _arguments(argv)
    plan = QUICK if args.quick else Plan()
    seeds = range(args.seed, args.seed + args.seeds)
    peers = Peers(args.peers) if args.peers.exists() else None
    missing = peers.missing() if peers else [str(args.peers)]
    if missing:
        print(f"benchmarks.detect: other libraries are left out: no {', '.join(missing)}", file=sys.stderr)
        peers = None
    outcomes: dict[str, list[Outcome]] = {OURS: []}
    causes: list[tuple[Found, list[Named]]] = []
    cpu_s = 0.0
    for batch in _batches(seeds):
        streams = [stream(seed, plan) for seed in batch]
        began = process_time()
        alarms = ours(streams)
        cpu_s += process_time() - began
        for seed, made, alarm in zip(batch, streams, alarms, strict=True):
            outcomes[OURS].append(outcome(made, alarm))
            for name, rule in SIMPLE.items():
                outcomes.setdefault(name, []).append(outcome(made, rule(made)))
            if peers and seed < args.seed + args.peer_seeds:
                for name, theirs in peers.alarms(made).items():
                    outcomes.setdefault(name, []).append(outcome(made, theirs))
            rng = np.random.default_rng([seed, 1])
            causes += [(found, named(made, found, rng)) for found in outcomes[OURS][-1].found]
            print(f"seed {seed}: {line(outcomes[OURS][-1])}", file=sys.stderr, flush=True)
    figures: dict[str, Any] = {name: figures_of(of) for name, of in outcomes.items()}
    figures["cause"] = cause_figures(causes)
    minutes = (plan.warm_up_days + plan.days) * 1_440 * -(-args.seeds // BATCH)
    figures |= {"goals": GOALS, "seeds": [seeds[0], seeds[-1]], "quick_plan": args.quick}
    figures["cpu_ms_per_minute"] = {"series": 200 * min(BATCH, args.seeds), "ms": round(1_000 * cpu_s / minutes, 2)}
    figures["peers"] = peers.versions() if peers else None
    write_result(args.name, figures, ("numpy",))
    print(tables(figures))
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detect", description=__doc__)
    parser.add_argument("--seed", type=int, default=101, help="first seed (default 101)")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds from there on (default 1)")
    parser.add_argument("--quick", action="store_true", help="shorter streams with fewer faults")
    parser.add_argument("--peers", type=Path, default=PEERS, metavar="PYTHON", help="with river and pyod (.venv-peers)")
    parser.add_argument(
        "--peer-seeds", type=int, default=4, help="seeds that they are given; they are slow (default 4)"
    )
    parser.add_argument("--name", default="detect", help="of the result (default detect)")
    args = parser.parse_args(argv)
    last = args.seed + args.seeds - 1
    if args.seed < 1 or args.seeds < 1 or (args.seed <= TUNING_SEEDS < last):
        parser.error(f"expected seeds from 1, all up to {TUNING_SEEDS} or all above, got {args.seed} to {last}")
    if args.seed > TUNING_SEEDS and args.name == "detect":
        parser.error(f"seeds above {TUNING_SEEDS} are for tuning: give the result another --name")
    return args


def _batches(seeds: range) -> Iterator[range]:
    for first in range(0, len(seeds), BATCH):
        yield seeds[first : first + BATCH]


if __name__ == "__main__":
    sys.exit(main())
