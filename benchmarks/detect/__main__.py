"""`python -m benchmarks.detect --seeds 20`: faults found, time to detect and false incidents, beside simpler rules."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from statistics import mean, median
from time import process_time
from typing import Any

from benchmarks.common import write_result
from benchmarks.detect.detectors import Bools, ours, static, workbook
from benchmarks.detect.score import Found, Outcome, outcome, wilson
from benchmarks.detect.streams import EFFECTS, Plan, Stream, stream

TUNING_SEEDS = 1000
"""Settings were chosen on streams with seeds above this; figures belong to seeds up to it."""
QUICK = Plan(warm_up_days=8, days=2, quick=8, slight=8, any=4)
DETECTORS: dict[str, Callable[[Stream], Bools]] = {
    "dipper": ours,
    "sre_workbook": workbook,
    "static_1x_objective": lambda s: static(s, 1.0),
    "static_2x_objective": lambda s: static(s, 2.0),
}
GOALS = {
    "quick_found": 0.98,
    "quick_median_s": 180,
    "slight_found": 0.90,
    "false_per_100_customer_days": 1.0,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detect", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="first seed (default 1)")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds from there on (default 1)")
    parser.add_argument("--quick", action="store_true", help="shorter streams with fewer faults")
    args = parser.parse_args(argv)
    last = args.seed + args.seeds - 1
    if args.seed < 1 or args.seeds < 1 or last > TUNING_SEEDS:
        parser.error(f"expected seeds from 1 to {TUNING_SEEDS}, got {args.seed} to {last}: others are for tuning")
    plan = QUICK if args.quick else Plan()
    outcomes: dict[str, list[Outcome]] = {name: [] for name in DETECTORS}
    cpu_s = 0.0
    for seed in range(args.seed, last + 1):
        made = stream(seed, plan)
        for name, detect in DETECTORS.items():
            began = process_time()
            outcomes[name].append(outcome(made, detect(made)))
            if name == "dipper":
                cpu_s += process_time() - began
        print(f"seed {seed}: {_line(outcomes['dipper'][-1])}", file=sys.stderr, flush=True)
    figures: dict[str, Any] = {name: figures_of(found) for name, found in outcomes.items()}
    figures |= {"goals": GOALS, "seeds": [args.seed, last], "quick_plan": args.quick}
    minutes = (plan.warm_up_days + plan.days) * 1_440 * args.seeds
    figures["cpu_ms_per_minute_of_200_series"] = round(1_000 * cpu_s / minutes, 2)
    write_result("detect", figures, ("numpy",))
    return 0


def figures_of(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Over all seeds; `worst_*` of the worst single seed."""
    found = [f for o in outcomes for f in o.found]
    false = sum(o.false_incidents for o in outcomes)
    days = sum(o.clean_days for o in outcomes)
    figures: dict[str, Any] = {
        "faults": len(found),
        "clean_customer_days": days,
        "false_incidents_on_clean_days": false,
        "false_per_100_customer_days": round(100 * false / days, 2),
        "worst_false_per_100_customer_days": round(max(100 * o.false_incidents / o.clean_days for o in outcomes), 2),
        "false_incidents_beside_faults": sum(o.false_beside_faults for o in outcomes),
        "nab": {p: round(mean(o.nab[p] for o in outcomes), 1) for p in outcomes[0].nab},
        "worst_nab_standard": round(min(o.nab["standard"] for o in outcomes), 1),
    }
    for class_ in ("quick", "slight", "any"):
        chosen = [f for f in found if f.fault.class_ == class_ and (f.big or class_ == "any")]
        figures[class_] = shares(chosen)
        figures[class_]["by_kind"] = {kind: shares([f for f in chosen if f.fault.kind == kind]) for kind in EFFECTS}
        by_seed = [
            shares([f for f in o.found if f.fault.class_ == class_ and (f.big or class_ == "any")]) for o in outcomes
        ]
        figures[class_]["worst_seed_share"] = min((s["share"] for s in by_seed if s["share"] is not None), default=None)
    return figures


def shares(found: Sequence[Found]) -> dict[str, Any]:
    """Found of all with its Wilson interval, and the time from the fault's start to the verdict."""
    seconds = [f.seconds for f in found if f.seconds is not None]
    interval = wilson(len(seconds), len(found))
    return {
        "faults": len(found),
        "found": len(seconds),
        "share": round(len(seconds) / len(found), 3) if found else None,
        "share_95": [round(bound, 3) for bound in interval] if interval else None,
        "median_s": round(median(seconds)) if seconds else None,
    }


def _line(one: Outcome) -> str:
    of = {c: [f for f in one.found if f.fault.class_ == c] for c in ("quick", "slight", "any")}
    text = ", ".join(f"{c} {sum(f.seconds is not None for f in fs)} of {len(fs)}" for c, fs in of.items())
    return f"{text}, {one.false_incidents} false in {one.clean_days} clean customer-days"


if __name__ == "__main__":
    sys.exit(main())
