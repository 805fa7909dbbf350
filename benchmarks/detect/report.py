"""Figures of outcomes with their intervals, and the tables that people read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from statistics import mean, median
from typing import Any

from benchmarks.detect.cause import ALARM, END, Named
from benchmarks.detect.score import Found, Outcome, wilson
from benchmarks.detect.state import Asked
from benchmarks.detect.streams import EFFECTS

CLASSES = ("quick", "slight", "any")
GOALS = {
    "quick_found": 0.98,
    "quick_median_s": 180,
    "slight_found": 0.90,
    "false_per_100_customer_days": 1.0,
    "cause_exact": 0.90,
    "cause_top3": 0.97,
}


def figures_of(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Over all seeds; `worst_*` of the worst single seed."""
    found = [f for o in outcomes for f in o.found]
    false = sum(o.false_incidents for o in outcomes)
    days = sum(o.clean_days for o in outcomes)
    figures: dict[str, Any] = {
        "seeds": len(outcomes),
        "faults": len(found),
        "clean_customer_days": days,
        "false_incidents_on_clean_days": false,
        "false_per_100_customer_days": round(100 * false / days, 2),
        "false_per_100_customer_days_95": [round(100 * bound / days, 2) for bound in poisson(false)],
        "worst_false_per_100_customer_days": round(max(100 * o.false_incidents / o.clean_days for o in outcomes), 2),
        "false_incidents_beside_faults": sum(o.false_beside_faults for o in outcomes),
        "nab": {p: round(mean(o.nab[p] for o in outcomes), 1) + 0.0 for p in outcomes[0].nab},
        "worst_nab_standard": round(min(o.nab["standard"] for o in outcomes), 1) + 0.0,
    }
    for class_ in CLASSES:
        chosen = of_class(found, class_)
        by_seed = [shares(of_class(o.found, class_)) for o in outcomes]
        figures[class_] = shares(chosen) | {
            "by_kind": {kind: shares([f for f in chosen if f.fault.kind == kind]) for kind in EFFECTS},
            "worst_seed_share": min((s["share"] for s in by_seed if s["share"] is not None), default=None),
            "worst_seed_median_s": max((s["median_s"] for s in by_seed if s["median_s"] is not None), default=None),
        }
    return figures


def of_class(found: Sequence[Found], class_: str) -> list[Found]:
    """Of "quick" and "slight" those of customers the goals are for."""
    return [f for f in found if f.fault.class_ == class_ and (f.big or class_ == "any")]


def shares(found: Sequence[Found]) -> dict[str, Any]:
    """Found of all with its Wilson interval, and the time from the fault's start to the verdict."""
    seconds = [f.seconds for f in found if f.seconds is not None]
    return {
        "faults": len(found),
        "found": len(seconds),
        **_share("share", len(seconds), len(found)),
        "median_s": round(median(seconds)) if seconds else None,
    }


def cause_figures(causes: Sequence[Asked]) -> dict[str, Any]:
    """Per class and moment: how many of the faults found had their cause named."""
    figures: dict[str, Any] = {}
    for class_ in (*CLASSES, "all"):
        chosen = [a.named for a in causes if class_ == "all" or of_class([a.found], class_)]
        figures[class_] = {
            when: _named([n for names in chosen for n in names if n.when == when]) for when in (ALARM, END)
        }
    return figures


def _named(names: Sequence[Named]) -> dict[str, Any]:
    answered = [n for n in names if n.verdict == "localised"]
    return {
        "faults": len(names),
        **_share("exact", sum(n.exact for n in names), len(names)),
        **_share("top3", sum(n.top3 for n in names), len(names)),
        **_share("exact_of_answered", sum(n.exact for n in answered), len(answered)),
        "verdicts": dict(sorted(Counter(n.verdict for n in names).items())),
    }


def _share(name: str, hits: int, trials: int) -> dict[str, Any]:
    interval = wilson(hits, trials)
    return {
        name: round(hits / trials, 3) if trials else None,
        f"{name}_95": [round(max(0.0, bound), 3) for bound in interval] if interval else None,
    }


def poisson(events: int, z: float = 1.96) -> tuple[float, float]:
    """Two-sided interval of the mean of a count (Byar's approximation, in Rothman and Boice, 1979): incidents of a day
    are no trials, there may be more than one."""
    low = events * (1 - 1 / (9 * events) - z / (3 * sqrt(events))) ** 3 if events else 0.0
    above = events + 1
    return low, above * (1 - 1 / (9 * above) + z / (3 * sqrt(above))) ** 3


def line(one: Outcome) -> str:
    """A seed in one line."""
    of = {c: [f for f in one.found if f.fault.class_ == c] for c in CLASSES}
    text = ", ".join(f"{c} {sum(f.seconds is not None for f in fs)} of {len(fs)}" for c, fs in of.items())
    return f"{text}, {one.false_incidents} false in {one.clean_days} clean customer-days"


def tables(figures: dict[str, Any]) -> str:
    """For README.md."""
    rows = [
        "| detector | seeds | quick found | median, s | slight found | any found | false per 100 customer-days | NAB |",
        "|---|---:|---|---:|---|---|---|---:|",
    ]
    for name, of in figures.items():
        if not isinstance(of, dict) or "clean_customer_days" not in of:
            continue
        cells = [name, str(of["seeds"]), _cell(of["quick"], "share"), str(of["quick"]["median_s"])]
        cells += [_cell(of[class_], "share") for class_ in ("slight", "any")]
        low_high = " to ".join(f"{bound:g}" for bound in of["false_per_100_customer_days_95"])
        cells += [f"{of['false_per_100_customer_days']:g} ({low_high})", f"{of['nab']['standard']:g}"]
        rows.append(f"| {' | '.join(cells)} |")
    rows += [
        "",
        "| cause of | when | faults | exact | among the top 3 | exact, where one was named |",
        "|---|---|---:|---|---|---|",
    ]
    for class_, moments in figures["cause"].items():
        for when, of in moments.items():
            cells = [class_, when, str(of["faults"]), *(_cell(of, k) for k in ("exact", "top3", "exact_of_answered"))]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(of: dict[str, Any], name: str) -> str:
    if of[name] is None:
        return "-"
    low, high = of[f"{name}_95"]
    return f"{of[name]:.1%} ({low:.1%}-{high:.1%})"
