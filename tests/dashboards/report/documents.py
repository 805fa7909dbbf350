"""Report documents as history.sla_report makes them, from a few figures: no store behind them."""

from dataclasses import asdict
from zoneinfo import ZoneInfo

import numpy as np

from contracts.sla import CreditTier, Month
from contracts.times import rfc3339
from history import sla
from history.sla import BAD, EXCLUDED, NO_TRAFFIC, PENDING, UNMEASURED

OCT = Month(2026, 10)
ZONE = ZoneInfo("Asia/Shanghai")
START, END = OCT.span(ZONE)
TIERS = (CreditTier(0.999, 0.1), CreditTier(0.99, 0.25))
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
CAUSE = {
    "id": "inc-7",
    "start": rfc3339(START),
    "end": None,
    "key": "quality.localised",
    "params": {
        "customers": ["acme"],
        "measures": ["failures"],
        "factor": 6.13,
        "since": START,
        "where": {"client_isp": "unicom", "client_region": "hebei"},
        "share": 0.87,
        "causes": 1,
    },
}


def at(day, hour, minute=0):
    """Index of a minute of the month."""
    return (day - 1) * 1440 + hour * 60 + minute


def classes(*spans, through=None):
    """The month's minutes: good but for (first, last + 1, class); pending from day `through` on."""
    found = np.zeros((END - START) // 60_000, np.uint8)
    for first, last, code in spans:
        found[first:last] = code
    if through is not None:
        found[(through - 1) * 1440 :] = PENDING
    return found


ONE_BAD_EVENING = classes((at(8, 20, 3), at(8, 21, 24), BAD), (at(13, 3), at(13, 3, 22), UNMEASURED))
ALL_KINDS = classes(
    (at(8, 20, 3), at(8, 21, 24), BAD),
    (at(13, 3), at(13, 3, 22), UNMEASURED),
    (at(4, 2), at(4, 4), EXCLUDED),
    (at(27, 0), at(28, 0), NO_TRAFFIC),
)


def account(minutes=ONE_BAD_EVENING, status="sealed", **objective):
    """An account; `objective` replaces fields of the objective."""
    promised = {
        "customer": "acme", "name": "vod-failures", "service": "vod", "measure": "failures", "threshold": None,
        "minute_target": 0.99, "target": 0.999, "timezone": ZONE.key, "valid_from": "2026-01",
        "credits": [asdict(tier) for tier in TIERS], "maintenance": [], "version": 1, "sha256": "0" * 64,
    } | objective  # fmt: skip
    tally = sla.Tally.of(minutes)
    due, at_most = sla.credits_of([CreditTier(**t) for t in promised["credits"]], tally)
    days = [minutes[i * 1440 : (i + 1) * 1440] for i in range(31)]
    return {
        "customer": "acme",
        "month": "2026-10",
        "start": rfc3339(START),
        "end": rfc3339(END),
        "objective": promised,
        "minutes": asdict(tally),
        "attainment": {"lower": tally.lower, "upper": tally.upper},
        "verdict": tally.verdict(promised["target"]),
        "coverage": 0.99812 if tally.counted else None,
        "trials": {"total": 1_234_567, "bad": 4_321, "unmeasured": 12.5},
        "budget": asdict(sla.budget(tally, promised["target"])),
        "credits": {"due": due, "at_most": at_most},
        "days": [{"date": f"2026-10-{i:02d}", **asdict(sla.Tally.of(day))} for i, day in enumerate(days, 1)],
        "lost": [_lost(episode) for episode in sla.episodes(minutes)],
        "classes": sla.written(minutes),
        "status": status,
        "seal": {"sha256": SHA256, "sealed_at": "2026-11-03T00:00:12.000Z"} if status == "sealed" else None,
        "statements": [] if status == "open" else [_statement(tally)],
        "restated": {"times": 0, "minutes": 0, "last": None},
    }


def _statement(tally):
    return {
        "stated_at": "2026-11-01T00:00:05.000Z", "bad": tally.bad, "unmeasured": tally.unmeasured,
        "lower": tally.lower, "upper": tally.upper,
    }  # fmt: skip


def _lost(episode):
    return {
        "start": rfc3339(START + episode.first * 60_000),
        "end": rfc3339(START + (episode.last + 1) * 60_000),
        "bad": episode.bad,
        "unmeasured": episode.unmeasured,
        "trials": {"total": 20_331, "bad": 1_204 if episode.bad else 0, "unmeasured": 0.0},
        "boxes": {"placed": 312, "measured": 40},
        "causes": [CAUSE] if episode.bad > 60 else [],
    }


def document(*accounts, status="sealed", name="Acme Video"):
    """A report of some accounts."""
    return {
        "customer": "acme",
        "name": name,
        "month": "2026-10",
        "timezone": ZONE.key,
        "start": rfc3339(START),
        "end": rfc3339(END),
        "status": status,
        "as_of": "2026-11-03T01:00:00.000Z",
        "known_through": "2026-10-17T03:21:00.000Z",
        "sealable_from": "2026-11-02T16:00:00.000Z",
        "objectives": list(accounts) or [account(status=status)],
    }
