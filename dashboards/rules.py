"""The page on scheduling rules: sentence, table with intervals, versions, and the chart of one rule. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import urlencode

from contracts.entities import Change, SchedulingRule
from contracts.times import HOUR_MS, MINUTE_MS
from dashboards import explore_url
from dashboards import format as fmt
from dashboards.explore_figures import base_layout, time_axis
from dashboards.explore_url import Ask
from dashboards.lens import Lens
from dashboards.markup import Cell, cell, table
from dashboards.matched import Finding, Match, Step
from dashboards.style import alpha
from history.query_cells import CellQuestion
from history.query_rules import rule_of

ROWS = 200
HEIGHT = 300
AROUND_MS = HOUR_MS  # compared before and after a change
LEAST_AROUND_MS = 5 * MINUTE_MS
MOST_CHANGES = 8
_REACH = math.log(4)  # ends of the scale of intervals
_SIGNS = {Finding.WORSE: "▲", Finding.BETTER: "▽", Finding.ALIKE: "="}

Rules = Mapping[str, SchedulingRule]


def newest_versions(rules: Sequence[SchedulingRule]) -> dict[str, SchedulingRule]:
    """The newest version of each rule, by id."""
    newest: dict[str, SchedulingRule] = {}
    for rule in rules:
        if rule.id not in newest or rule.version > newest[rule.id].version:
            newest[rule.id] = rule
    return newest


def name_of(rule: str, rules: Rules) -> str:
    """A rule's name with its id."""
    known = rules.get(rule)
    return rule if known is None or known.name in ("", rule) else f"{known.name} ({rule})"


def sentence(found: Sequence[Match], measure: str, lens: Lens) -> str:
    """What rules did, the worst of them by name."""
    w = lens.words
    if not found:
        return w("rules.empty")
    worse = [m for m in found if m.finding is Finding.WORSE]
    unknown = sum(not m.finding.known for m in found)
    parts = [w("rules.none_worse")]
    if worse:
        first = worse[0]
        parts = [
            w(
                "rules.worse",
                n=len(worse),
                name=first.rule,
                times=times(first.ratio),
                low=times(first.low),
                high=times(first.high),
                measure=_inside(w(f"measure.{measure}"), lens),
            )
        ]
        if first.added:
            parts.append(w("rules.added"))
    if unknown:
        parts.append(w("rules.unknown", n=unknown))
    return w("sentence.join").join(parts)


def _inside(name: str, lens: Lens) -> str:
    return name[:1].lower() + name[1:] if lens.words.language == "en" else name


def times(ratio: float | None) -> str:
    """How many times: two significant digits below ten."""
    if ratio is None or not math.isfinite(ratio) or ratio > 1e4:
        return "∞" if ratio is not None else "–"
    return fmt.significant(ratio, 3 if ratio >= 0.995 else 2)


# ---- all rules


def rules_table(found: Sequence[Match], chosen: str, rules: Rules, lens: Lens) -> str:
    """One row per rule; a click chooses it."""
    w = lens.words
    heads = [("", ""), (w("rules.column.rule"), ""), (w("rules.column.finding"), "")]
    heads += [(w("rules.column.ratio"), "num"), (w("rules.column.interval"), "interval")]
    heads += [(w("rules.column.own"), "num"), (w("rules.column.others"), "num"), (w("rules.column.excess"), "num")]
    heads += [(w("rules.column.matched"), "num"), (w("rules.column.places"), "num")]
    head = "".join(f'<th class="{css}">{escape(text)}</th>' for text, css in heads)
    body = "".join(_row(m, chosen, rules, lens) for m in found[:ROWS])
    title = f'<h2>{escape(w("rules.table"))}</h2><p class="d-sub">{escape(w("rules.legend"))}</p>'
    shown = f'<table class="dense"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    note = f'<p class="d-sub">{escape(w("rules.note"))}</p>'
    return f'<div class="d d-rules">{title}<div class="scroll">{shown}</div>{note}</div>'


def _row(m: Match, chosen: str, rules: Rules, lens: Lens) -> str:
    w = lens.words
    own = m.bad / m.requests if m.requests else None
    others = m.others_rate
    known = rules.get(m.rule)
    owner = w("rules.owner", owner=known.owner) if known is not None and known.owner else ""
    name = known.name if known is not None and known.name else m.rule
    under = " · ".join(part for part in (m.rule if name != m.rule else "", owner) if part)
    own_counts = w("rules.own_hover", bad=fmt.count(m.bad), total=fmt.count(m.requests))
    weights = {"weighted": lens.compact(m.weighted), "own": lens.compact(m.others_weighted)}
    counts = {"bad": fmt.count(m.others_bad), "total": fmt.count(m.others_requests)}
    share = m.matched_share
    all_of_it = {"matched": fmt.count(m.requests), "all": fmt.count(m.all_requests)}
    cells = [
        Cell(_SIGNS.get(m.finding, "?"), "sign"),
        Cell(css="who", html=f'{escape(name)}<span class="state muted">{escape(under)}</span>'),
        finding_cell(m.finding, lens),
        Cell(times(m.ratio), "num strong" if m.finding.known else "num muted", w("rules.added") if m.added else ""),
        Cell(css="interval", html=interval(m)),
        Cell(lens.percent(own) if own is not None else "–", "num", own_counts),
        Cell(lens.percent(others) if others is not None else "–", "num", w("rules.others_hover", **counts, **weights)),
        Cell(lens.compact(m.excess) if m.finding.known else "–", "num", w("rules.excess_help")),
        Cell(lens.percent(share) if share is not None else "–", "num muted", w("rules.matched_help", **all_of_it)),
        Cell(fmt.count(m.places), "num muted"),
    ]
    css = " on" if m.rule == chosen else ""
    row = "".join(cell(c) for c in cells)
    return f'<tr class="row{css}" role="button" tabindex="0" data-pick="{escape(m.rule)}">{row}</tr>'


def finding_cell(finding: Finding, lens: Lens) -> Cell:
    """What is said, and where nothing is, why not."""
    w = lens.words
    if finding.known:
        return Cell(w(f"rules.finding.{finding.value}"), "muted" if finding is Finding.ALIKE else "strong")
    why = f'<span class="state muted nowrap">{escape(w(f"rules.finding.{finding.value}"))}</span>'
    return Cell(css="who muted", html=f"{escape(w('rules.unknown_word'))}{why}")


def interval(m: Match) -> str:
    """The ratio and its interval on a scale of logarithms from a quarter to four times; what lies beyond is cut."""
    if m.ratio is None or m.low is None or m.high is None:
        return '<div class="d-interval none"><i class="one"></i></div>'
    low, at, high = (_place(v) for v in (m.low, m.ratio, m.high))
    css = "" if m.finding.known else " weak"
    hover = f"{times(m.ratio)} ({times(m.low)} – {times(m.high)})"
    return (
        f'<div class="d-interval{css}" role="img" aria-label="{escape(hover)}" title="{escape(hover)}">'
        f'<i class="one"></i>'
        f'<i class="bar" style="left:{low:.1f}%;width:{max(0.5, high - low):.1f}%"></i>'
        f'<i class="dot" style="left:{at:.1f}%"></i></div>'
    )


def _place(ratio: float) -> float:
    """Percent of the scale."""
    log = math.log(ratio) if 0 < ratio < math.inf else math.copysign(_REACH, ratio - 1)
    return 50 + 50 * max(-1.0, min(1.0, log / _REACH))


# ---- one rule


@dataclass(frozen=True, slots=True)
class Around:
    """A change of a rule and the time on its sides that is compared, ms UTC."""

    change: Change
    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def young(self) -> bool:
        """Whether one side is too short to say anything."""
        return min(self.before[1] - self.before[0], self.after[1] - self.after[0]) < LEAST_AROUND_MS


def changes_of(
    rule: str, changes: Sequence[Change], rules: Sequence[SchedulingRule], window: tuple[int, int], lens: Lens
) -> list[Change]:
    """What was done to a rule: its recorded `changes`, and versions that are registered from a time in `window`
    [start, end), ms UTC, without one; oldest first."""
    mine = [
        c for c in changes if c.kind == "scheduling_rule" and rule_of(c.scope.get("sched_rule", "")) == rule
    ]  # fmt: skip
    told = {c.scope.get("sched_rule") for c in mine}
    for version in rules:
        if version.id == rule and version.sched_rule not in told and window[0] <= version.valid_from < window[1]:
            note = lens.words("rules.registered", version=version.version)
            scope = {"sched_rule": version.sched_rule}
            mine.append(
                Change(version.sched_rule, "scheduling_rule", scope, version.valid_from, None, version.owner, "", note)
            )
    return sorted(mine, key=lambda c: c.start)


def around(changes: Sequence[Change], first: int, newest: int) -> list[Around]:
    """The newest MOST_CHANGES with what is compared: up to AROUND_MS on either side, not beyond the neighbours, nor
    before `first` nor after `newest`; newest first."""
    times_ms = [c.start - c.start % MINUTE_MS for c in changes]
    found = []
    for i, change in enumerate(changes):
        at = times_ms[i]
        since = max(at - AROUND_MS, times_ms[i - 1] if i else first)
        until = min(at + AROUND_MS, times_ms[i + 1] if i + 1 < len(changes) else newest, newest)
        found.append(Around(change, (since, at), (at, max(at, until))))
    return found[::-1][:MOST_CHANGES]


def versions_table(found: Sequence[tuple[Around, Step | None]], lens: Lens) -> str:
    """Each change with the rule's ratio against others before and after it."""
    w = lens.words
    title = f"<h2>{escape(w('rules.versions'))}</h2>"
    if not found:
        return f'<div class="d">{title}<p class="d-sub">{escape(w("rules.versions_none"))}</p></div>'
    heads = [(w("column.when"), ""), (w("rules.column.change"), ""), (w("column.who"), "")]
    heads += [(w("rules.column.before"), "num"), (w("rules.column.after"), "num"), (w("rules.column.times"), "num")]
    heads += [("", "interval"), (w("rules.column.finding"), "")]
    rows = [_version_row(one, step, lens) for one, step in found]
    note = f'<p class="d-sub">{escape(w("rules.versions_note"))}</p>'
    return f'<div class="d d-rules">{title}{table(heads, rows)}{note}</div>'


def _version_row(one: Around, step: Step | None, lens: Lens) -> list[Cell]:
    w = lens.words
    change = one.change
    what = " · ".join(part for part in (change.scope.get("sched_rule", ""), change.note) if part)
    cells = [
        Cell(lens.clock(change.start), "", change.reference),
        Cell(what, "wrap"),
        Cell(change.author, "muted"),
    ]
    if step is None:
        why = Cell(w("rules.finding.young"), "muted")
        return [*cells, *(Cell("–", "num muted") for _ in range(3)), Cell(), why]
    strong = step.finding in (Finding.WORSE, Finding.BETTER)
    whole = Match("", 0, 0, 0, 0, 0, 0.0, 0.0, 0, step.finding, step.change, step.low, step.high)
    ends = "" if step.low is None else f"{times(step.low)} – {times(step.high)}"
    said = f'{escape(times(step.change))}<span class="state muted">{escape(ends)}</span>'
    return [
        *cells,
        _side(step.before, one.before, lens),
        _side(step.after, one.after, lens),
        Cell(css="num who strong" if strong else "num who", html=said),
        Cell(css="interval", html=interval(whole)),
        finding_cell(step.finding, lens),
    ]


def _side(m: Match, span: tuple[int, int], lens: Lens) -> Cell:
    counts = {"bad": fmt.count(m.bad), "total": fmt.count(m.requests)}
    counts |= {"others_bad": fmt.count(m.others_bad), "others_total": fmt.count(m.others_requests)}
    hover = lens.words("rules.version_hover", start=lens.clock(span[0]), end=lens.clock(span[1]), **counts)
    if m.added:
        hover += lens.words("sentence.join") + lens.words("rules.added")
    return Cell(times(m.ratio), "num", hover)


def over_time_title(m: Match, rules: Rules, lens: Lens) -> str:
    """What the chart shows."""
    own = m.bad / m.requests if m.requests else None
    name = name_of(m.rule, rules)
    if own is None or m.others_rate is None:
        return lens.words("rules.over_time_alone", name=name)
    return lens.words("rules.over_time", name=name, own=lens.percent(own), others=lens.percent(m.others_rate))


def rule_figure(
    question: CellQuestion, rows: Mapping[str, Sequence[Any]], changes: Sequence[Change], lens: Lens
) -> dict[str, Any]:
    """The rule's ratio per step, that of others on the same traffic dashed, changes marked."""
    c, w = lens.colours, lens.words
    step = question.step_ms or question.end - question.start
    found = {int(i): n for n, i in enumerate(rows["i"])}
    x, own, others, hover, others_hover = [], [], [], [], []
    for i in range(question.steps):
        x.append(fmt.local(question.start + i * step, lens.zone).isoformat())
        n = found.get(i)
        bad, total = (rows["bad"][n], rows["requests"][n]) if n is not None else (0, 0)
        expected = float(rows["expected"][n]) if n is not None else 0.0
        own.append(bad / total * 100 if total else None)
        others.append(expected / total * 100 if total else None)
        hover.append(_hover(bad, total, lens))
        others_hover.append(fmt.percent(expected / total) if total else w("no_data"))
    x.append(fmt.local(question.end, lens.zone).isoformat())
    drawn = {"type": "scatter", "mode": "lines", "x": x, "connectgaps": False, "hovertemplate": "%{customdata}"}
    shapes, notes = _marks(changes, question, lens)
    small = {"size": 11, "color": c.muted}
    axis = {"gridcolor": c.grid, "linecolor": c.line, "zerolinecolor": c.line, "tickfont": small}
    title = {"font": small, "standoff": 8}
    return {
        "data": [
            {**drawn, "name": w("rules.line_others"), "y": [*others, *others[-1:]],
             "customdata": [*others_hover, *others_hover[-1:]],
             "line": {"color": c.text, "width": 1.3, "dash": "dash", "shape": "hv"}},
            {**drawn, "name": w("rules.line"), "y": [*own, *own[-1:]], "customdata": [*hover, *hover[-1:]],
             "line": {"color": c.accent, "width": 1.8, "shape": "hv"}, "fill": "tozeroy",
             "fillcolor": alpha(c.accent, 0.1)},
        ],
        "layout": {
            **base_layout(lens, HEIGHT),
            "hovermode": "x unified",
            "margin": {"l": 60, "r": 14, "t": 30, "b": 46},
            "xaxis": time_axis(lens),
            "yaxis": {**axis, "rangemode": "tozero", "title": {"text": "%", **title}},
            "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom",
                       "font": {"size": 12, "color": c.text}},
            "shapes": shapes,
            "annotations": notes,
            "uirevision": f"{question.start} {question.end} {question.measure}",
        },
    }  # fmt: skip


def _hover(bad: int, total: int, lens: Lens) -> str:
    if not total:
        return lens.words("no_data")
    counts = lens.words("hover.bad_of", failures=fmt.count(bad), requests=fmt.count(total))
    return f"{fmt.percent(bad / total)} ({counts})"


def _marks(changes: Sequence[Change], question: CellQuestion, lens: Lens) -> tuple[list[Any], list[Any]]:
    c = lens.colours
    shapes, notes = [], []
    for change in changes:
        if not question.start <= change.start < question.end:
            continue
        x = fmt.local(change.start, lens.zone).isoformat()
        line = {"color": c.accent, "width": 1, "dash": "dot"}
        shapes.append({"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": line})
        said = " · ".join(part for part in (change.author, change.reference, change.note) if part)
        label = change.scope.get("sched_rule", "▾").partition("@")[2]
        text = f"@{label}" if label else "▾"
        notes.append(
            {"x": x, "yref": "paper", "y": 1.0, "text": text, "showarrow": False, "xanchor": "left",
             "yanchor": "bottom", "font": {"size": 11, "color": c.accent}, "hovertext": said}
        )  # fmt: skip
    return shapes, notes


def explore_link(versions: Sequence[str], question: CellQuestion, lens: Lens) -> str:
    """The address of Explore with a rule's traffic, split by version."""
    where = {"sched_rule": tuple(versions)}
    ask = Ask(question.measure, ("sched_rule",), where, (), "line", (question.start, question.end))
    link = escape("/explore?" + urlencode({**explore_url.write(ask), "lang": lens.words.language}))
    return f'<div class="d"><p><a href="{link}" target="_self">{escape(lens.words("rules.explore"))}</a></p></div>'
