"""The report as texts and marks in one language, from the document of history.sla_report: pure.

Page, PDF and CSV show nothing that is not in here. Ratios are cut, never rounded up: 99.9% means at least that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from dashboards import format as fmt
from dashboards.report.speech import Document, Speech, interval, promised
from dashboards.report.words import ReportWords

MAX_LOST = 14  # rows of lost minutes in a page; CSV and JSON hold all
MAX_CAUSES = 5  # incidents of a row; JSON holds all
MAX_STATEMENTS = 6  # lines of statements, the newest; the JSON holds all
GOOD, BAD, UNMEASURED, NONE, PENDING = "good", "bad", "unmeasured", "none", "pending"


@dataclass(frozen=True, slots=True)
class Day:
    """A date: `state` of its worst minutes, how many were lost, and their share of the day's counted minutes."""

    date: str
    day: int
    weekday: int
    state: str
    bad: int
    unmeasured: int
    share: float

    @property
    def lost(self) -> int:
        """Bad and unmeasured minutes."""
        return self.bad + self.unmeasured


@dataclass(frozen=True, slots=True)
class Row:
    """One objective. `tone`: red (missed), amber (cannot tell) or empty."""

    name: str
    label: str
    promised: str
    attained: str
    coverage: str
    bad: str
    unmeasured: str
    budget: str
    credit: str
    verdict: str
    tone: str
    days: tuple[Day, ...]


@dataclass(frozen=True, slots=True)
class Burn:
    """The error budget of the objective in focus, in minutes. `spent` after each day: (bad, bad + unmeasured)."""

    title: str
    allowed: float
    spent: tuple[tuple[int, int], ...]
    days: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A row of lost minutes."""

    when: str
    objective: str
    lost: str
    what: str
    tone: str


@dataclass(frozen=True, slots=True)
class Content:
    """The whole report in one language."""

    language: str
    title: str
    customer: str
    month: str
    period: str
    status: str
    final: bool
    headline: str
    details: tuple[str, ...]
    tone: str
    rows: tuple[Row, ...]
    focus: str
    burn: Burn
    lost: tuple[Lost, ...]
    lost_note: str
    restated: tuple[str, ...]
    method: tuple[str, ...]
    seals: tuple[str, ...]
    words: ReportWords


def content(document: Document, language: str) -> Content:
    """The content of a report."""
    words = ReportWords(language)
    zone = ZoneInfo(document["timezone"])
    year, month = map(int, document["month"].split("-"))
    objectives = document["objectives"]
    speak = Speech(words, zone, year)
    lost = _lost(objectives, speak)
    shown = lost[:MAX_LOST]
    rest = [e for o in objectives for e in o["lost"]]
    return Content(
        language=words.language,
        title=words("title"),
        customer=document["name"],
        month=words.month(year, month),
        period=words("for_month", month=words.month(year, month), zone=document["timezone"]),
        status=_status(document, speak),
        final=document["status"] == "sealed",
        headline=_headline(document, words),
        details=_details(document, speak),
        tone=_tone(document),
        rows=tuple(_row(o, speak) for o in objectives),
        focus=speak.label(objectives[0]["objective"]),
        burn=_burn(objectives[0], speak),
        lost=tuple(row for _, _, row in shown),
        lost_note=_lost_note(lost, len(rest), speak),
        restated=_restated(document, speak),
        method=_method(objectives, speak),
        seals=tuple(
            words("seal", objective=speak.label(o["objective"]), sha256=o["seal"]["sha256"])
            for o in objectives
            if o["seal"]
        ),
        words=words,
    )


def _status(document: Document, speak: Speech) -> str:
    words, status = speak.words, document["status"]
    if status == "open":
        return f"{words('status.open')}, {words('as_of', time=speak.time(document['known_through']))}"
    if status == "provisional":
        return words("status.provisional", time=speak.time(document["sealable_from"]))
    newest = max(o["seal"]["sealed_at"] for o in document["objectives"])
    return words("status.sealed", time=speak.time(newest))


def _headline(document: Document, words: ReportWords) -> str:
    verdicts = [o["verdict"] for o in document["objectives"]]
    missed, total = verdicts.count("missed"), len(verdicts)
    if all(v == "no_data" for v in verdicts):
        return words("head.no_data")
    if document["status"] == "open":
        return words("head.open", n=missed, total=total) if missed else words("head.open.good")
    if missed:
        return words("head.missed", n=missed, total=total)
    if "undecided" in verdicts:
        return words("head.undecided", n=verdicts.count("undecided"), total=total)
    nothing = verdicts.count("no_data")
    return (
        words("head.met_known", n=total - nothing, total=total, k=nothing)
        if nothing
        else words("head.met", total=total)
    )


def _tone(document: Document) -> str:
    verdicts = {o["verdict"] for o in document["objectives"]}
    if "missed" in verdicts:
        return "red"
    return "amber" if "undecided" in verdicts and document["status"] != "open" else ""


def _details(document: Document, speak: Speech) -> tuple[str, ...]:
    words, objectives = speak.words, document["objectives"]
    if all(o["verdict"] == "no_data" for o in objectives):
        return ()
    worst = objectives[0]
    lines = [
        words(
            "head.detail",
            objective=speak.label(worst["objective"]),
            attainment=speak.interval(worst["attainment"]),
            target=promised(worst["objective"]["target"]),
        )
    ]
    if document["status"] != "open" and any(o["objective"]["credits"] for o in objectives):
        due = [
            words("credit.item", credit=_credit(o), objective=speak.label(o["objective"]))
            for o in objectives
            if o["credits"]["at_most"]
        ]
        lines.append(words("head.credit", list=words("list").join(due)) if due else words("head.credit_none"))
    return tuple(lines)


def _credit(account: Document) -> str:
    return interval(promised(account["credits"]["due"]), promised(account["credits"]["at_most"]))


def _row(account: Document, speak: Speech) -> Row:
    objective, minutes, words = account["objective"], account["minutes"], speak.words
    budget = account["budget"]
    verdict = account["verdict"]
    if account["status"] == "open" and verdict == "undecided":
        verdict = "open"
    used = "–"
    if budget["allowed"]:
        shares = [budget[n] / budget["allowed"] for n in ("spent", "spent_at_most")]
        texts = [f"{share:.0%}" if share < 10 else f"{fmt.significant(share, 2)}×" for share in shares]
        used = interval(*texts)
    return Row(
        name=objective["name"],
        label=speak.label(objective),
        promised=promised(objective["target"]),
        attained=speak.interval(account["attainment"]),
        coverage="–" if account["coverage"] is None else fmt.percent(account["coverage"]),
        bad=speak.minutes(minutes["bad"]),
        unmeasured=speak.minutes(minutes["unmeasured"]),
        budget=used,
        credit=_credit(account) if objective["credits"] and account["status"] != "open" else "–",
        verdict=words(f"verdict.{verdict}"),
        tone={"missed": "red", "undecided": "amber"}.get(verdict, ""),
        days=tuple(_day(day) for day in account["days"]),
    )


def _day(day: Document) -> Day:
    at = date.fromisoformat(day["date"])
    counted = day["good"] + day["bad"] + day["unmeasured"]
    if day["bad"]:
        state = BAD
    elif day["unmeasured"]:
        state = UNMEASURED
    elif counted:
        state = GOOD
    else:
        state = PENDING if day["pending"] else NONE
    share = (day["bad"] + day["unmeasured"]) / counted if counted else 0.0
    return Day(day["date"], at.day, at.weekday(), state, day["bad"], day["unmeasured"], share)


def _burn(account: Document, speak: Speech) -> Burn:
    budget, minutes = account["budget"], account["minutes"]
    bad = lost = 0
    spent = []
    for day in account["days"]:
        if day["pending"] and not day["good"] + day["bad"] + day["unmeasured"]:
            break
        bad += day["bad"]
        lost += day["bad"] + day["unmeasured"]
        spent.append((bad, lost))
    over = minutes["bad"] > budget["allowed"]
    title = speak.words(
        "budget.over" if over else "budget",
        spent=speak.minutes(minutes["bad"]),
        allowed=speak.minutes(budget["allowed"]),
    )
    return Burn(title, budget["allowed"], tuple(spent), len(account["days"]))


def _lost(objectives: Sequence[Document], speak: Speech) -> list[tuple[int, int, Lost]]:
    """(lost minutes, order, row), the most minutes first."""
    found: list[tuple[int, int, Lost]] = []
    for account in objectives:
        for episode in account["lost"]:
            n = episode["bad"] + episode["unmeasured"]
            row = Lost(
                when=speak.span(episode["start"], episode["end"]),
                objective=speak.label(account["objective"]),
                lost=speak.minutes(n),
                what=what_happened(episode, speak.words),
                tone="red" if episode["bad"] else "amber",
            )
            found.append((n, len(found), row))
    return sorted(found, key=lambda f: (-f[0], f[1]))


def _lost_note(lost: Sequence[tuple[int, int, Lost]], episodes: int, speak: Speech) -> str:
    if not lost:
        return speak.words("lost.none")
    rest = lost[MAX_LOST:]
    if not rest:
        return ""
    return speak.words("lost.more", n=episodes - MAX_LOST, minutes=speak.minutes(sum(n for n, _, _ in rest)))


def what_happened(episode: Document, words: ReportWords) -> str:
    """Incidents that explain lost minutes, in words; the arithmetic beside them."""
    trials, boxes = episode["trials"], episode["boxes"]
    causes = episode["causes"]
    parts = [words("lost.incident", id=c["id"], cause=cause_in_words(c, words)) for c in causes[:MAX_CAUSES]]
    if len(causes) > MAX_CAUSES:
        parts.append(words("lost.incidents", n=len(causes) - MAX_CAUSES))
    if episode["bad"]:
        ratio = fmt.percent(trials["bad"] / trials["total"]) if trials["total"] else "–"
        parts.append(words("lost.bad", bad=fmt.count(trials["bad"]), total=fmt.count(trials["total"]), ratio=ratio))
    if episode["unmeasured"]:
        heard = words("lost.heard", measured=fmt.count(boxes["measured"]), placed=fmt.count(boxes["placed"]))
        parts.append(heard if boxes["placed"] else words("lost.dark"))
    return words("join").join(parts)


def cause_in_words(cause: Document, words: ReportWords) -> str:
    """An incident's sentence."""
    say: dict[str, Callable[[Any], str]] = {
        "where": lambda where: " / ".join(map(str, where.values())) or words("everywhere"),
        "measures": lambda names: words("list").join(words(f"short.{n}") for n in names),
        "factor": lambda factor: fmt.significant(factor, 2),
        "share": fmt.percent,
        "boxes": fmt.count,
    }
    params = {name: say[name](value) for name, value in cause["params"].items() if name in say}
    return words(f"cause.{cause['key']}", **params)


def _restated(document: Document, speak: Speech) -> tuple[str, ...]:
    """What was stated, and what late data changed: of each objective, those that nothing changed in one line."""
    words, objectives = speak.words, document["objectives"]
    if document["status"] == "open":
        return (words("restated.open"),)
    alike: dict[str, list[str]] = {}
    changed = []
    for o in objectives:
        if o["restated"]["times"] or len(o["statements"]) > 1:
            changed.append(o)
        else:
            key = "restated.none" if o["statements"] or o["seal"] else "restated.not_yet"
            alike.setdefault(words(key), []).append(speak.label(o["objective"]))
    shown = max(2, MAX_STATEMENTS // max(1, len(changed)))
    lines = [line for o in changed for line in _changes(o, shown, speak, alone=len(objectives) == 1)]
    for said, labels in alike.items():
        lines.append(said if len(labels) == len(objectives) else _of(words("list").join(labels), said, speak))
    return tuple(lines)


def _changes(account: Document, shown: int, speak: Speech, *, alone: bool) -> list[str]:
    """The newest statements of an objective, after what late data changed; `alone`: it needs no name."""
    words, restated, told = speak.words, account["restated"], account["statements"]
    lines = []
    if restated["times"]:
        time = speak.time(restated["last"])
        lines.append(words("restated.minutes", n=fmt.count(restated["minutes"]), time=time))
    if len(told) <= 1:
        lines.append(words("restated.same"))
    for s in told[-shown:] if len(told) > 1 else ():
        figures = {"bad": fmt.count(s["bad"]), "unmeasured": fmt.count(s["unmeasured"])}
        lines.append(words("restated.line", time=speak.time(s["stated_at"]), attainment=speak.interval(s), **figures))
    if not alone:
        lines[0] = _of(speak.label(account["objective"]), lines[0], speak)
    return lines


def _of(label: str, said: str, speak: Speech) -> str:
    return speak.words("of", label=label, said=said)


def _each(objectives: Sequence[Document], figure: Callable[[Document], str], speak: Speech) -> str:
    """A figure of every objective: once when it is the same of all."""
    figures = [figure(o) for o in objectives]
    if len(set(figures)) == 1:
        return figures[0]
    named = [f"{speak.label(o['objective'])} {text}" for o, text in zip(objectives, figures, strict=True)]
    return speak.words("list").join(named)


def _method(objectives: Sequence[Document], speak: Speech) -> tuple[str, ...]:
    words = speak.words
    listed = words("list").join(
        f"{speak.label(o['objective'])} {promised(o['objective']['minute_target'])}" for o in objectives
    )
    lines = [
        words("method.minute", list=listed),
        words(
            "method.attainment",
            no_traffic=_each(objectives, lambda o: speak.minutes(o["minutes"]["no_traffic"]), speak),
            excluded=_each(objectives, lambda o: speak.minutes(o["minutes"]["excluded"]), speak),
        ),
        words("method.late"),
    ]
    tiers = {
        words("list").join(
            words("method.tier", credit=promised(t["credit"]), below=promised(t["below"]))
            for t in o["objective"]["credits"]
        )
        for o in objectives
        if o["objective"]["credits"]
    }
    if tiers:
        lines.append(words("method.credits", tiers=words("join").join(sorted(tiers))))
    return tuple(lines)
