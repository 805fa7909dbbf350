"""`python -m benchmarks.detect --seeds 20`: faults found, time to detect, false incidents, causes, beside other rules.

Writes results/detect.json and prints the tables of README.md. What is worked out is kept per seed: a run that was
interrupted goes on where it was.
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
from benchmarks.detect.cause import named
from benchmarks.detect.compare import Peers
from benchmarks.detect.detectors import Bools, ours, static, workbook
from benchmarks.detect.report import GOALS, cause_figures, figures_of, line, tables
from benchmarks.detect.score import Outcome, outcome
from benchmarks.detect.state import ROOT, Asked, Kept, State, fingerprint
from benchmarks.detect.streams import Plan, Stream, stream

TUNING_SEEDS = 1000
"""Settings were chosen on streams with seeds above this; figures belong to seeds up to it."""
BATCH = 5
"""Streams that are worked through together: it costs little more than one. They take 60 MB each."""
QUICK = Plan(warm_up_days=8, days=2, quick=8, slight=8, any=4)
OURS = "dipper"
SIMPLE: dict[str, Callable[[Stream], Bools]] = {
    "sre_workbook": workbook,
    "static_1x_objective": lambda s: static(s, 1.0),
    "static_2x_objective": lambda s: static(s, 2.0),
}
PEERS = ROOT / ".venv-peers" / "bin" / "python"
STATE = ROOT / "var" / "bench-detect"
STREAMS_CODE = ("benchmarks/detect/streams.py", "benchmarks/detect/score.py")
OUR_CODE = (
    *STREAMS_CODE, "anomaly/detect/*.py", "anomaly/localise/*.py", "benchmarks/localise/*.py",
    "benchmarks/detect/cause.py", "benchmarks/detect/detectors.py",
)  # fmt: skip
PEERS_CODE = (*STREAMS_CODE, "benchmarks/detect/compare.py", "benchmarks/detect/peers.py")


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; without the peers' environment their rows are left out, which is said."""
    args = _arguments(argv)
    plan = QUICK if args.quick else Plan()
    seeds = range(args.seed, args.seed + args.seeds)
    peers = Peers(args.peers) if args.peers.exists() else None
    missing = peers.missing() if peers else [str(args.peers)]
    if missing:
        print(f"benchmarks.detect: other libraries are left out: no {', '.join(missing)}", file=sys.stderr)
        peers = None
    kept = _ours(seeds, plan, State(args.state, OURS, fingerprint(OUR_CODE, plan)))
    theirs = []
    if peers:
        state = State(args.state, "peers", fingerprint(PEERS_CODE, plan, peers.versions()))
        theirs = _theirs(seeds[: args.peer_seeds], plan, state, peers)
    outcomes: dict[str, list[Outcome]] = {}
    for one in (*kept, *theirs):
        for name, of in one.outcomes.items():
            outcomes.setdefault(name, []).append(of)
    figures: dict[str, Any] = {name: figures_of(of) for name, of in outcomes.items()}
    figures["cause"] = cause_figures([asked for one in kept for asked in one.causes])
    figures |= {"goals": GOALS, "seeds": [seeds[0], seeds[-1]], "quick_plan": args.quick}
    figures["cpu_ms_per_minute"] = _cost(kept, plan)
    figures["peers"] = peers.versions() if peers else None
    write_result(args.name, figures, ("numpy",))
    print(tables(figures))
    return 0


def _ours(seeds: Sequence[int], plan: Plan, state: State) -> list[Kept]:
    """Our detector and the simple rules on every seed, what was worked out before included."""
    for batch in _batches([seed for seed in seeds if state.get(seed) is None]):
        streams = [stream(seed, plan) for seed in batch]
        began = process_time()
        alarms = ours(streams)
        cpu_s = (process_time() - began) / len(batch)
        for seed, made, alarm in zip(batch, streams, alarms, strict=True):
            outcomes = {OURS: outcome(made, alarm)} | {name: outcome(made, rule(made)) for name, rule in SIMPLE.items()}
            rng = np.random.default_rng([seed, 1])
            causes = tuple(Asked(found, tuple(named(made, found, rng))) for found in outcomes[OURS].found)
            state.put(Kept(seed, outcomes, causes, cpu_s, len(batch)))
            print(f"seed {seed}: {line(outcomes[OURS])}", file=sys.stderr, flush=True)
    return [kept for seed in seeds if (kept := state.get(seed))]


def _theirs(seeds: Sequence[int], plan: Plan, state: State, peers: Peers) -> list[Kept]:
    """Other libraries' detectors, likewise."""
    for seed in seeds:
        if state.get(seed) is None:
            made = stream(seed, plan)
            outcomes = {name: outcome(made, alarms) for name, alarms in peers.alarms(made).items()}
            state.put(Kept(seed, outcomes))
            for name, of in outcomes.items():
                print(f"seed {seed}, {name}: {line(of)}", file=sys.stderr, flush=True)
    return [kept for seed in seeds if (kept := state.get(seed))]


def _cost(kept: Sequence[Kept], plan: Plan) -> dict[str, float]:
    """Of a minute of the largest batches."""
    beside = max(one.beside for one in kept)
    of = [one.cpu_s for one in kept if one.beside == beside]
    minutes = (plan.warm_up_days + plan.days) * 1_440
    return {"series": 200 * beside, "ms": round(1_000 * beside * sum(of) / len(of) / minutes, 2)}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detect", description=__doc__)
    parser.add_argument("--seed", type=int, default=101, help="first seed (default 101)")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds from there on (default 1)")
    parser.add_argument("--quick", action="store_true", help="shorter streams with fewer faults")
    parser.add_argument("--peers", type=Path, default=PEERS, metavar="PYTHON", help="with river and pyod (.venv-peers)")
    parser.add_argument(
        "--peer-seeds", type=int, default=20, help="seeds that they are given at most; they are slow (default 20)"
    )
    parser.add_argument("--state", type=Path, default=STATE, metavar="DIR", help="what is worked out (%(default)s)")
    parser.add_argument("--name", default="detect", help="of the result (default detect)")
    args = parser.parse_args(argv)
    last = args.seed + args.seeds - 1
    if args.seed < 1 or args.seeds < 1 or (args.seed <= TUNING_SEEDS < last):
        parser.error(f"expected seeds from 1, all up to {TUNING_SEEDS} or all above, got {args.seed} to {last}")
    if args.seed > TUNING_SEEDS and args.name == "detect":
        parser.error(f"seeds above {TUNING_SEEDS} are for tuning: give the result another --name")
    return args


def _batches(seeds: Sequence[int]) -> Iterator[Sequence[int]]:
    for first in range(0, len(seeds), BATCH):
        yield seeds[first : first + BATCH]


if __name__ == "__main__":
    sys.exit(main())
