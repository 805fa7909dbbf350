"""The triage page's cards, bars, tables and heat map as markup; which past incidents are similar. Pure; everything
from data is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode

from contracts.incidents import LEVELS, RESOLVED, Cause, Incident
from contracts.times import MINUTE_MS
from dashboards import explore_url, incident_text
from dashboards import format as fmt
from dashboards.explore_url import Ask
from dashboards.incident_text import Names
from dashboards.lens import Lens
from dashboards.markup import Cell, Figure, table
from dashboards.style import alpha
from history.query_cells import CellAnswer
from history.query_model import Exemplar

PRIOR_EVENTS = 10.0  # bad events' worth of the overall ratio that a cell's own past is mixed with
MOST_SIMILAR = 5
_SIGNS = {"critical": "▲▲", "high": "▲", "medium": "●", "low": "○"}
_RANK = {level: n for n, level in enumerate(LEVELS)}
_BASELINES = ("none", "overall", "time_of_day", "time_of_week")  # what is usual, from the least that was known on


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes that `served` the affected rows lately, and those of them with failures."""

    served: int
    failing: int


def affected_where(incident: Incident) -> dict[str, tuple[str, ...]]:
    """What selects the affected rows: the best cause, else all of the affected customers."""
    cause = next((c for c in incident.causes if c.answer), None)
    where = {d: (v,) for d, v in cause.where.items()} if cause is not None else {}
    if incident.customers:
        where.setdefault("customer", incident.customers)
    return where


def in_order(found: Sequence[Incident]) -> list[Incident]:
    """Open ones first, then by severity and what is at stake, the newest of equals first."""
    live = [i for i in found if i.merged_into is None]
    return sorted(
        live,
        key=lambda i: (
            i.state == RESOLVED, i.state == "muted", -_RANK[i.severity.level], -i.severity.at_stake_per_minute,
            -i.onset, i.id,
        ),
    )  # fmt: skip


def sentence(found: Sequence[Incident], lens: Lens, names: Names) -> str:
    """What the page says first when nothing is chosen."""
    w = lens.words
    open_ones = [i for i in in_order(found) if i.active]
    if open_ones:
        first = incident_text.headline(open_ones[0].headline, lens, names)
        return w("triage.open", n=len(open_ones), first=first)
    if found:
        return w("triage.calm") + w("sentence.join") + w("triage.calm_past", n=len(found))
    return w("triage.calm")


def cards(found: Sequence[Incident], chosen: str | None, lens: Lens, names: Names) -> str:
    """The list: one card per incident."""
    w = lens.words
    head = f"<h2>{escape(w('triage.list'))}</h2>"
    return f'<div class="d d-cards">{head}{"".join(_card(i, chosen, lens, names) for i in found)}</div>'


def _card(incident: Incident, chosen: str | None, lens: Lens, names: Names) -> str:
    w = lens.words
    level = incident.severity.level
    tone = "red" if incident.state == "open" and level in ("high", "critical") else "muted"
    css = "card" + (" on" if incident.id == chosen else "") + ("" if incident.active else " over")
    who = incident_text.customers_text(incident.customers, lens, names) if incident.customers else ""
    title = who or incident_text.kind_text(incident, lens)
    cause = incident_text.cause_text(incident, lens, names) or incident_text.boxes_text(incident.devices, lens)
    when = w("triage.since", time=lens.clock(incident.onset), ago=lens.ago(incident.onset))
    if incident.resolved_at is not None:
        when = w("triage.lasted", start=lens.clock(incident.onset), end=lens.clock(incident.resolved_at))
    measures = ", ".join(w(f"measure.{m}") for m in incident.measures)
    return (
        f'<div class="{css}" role="button" tabindex="0" data-pick="{escape(incident.id)}">'
        f'<div class="top"><span class="{tone}">{_SIGNS[level]} {escape(w(f"incident.level.{level}"))}</span>'
        f'<span class="muted">{escape(incident_text.state_text(incident, lens))}</span></div>'
        f'<div class="who">{escape(title)}</div><div>{escape(measures)}</div>'
        f'<div class="cause">{escape(cause)}</div>'
        f'<div class="muted">{escape(when)}</div></div>'
    )


def key_figures(incident: Incident, boxes: Boxes | None, lens: Lens) -> list[Figure]:
    """How bad it is, in six figures."""
    w, s = lens.words, incident.severity
    after = lens.span(max(0, incident.detected_at - incident.onset))
    share = w("triage.of_traffic", share=lens.percent(s.traffic_share))
    stake = Figure(w("triage.at_stake"), lens.compact(s.at_stake_per_minute), share)
    lost = w("triage.lost", lost=lens.compact(s.lost_minutes))
    return [
        Figure(w("triage.severity"), w(f"incident.level.{s.level}"), incident_text.state_text(incident, lens)),
        stake,
        _boxes_figure(incident, boxes, lens),
        Figure(w("triage.excess"), lens.compact(s.excess_bad), lens.percent(s.excess_ratio)),
        Figure(w("triage.customer_minutes"), fmt.count(s.customer_minutes), lost),
        Figure(w("triage.detection"), after, w("triage.since", time=lens.clock(incident.onset), ago="").rstrip(", ，")),
    ]


def _boxes_figure(incident: Incident, boxes: Boxes | None, lens: Lens) -> Figure:
    w = lens.words
    if incident.devices:
        return Figure(w("triage.boxes_affected"), fmt.count(len(incident.devices)), w("triage.boxes_silent"))
    if boxes is None or not boxes.served:
        return Figure(w("triage.boxes_affected"), "–", w("no_data"))
    return Figure(w("triage.boxes_affected"), fmt.count(boxes.failing), w("triage.boxes_of", n=fmt.count(boxes.served)))


def explore_link(
    incident: Incident, where: Mapping[str, str], lens: Lens, measure: str, threshold: float | None = None
) -> str:
    """The address of Explore with exactly this claim's filter, time and threshold."""
    chosen = {d: (v,) for d, v in where.items() if d != "device"}
    if len(incident.customers) == 1:
        chosen.setdefault("customer", incident.customers)
    if len(incident.services) == 1:
        chosen.setdefault("service", incident.services)
    ask = Ask(measure, (), chosen, (), "line", span_of(incident, lens.now), threshold=threshold)
    return "/explore?" + urlencode({**explore_url.write(ask), "lang": lens.words.language})


def span_of(incident: Incident, now: int) -> tuple[int, int]:
    """The time a chart of it shows: an hour before the onset (half as much as it lasted, if longer) to its end."""
    end = min(now, (incident.resolved_at or now) + 30 * MINUTE_MS)
    end = max(end, incident.newest + MINUTE_MS)
    before = min(max(60 * MINUTE_MS, (end - incident.onset) // 2), 12 * 60 * MINUTE_MS)
    start = max(incident.onset - before, end - 47 * 60 * MINUTE_MS)
    return start - start % MINUTE_MS, end - end % MINUTE_MS


def causes_table(incident: Incident, thresholds: Mapping[str, float], lens: Lens, names: Names) -> str:
    """Ranked causes with the share they explain, both counts, and what selects the same rows. `thresholds`: in force,
    by measure that needs one."""
    w = lens.words
    if not incident.causes:
        verdict = w(f"incident.verdict.{incident.verdict}")
        reason = f'<p class="muted">{escape(incident.reason)}</p>' if incident.reason else ""
        return f'<div class="d"><h2>{escape(w("triage.no_causes", verdict=verdict))}</h2>{reason}</div>'
    heads = [("", ""), (w("triage.share"), "fill"), ("", "num"), (w("triage.bad_expected"), "num")]
    heads += [(w("triage.of"), "num"), ("", "num")]
    rows = [_cause_row(cause, incident, thresholds, lens, names) for cause in incident.causes]
    return f'<div class="d d-causes"><h2>{escape(w("triage.causes"))}</h2>{table(heads, rows)}</div>'


def _cause_row(
    cause: Cause, incident: Incident, thresholds: Mapping[str, float], lens: Lens, names: Names
) -> list[Cell]:
    w = lens.words
    name = escape(incident_text.where_text(cause.where, lens, names))
    notes = [] if cause.answer else [w("triage.candidate")]
    for other in cause.equivalents[:3]:
        exact = not (other.cells_only_in_cause or other.cells_only_in_equivalent)
        key = "triage.same" if exact else "triage.nearly"
        notes.append(w(key, where=incident_text.where_text(other.where, lens, names)))
    under = f'<span class="state muted">{escape("; ".join(notes))}</span>' if notes else ""
    width = max(0.0, min(1.0, cause.share)) * 100
    css = "d-share" if cause.answer else "d-share weak"
    link = escape(explore_link(incident, cause.where, lens, cause.measure, thresholds.get(cause.measure)))
    return [
        Cell(css="cause", html=f"{name}{under}"),
        Cell(css="fill", html=f'<div class="{css}" style="width:{width:.1f}%"></div>'),
        Cell(fmt.percent(max(0.0, cause.share)), "num"),
        Cell(f"{fmt.count(round(cause.bad))} / {lens.compact(cause.expected)}", "num"),
        Cell(fmt.count(round(cause.total)), "num muted"),
        Cell(css="num", html=f'<a href="{link}" target="_self">{escape(w("triage.explore"))}</a>'),
    ]


# ---- the heat map


@dataclass(frozen=True, slots=True)
class Against:
    """A cell: what was bad, what its own past and the overall ratio made expect, of how many."""

    bad: float
    expected: float
    total: int

    @property
    def excess(self) -> float:
        """Bad beyond expectation."""
        return self.bad - self.expected


def against_expected(now: CellAnswer, before: CellAnswer) -> dict[tuple[str, ...], Against]:
    """Each cell against total x (B + k r) / (N + k), with B of N its own past, r the past's overall ratio, and k such
    that the prior weighs PRIOR_EVENTS bad events: the mean of a gamma posterior (Gelman et al., Bayesian Data Analysis,
    3rd edition, section 2.6). Without a past, nothing is expected of anybody and the map shows plain counts."""
    bad_before, of_before = _sums(before)
    r = sum(bad_before.values()) / (sum(of_before.values()) or 1)
    k = PRIOR_EVENTS / r if r > 0 else 0.0
    bad, of = _sums(now)
    found = {}
    for key, total in of.items():
        past = of_before.get(key, 0) + k
        ratio = (bad_before.get(key, 0.0) + k * r) / past if past > 0 else r
        found[key] = Against(bad[key], total * ratio, total)
    return found


def _sums(answer: CellAnswer) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], int]]:
    bad: dict[tuple[str, ...], float] = {}
    of: dict[tuple[str, ...], int] = {}
    for key, value, total in zip(answer.keys, answer.value, answer.total, strict=True):
        bad[key] = bad.get(key, 0.0) + value
        of[key] = of.get(key, 0) + total
    return bad, of


def heat_map(cells: Mapping[tuple[str, ...], Against], by: tuple[str, str], lens: Lens, most: int = 12) -> str:
    """Rows and columns with the most excess; each cell says how many times the expected and can be picked."""
    down, across = (_by_excess(cells, n)[:most] for n in (0, 1))
    top = max((a.excess for a in cells.values()), default=0.0)
    head = "".join(f"<th>{escape(name or '–')}</th>" for name in across)
    body = ""
    for y in down:
        body += f"<tr><th>{escape(y or '–')}</th>"
        body += "".join(_heat_cell(cells.get((y, x)), by, (y, x), top, lens) for x in across) + "</tr>"
    note = escape(lens.words("triage.heat_note"))
    return f'<div class="d d-heat"><table><tr><th></th>{head}</tr>{body}</table><p class="d-sub">{note}</p></div>'


def _heat_cell(found: Against | None, by: tuple[str, str], key: tuple[str, str], top: float, lens: Lens) -> str:
    if found is None:
        return '<td class="none"></td>'
    strength = max(0.0, found.excess) / top if top > 0 else 0.0
    colour = alpha(lens.colours.accent, 0.05 + 0.7 * strength)
    text = (
        f"{fmt.significant(found.bad / found.expected, 2)}×" if found.expected >= 0.5 else fmt.count(round(found.bad))
    )
    counts = {"bad": fmt.count(round(found.bad)), "expected": lens.compact(found.expected)}
    hover = lens.words("triage.heat_hover", total=fmt.count(found.total), **counts)
    pick = explore_url.write_where({d: (v,) for d, v in zip(by, key, strict=True)})
    return (
        f'<td role="button" tabindex="0" style="background:{colour}" title="{escape(hover)}"'
        f' data-pick="{escape(pick)}">{text}</td>'
    )


def _by_excess(cells: Mapping[tuple[str, ...], Against], n: int) -> list[str]:
    size: dict[str, float] = {}
    for key, found in cells.items():
        size[key[n]] = size.get(key[n], 0.0) + max(0.0, found.excess)
    return sorted(size, key=lambda value: (-size[value], value))


# ---- tables


def series_table(incident: Incident, lens: Lens, names: Names) -> str:
    """Customers, services and measures it hit, with both counts and what is usual."""
    w = lens.words
    heads = [(w("column.customer"), ""), (w("dim.service"), ""), (w("triage.column.measure"), ""), ("", "num")]
    heads += [(w("triage.bad_expected"), "num"), (w("triage.of"), "num"), (w("triage.column.since"), "num")]
    rows = [
        [
            Cell(names.get(s.customer, s.customer)),
            Cell(s.service),
            Cell(w(f"measure.{s.measure}")),
            Cell(lens.percent(s.bad / s.total if s.total else None), "num"),
            Cell(f"{fmt.count(round(s.bad))} / {lens.compact(s.expected)}", "num"),
            Cell(fmt.count(round(s.total)), "num muted"),
            Cell(lens.clock(s.onset), "num muted"),
        ]
        for s in sorted(incident.series, key=lambda s: s.expected - s.bad)
    ]
    boxes = ""
    if incident.devices:
        boxes = f'<p class="d-sub">{escape(w("triage.boxes", names=", ".join(incident.devices)))}</p>'
    body = table(heads, rows, scroll=len(rows) > 12) if rows else ""
    known = [_BASELINES.index(s.baseline) for s in incident.series if s.baseline in _BASELINES]
    usual = f'<p class="d-sub">{escape(w(f"triage.baseline.{_BASELINES[min(known)]}"))}</p>' if known else ""
    return f'<div class="d"><h2>{escape(w("triage.affected"))}</h2>{body}{usual}{boxes}</div>'


def changes_table(incident: Incident, notes: Mapping[str, tuple[str, str]], lens: Lens, names: Names) -> str:
    """Changes that fit, best first. `notes`: author and note by id."""
    w = lens.words
    head = f"<h2>{escape(w('triage.changes'))}</h2>"
    if not incident.changes:
        return f'<div class="d">{head}<p class="muted">{escape(w("triage.no_changes"))}</p></div>'
    rows = []
    for change in incident.changes:
        author, note = notes.get(change.id, ("", ""))
        rows.append(
            [
                Cell(w(f"kind.{change.kind}"), title=change.id),
                Cell(incident_text.where_text(change.scope, lens, names)),
                Cell(w("triage.before", span=lens.span(max(0, change.delay_ms))), "num"),
                Cell(w(f"triage.relation.{change.relation}"), "muted"),
                Cell(" · ".join(part for part in (author, note) if part), "muted"),
            ]
        )
    return f'<div class="d">{head}{table([("", "")] * 5, rows)}</div>'


def exemplars_table(found: Sequence[Exemplar], lens: Lens) -> str:
    """Single requests of the affected traffic, failed ones first."""
    w = lens.words
    head = f"<h2>{escape(w('triage.exemplars'))}</h2>"
    if not found:
        return f'<div class="d">{head}<p class="muted">{escape(w("triage.no_exemplars"))}</p></div>'
    heads = [(w("triage.column.time"), ""), (w("dim.device"), ""), (w("dim.client_isp"), "")]
    heads += [(w("dim.sched_rule"), ""), (w("triage.column.path"), "")]
    heads += [(w("triage.column.status"), "num"), (w("triage.column.latency"), "num"), (w("triage.column.failure"), "")]
    rows = [
        [
            Cell(lens.clock(e.at, seconds=True)), Cell(e.device, "mono"),
            Cell(f"{e.client_isp}, {e.client_region}"), Cell(e.sched_rule), Cell(e.path_hash, "mono"),
            Cell(str(e.status), "num"), Cell(fmt.milliseconds(e.latency_ms), "num"), Cell(e.failure),
        ]
        for e in found
    ]  # fmt: skip
    return f'<div class="d">{head}{table(heads, rows)}</div>'


def similar(incident: Incident, past: Sequence[Incident]) -> list[tuple[float, Incident]]:
    """Past incidents that are like one, most alike first: of the same kind, by the Jaccard index of what describes them
    (dimension values of causes and silence, measures, customers), at least a third."""
    mine = _marks(incident)
    found = []
    for other in past:
        if other.id == incident.id or other.kind != incident.kind or other.onset >= incident.onset:
            continue
        theirs = _marks(other)
        alike = len(mine & theirs) / (len(mine | theirs) or 1)
        if alike >= 1 / 3:
            found.append((alike, other))
    return sorted(found, key=lambda pair: (-pair[0], -pair[1].onset))[:MOST_SIMILAR]


def _marks(incident: Incident) -> set[tuple[str, str]]:
    answers = [cause.where for cause in incident.causes if cause.answer] or [incident.where]
    marks = {item for where in answers for item in where.items()}
    marks |= {("measure", m) for m in incident.measures}
    return marks | {("customer", c) for c in incident.customers[:20]}


def similar_table(found: Sequence[tuple[float, Incident]], lens: Lens, names: Names) -> str:
    """Similar incidents and how they ended; a click opens one."""
    w = lens.words
    head = f"<h2>{escape(w('triage.similar'))}</h2>"
    if not found:
        return f'<div class="d">{head}<p class="muted">{escape(w("triage.no_similar"))}</p></div>'
    lines = "".join(
        f'<li role="button" tabindex="0" data-pick="{escape(i.id)}"><b>{escape(lens.clock(i.onset))}</b> '
        f"{escape(incident_text.cause_text(i, lens, names) or incident_text.kind_text(i, lens))}"
        f' <span class="muted">· {escape(incident_text.ended_text(i, lens, names))}</span></li>'
        for _, i in found
    )
    return f'<div class="d d-similar">{head}<ul>{lines}</ul></div>'


def history_list(incident: Incident, lens: Lens) -> str:
    """Every line of its history: who, when, what, why; newest first."""
    w = lens.words
    lines = "".join(
        f"<li><b>{escape(w(f'verb.{line.verb}'))}</b> {escape(line.text)} "
        f'<span class="muted">{escape(w("triage.by", author=line.author, time=lens.clock(line.at)))}</span></li>'
        for line in reversed(incident.history)
    )
    return f'<div class="d"><h2>{escape(w("triage.history"))}</h2><ul class="d-done">{lines}</ul></div>'
