"""Incidents made up for tests and screenshots: one that is open and localised, others of every state and kind."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from contracts.columns import SIGNALS, names
from contracts.entities import Change
from contracts.incidents import (
    Cause,
    Equivalent,
    Incident,
    RelatedChange,
    Sentence,
    SeriesEvidence,
    Severity,
    Transition,
)
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, minute_of
from history.query_model import Exemplar

WHERE = {"client_isp": "China Unicom", "client_region": "Hebei", "firmware": "2.3.1"}


def onset_of(now: int) -> int:
    return minute_of(now) - 44 * MINUTE_MS


def make_incident(now: int, **changed: Any) -> Incident:
    """Open, of three customers, localised, with a firmware roll-out before it."""
    onset = onset_of(now)
    causes = (
        Cause(WHERE, 0.87, 1_203.0, 152.0, 31_220.0, True, "stalled_sessions", 812.0, 0.97, onset,
              (Equivalent({**WHERE, "model": "m1"}), Equivalent({"firmware": "2.3.1"}, 0, 3))),
        Cause({"firmware": "2.3.1"}, 0.41, 1_480.0, 610.0, 140_000.0, False, "stalled_sessions", 310.0, 0.4),
        Cause({"client_region": "Hebei"}, 0.22, 1_702.0, 1_290.0, 288_000.0, False, "stalled_sessions", 120.0, 0.2),
    )  # fmt: skip
    series = tuple(
        SeriesEvidence(c, "video", m, onset, minute_of(now) - MINUTE_MS, bad, total, expected, nats, 1e-9, 1e-4)
        for c, m, bad, total, expected, nats in (
            ("c001", "stalled_sessions", 1_203.0, 31_220.0, 290.0, 91.0),
            ("c004", "stalled_sessions", 402.0, 10_110.0, 95.0, 40.0),
            ("c008", "failures", 150.0, 90_500.0, 71.0, 14.0),
        )
    )
    headline = Sentence(
        "quality.localised",
        {"customers": ("c001", "c004", "c008"), "measures": ("stalled_sessions",), "factor": 4.1, "since": onset,
         "where": WHERE, "share": 0.87, "causes": 1},
    )  # fmt: skip
    made = Incident(
        id="inc-1", kind="quality", state="open", onset=onset, detected_at=onset + 2 * MINUTE_MS + 20_000,
        newest=minute_of(now) - MINUTE_MS, headline=headline,
        severity=Severity("high", 132, 1_310.0, 5.4, 2_310.0, 0.031, 0.029), customers=("c001", "c004", "c008"),
        services=("video",), measures=("stalled_sessions", "failures"), verdict="localised", causes=causes,
        changes=(RelatedChange("fw-231", "firmware", "contains", onset - 5 * MINUTE_MS, 5 * MINUTE_MS, 3.2, 0.8, 0.99,
                               {"firmware": "2.3.1"}),),
        series=series,
    )  # fmt: skip
    return replace(made, **changed)


def make_incidents(now: int) -> tuple[Incident, ...]:
    """The open one, an acknowledged and a resolved one of quality, a muted silence, our own lag, and one long ago."""
    open_one = make_incident(now)
    onset = onset_of(now) - 3 * HOUR_MS
    said: dict[str, Any] = {"customers": ("c005",), "measures": ("failures",), "factor": 1.6, "since": onset}
    spread = Sentence("quality.diffuse", said)
    diffuse = replace(
        open_one, id="inc-2", state="acknowledged", onset=onset, detected_at=onset + 6 * MINUTE_MS, headline=spread,
        severity=Severity("medium", 40, 90.0, 0.4, 310.0, 0.004, 0.006), customers=("c005",), measures=("failures",),
        verdict="diffuse", causes=(), changes=(), series=open_one.series[2:],
        history=(Transition("a1", "acknowledge", "wei", onset + 10 * MINUTE_MS, "open", "acknowledged", "on it"),),
    )  # fmt: skip
    said = {"boxes": 31, "where": {"device_region": "Bayern"}, "share": 0.94, "since": onset}
    dark = Sentence("silence.region", said)
    silence = Incident(
        id="inc-3", kind="silence.region", state="muted", onset=onset, detected_at=onset + 4 * MINUTE_MS, newest=now,
        headline=dark, severity=Severity("medium", at_stake_per_minute=120.0, traffic_share=0.01), muted_by="ana",
        muted_until=now + HOUR_MS, where={"device_region": "Bayern"}, devices=("box-0007", "box-0113"),
    )  # fmt: skip
    before = open_one.onset - 6 * DAY_MS
    past = replace(
        open_one, id="inc-0", state="resolved", onset=before, detected_at=before + 3 * MINUTE_MS,
        resolved_at=before + 2 * HOUR_MS, newest=before + 2 * HOUR_MS, real_cause={"firmware": "2.3.0"},
        customers=("c001",), changes=(),
    )  # fmt: skip
    return (open_one, diffuse, silence, past)


def make_signals(now: int, start: int, end: int) -> dict[str, list[Any]]:
    """A minute each: calm before the onset, four times the usual after it, in a band of a third around it."""
    rng = random.Random(7)
    rows: dict[str, list[Any]] = {name: [] for name in names(SIGNALS)}
    for minute in range(start, min(end, minute_of(now)), MINUTE_MS):
        total = rng.randrange(650, 760)
        expected = total * 0.0093
        bad = round(expected * rng.uniform(0.75, 1.3) * (4.1 if minute >= onset_of(now) else 1))
        row: dict[str, Any] = {"minute": minute, "bad": bad, "total": total, "expected": expected, "allowed": 0.02}
        row |= {"low": expected * 0.6, "high": expected * 1.45}
        for name, column in rows.items():
            column.append(row.get(name))
    return rows


def make_changes(now: int) -> tuple[Change, ...]:
    onset = onset_of(now)
    scope = {"firmware": "2.3.1"}
    return (Change("fw-231", "firmware", scope, onset - 5 * MINUTE_MS, None, "wei", "FW-231", "Roll out 2.3.1 to b"),)


def make_exemplars(now: int, customer: str) -> tuple[Exemplar, ...]:
    at = now - 90_000
    place = ("video", "China Unicom", "Hebei", "near@7")
    return tuple(
        Exemplar(at - n * 7_000, f"box-{200 + n:04d}", customer, *place, f"9f3{n}c0de77aa01b2", status, ms, failure)
        for n, (status, ms, failure) in enumerate(((504, 10_000, "f_timeout"), (200, 8_412, ""), (502, 31, "f_server")))
    )
