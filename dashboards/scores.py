"""The page on health scores: sentence, figures, distribution, boxes, budget, one box's story. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from contracts.health import DRAIN, REASONS, REDUCE, SERVE, STATES, BudgetState, Reason, Score
from contracts.health import Cell as BudgetCell
from contracts.times import MINUTE_MS
from dashboards import format as fmt
from dashboards.context import ScoreChange
from dashboards.explore_figures import base_layout, time_axis
from dashboards.incident_text import Names
from dashboards.lens import Lens
from dashboards.markup import Cell, Figure, cell, table
from dashboards.style import alpha
from history.query_box import BoxStory

BINS = 20
BOXES_SHOWN = 60
CELLS_SHOWN = 15
STRATA_SHOWN = 15
HEIGHT = 210
STORY_HEIGHT = 260
_SIGNS = {DRAIN: "▼", REDUCE: "▽", SERVE: ""}
_RATIOS = ("_ratio", "share", "allowed")  # endings of names of numbers that are shares


@dataclass(frozen=True, slots=True)
class Summary:
    """All scores together: boxes by state, mean value (None: no box), boxes per bin of the value and state; `expired`:
    boxes whose score did, in none of these; newest computation and when it expires (ms UTC)."""

    boxes: int
    states: dict[str, int]
    expired: int
    mean: float | None
    bins: dict[str, list[int]]
    computed_at: int
    expires_at: int


def summary(scores: Sequence[Score], now: int) -> Summary:
    """Of at least one score, at a time in ms UTC."""
    states = dict.fromkeys(STATES, 0)
    bins = {state: [0] * BINS for state in STATES}
    live = [s for s in scores if not s.expired(now)]
    for s in live:
        states[s.state] += 1
        bins[s.state][min(BINS - 1, int(s.value * BINS))] += 1
    newest = max(scores, key=lambda s: s.computed_at)
    expired = len(scores) - len(live)
    return Summary(len(live), states, expired, _mean(live), bins, newest.computed_at, newest.expires_at)


def _mean(scores: Sequence[Score]) -> float | None:
    return sum(s.value for s in scores) / len(scores) if scores else None


def sentence(found: Summary, budget: BudgetState | None, lens: Lens) -> str:
    """What is removed; or that nothing of it is valid any more."""
    w = lens.words
    if not found.boxes:
        return w("scores.expired", span=lens.span(lens.now - found.computed_at))
    counts = {name: fmt.count(found.states[name]) for name in (REDUCE, DRAIN)}
    removed = found.states[REDUCE] + found.states[DRAIN]
    boxes = fmt.count(found.boxes)
    parts = [w("scores.removed", boxes=boxes, **counts) if removed else w("scores.none_removed", boxes=boxes)]
    if budget is not None and budget.kept:
        parts.append(w("scores.kept", n=budget.kept))
    if found.expired:
        parts.append(w("scores.absent", n=fmt.count(found.expired)))
    return w("sentence.join").join(parts)


def key_figures(found: Summary, budget: BudgetState | None, lens: Lens) -> list[Figure]:
    """How many boxes are how."""
    w = lens.words
    age = max(0, lens.now - found.computed_at)
    late = "amber" if lens.now > found.expires_at else ""
    mean = "–" if found.mean is None else fmt.significant(found.mean)
    figures = [Figure(w("scores.figure.boxes"), fmt.count(found.boxes), w("scores.figure.mean", value=mean))]
    for state in (REDUCE, DRAIN):
        share = w(
            "scores.figure.of_boxes", share=lens.percent(found.states[state] / found.boxes if found.boxes else None)
        )
        figures.append(Figure(w(f"scores.figure.{state}"), fmt.count(found.states[state]), share))
    if budget is not None:
        exhausted = sum(c.exhausted for c in budget.cells)
        note = w("scores.figure.kept_note", n=exhausted)
        figures.append(Figure(w("scores.figure.kept"), fmt.count(budget.kept), note))
    valid = lens.span(found.expires_at - found.computed_at)
    figures.append(Figure(w("scores.figure.age"), lens.span(age), w("scores.figure.age_note", span=valid), late))
    return figures


def distribution_title(found: Summary, lens: Lens) -> str:
    """What the histogram shows."""
    if not found.boxes:
        return lens.words("scores.distribution_none")
    good = sum(sum(counts[-BINS // 10 :]) for counts in found.bins.values())
    return lens.words("scores.distribution", share=lens.percent(good / found.boxes))


def distribution_figure(found: Summary, lens: Lens) -> dict[str, Any]:
    """Boxes per twentieth of the value, by state; each bar has its count."""
    c, w = lens.colours, lens.words
    fills = {SERVE: c.accent_3, REDUCE: c.accent_2, DRAIN: c.text}
    x = [(i + 0.5) / BINS for i in range(BINS)]
    traces = []
    for state in STATES:
        counts = found.bins[state]
        said = [f"{i / BINS:g}–{(i + 1) / BINS:g}: {fmt.count(n)}" for i, n in enumerate(counts)]
        traces.append(
            {"type": "bar", "x": x, "y": counts, "width": 0.9 / BINS, "name": w(f"score.state.{state}"),
             "marker": {"color": fills[state]}, "customdata": said, "hovertemplate": "%{customdata}"}
        )  # fmt: skip
    sums = [sum(found.bins[s][i] for s in STATES) for i in range(BINS)]
    small = {"size": 11, "color": c.muted}
    notes = [
        {"x": x[i], "y": n, "text": fmt.count(n), "showarrow": False, "yanchor": "bottom", "font": small}
        for i, n in enumerate(sums) if n
    ]  # fmt: skip
    axis = {"gridcolor": c.grid, "linecolor": c.line, "zerolinecolor": c.line, "tickfont": small}
    title = {"font": small, "standoff": 8}
    layout = {
        **base_layout(lens, HEIGHT),
        "barmode": "stack",
        "margin": {"l": 60, "r": 14, "t": 22, "b": 42},
        "xaxis": {**axis, "range": [0, 1], "dtick": 0.1, "title": {"text": w("scores.axis.value"), **title}},
        "yaxis": {**axis, "range": [0, 1.12 * max(1, *sums)], "title": {"text": w("scores.axis.boxes"), **title}},
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"size": 12, "color": c.text}},
        "annotations": notes,
        "uirevision": "scores",
    }
    return {"data": traces, "layout": layout}


# ---- boxes


def reason_text(reason: Reason, lens: Lens) -> str:
    """A reason in the viewer's language, with its numbers."""
    numbers = {
        name: fmt.promise(value) if name.endswith(_RATIOS) else _number(value, lens)
        for name, value in zip(REASONS[reason.code], reason.numbers, strict=True)
    }
    if reason.code == "failures":  # there `ratio` is how many times, and counts are whole
        numbers["ratio"] = _number(reason.numbers[REASONS[reason.code].index("ratio")], lens)
    return lens.words(f"reason.{reason.code}", **numbers)


def _value(value: float) -> str:
    """A score, to hundredths."""
    return fmt.grouped(value, 2)


def _number(value: float, lens: Lens) -> str:
    """A count or measurement in words: whole from 100 on, else two digits."""
    return lens.compact(value) if value >= 100 else fmt.significant(value, 2)


def removed(scores: Sequence[Score], now: int) -> list[Score]:
    """Boxes that get less than their usual traffic, and those only the budget keeps, worst first; expired scores
    remove nobody."""
    rank = {state: n for n, state in enumerate((DRAIN, REDUCE, SERVE))}
    chosen = [s for s in scores if s.state != SERVE or any(r.code == "budget" for r in s.reasons)]
    return sorted((s for s in chosen if not s.expired(now)), key=lambda s: (rank[s.state], s.value, s.device))


def boxes_table(scores: Sequence[Score], chosen: str, lens: Lens) -> str:
    """Those boxes with their reasons; a click chooses one."""
    w = lens.words
    found = removed(scores, lens.now)
    title = f"<h2>{escape(w('scores.boxes'))}</h2>"
    if not found:
        return f'<div class="d">{title}<p class="d-sub">{escape(w("scores.boxes_none"))}</p></div>'
    heads = [("", ""), (w("column.box"), ""), (w("scores.column.state"), ""), (w("scores.column.value"), "num")]
    heads += [(w("scores.column.share"), "num"), (w("scores.column.why"), "")]
    heads += [(w("column.isp"), ""), (w("column.region"), ""), (w("data.column.model"), "")]
    head = "".join(f'<th class="{css}">{escape(text)}</th>' for text, css in heads)
    body = "".join(_box_row(s, chosen, lens) for s in found[:BOXES_SHOWN])
    shown = f'<table class="dense"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    more = len(found) - BOXES_SHOWN
    note = f'<p class="d-sub">{escape(w("scores.boxes_more", more=fmt.count(more)))}</p>' if more > 0 else ""
    return f'<div class="d d-rules">{title}<div class="scroll">{shown}</div>{note}</div>'


def _box_row(s: Score, chosen: str, lens: Lens) -> str:
    w = lens.words
    reasons = w("list.join").join(reason_text(r, lens) for r in s.reasons) or "–"
    cells = [
        Cell(_SIGNS[s.state], "sign"),
        Cell(s.device, "mono"),
        Cell(w(f"score.state.{s.state}"), "nowrap"),
        Cell(_value(s.value), "num", f"{_value(s.low)} – {_value(s.high)}"),
        Cell(fmt.percent(s.share), "num", w("scores.share_help")),
        Cell(reasons, "wrap"),
        Cell(s.box.get("device_isp", ""), "nowrap"),
        Cell(s.box.get("device_region", ""), "nowrap"),
        Cell(s.box.get("model", "")),
    ]
    css = " on" if s.device == chosen else ""
    row = "".join(cell(c) for c in cells)
    return f'<tr class="row{css}" role="button" tabindex="0" data-pick="{escape(s.device)}">{row}</tr>'


# ---- budget and strata


def budget_table(budget: BudgetState | None, lens: Lens, names: Names) -> str:
    """How much of what may be removed is, the fullest cells first."""
    w = lens.words
    title = f"<h2>{escape(w('scores.budget'))}</h2>"
    if budget is None or not budget.cells:
        return f'<div class="d">{title}<p class="d-sub">{escape(w("scores.budget_none"))}</p></div>'
    heads = [(w("scores.column.cell"), ""), ("", "fill"), (w("scores.column.used"), "num")]
    heads.append((w("scores.column.wanted"), "num"))
    cells = sorted(budget.cells, key=lambda c: (-_fullness(c), -c.wanted, sorted(c.where.items())))
    rows = [_budget_row(c, lens, names) for c in cells[:CELLS_SHOWN]]
    more = len(budget.cells) + budget.more - len(rows)
    note = f'<p class="d-sub">{escape(w("scores.budget_more", more=fmt.count(more)))}</p>' if more > 0 else ""
    return f'<div class="d">{title}{table(heads, rows)}{note}</div>'


def _fullness(c: BudgetCell) -> float:
    return c.used / c.allowed if c.allowed > 0 else 2.0 if c.wanted > 0 else 0.0


def _budget_row(c: BudgetCell, lens: Lens, names: Names) -> list[Cell]:
    w = lens.words
    where = [c.where.get("device_region", ""), c.where.get("device_isp", "")]
    customer = c.where.get("customer", "")
    where.append(names.get(customer, customer))
    shown = ", ".join(part for part in where if part) or w("scores.everywhere")
    figures = {
        name: lens.percent(value) for name, value in (("used", c.used), ("allowed", c.allowed), ("wanted", c.wanted))
    }
    hover = w("scores.budget_hover", boxes=fmt.count(c.boxes), **figures)
    width = max(0.0, min(1.0, _fullness(c))) * 100
    bar = f'<div class="d-budget"><div class="d-bar" style="width:{width:.1f}%"></div></div>'
    wanted = figures["wanted"] + (f" · {w('scores.exhausted')}" if c.exhausted else "")
    return [
        Cell(shown, "", hover),
        Cell(css="fill", html=bar),
        Cell(f"{figures['used']} / {figures['allowed']}", "num", hover),
        Cell(wanted, "num amber" if c.exhausted else "num muted", hover),
    ]


def strata_table(scores: Sequence[Score], lens: Lens) -> str:
    """Boxes by region and ISP; those whose score expired are counted apart."""
    w = lens.words
    groups: dict[tuple[str, str], list[Score]] = {}
    expired: Counter[tuple[str, str]] = Counter()
    for s in scores:
        place = (s.box.get("device_region", ""), s.box.get("device_isp", ""))
        members = groups.setdefault(place, [])
        if s.expired(lens.now):
            expired[place] += 1
        else:
            members.append(s)

    def out(members: Sequence[Score]) -> int:
        return sum(s.state != SERVE for s in members)

    ranked = sorted(groups.items(), key=lambda item: (-out(item[1]), -len(item[1]), item[0]))
    heads = [(w("column.region"), ""), (w("column.isp"), ""), (w("scores.column.boxes"), "num")]
    names = ("scores.figure.reduce", "scores.figure.drain", "scores.column.expired", "scores.column.mean")
    heads += [(w(name), "num") for name in names]
    rows = []
    for (region, isp), members in ranked[:STRATA_SHOWN]:
        counts = [*(sum(s.state == state for s in members) for state in (REDUCE, DRAIN)), expired[region, isp]]
        mean = _mean(members)
        rows.append(
            [
                Cell(region or "–"),
                Cell(isp or "–"),
                Cell(fmt.count(len(members)), "num"),
                *(Cell(fmt.count(n), "num" if n else "num muted") for n in counts),
                Cell("–" if mean is None else fmt.significant(mean, 2), "num"),
            ]
        )
    return f'<div class="d"><h2>{escape(w("scores.strata"))}</h2>{table(heads, rows)}</div>'


# ---- one box


def box_head(s: Score, lens: Lens) -> str:
    """A box's score in words."""
    w = lens.words
    value = {name: _value(v) for name, v in (("value", s.value), ("low", s.low), ("high", s.high))}
    state = w(f"score.state.{s.state}")
    title = w("scores.box", device=s.device, state=state, **value)
    if s.expired(lens.now):
        title = w("scores.box_expired", device=s.device, state=state, span=lens.span(lens.now - s.expires_at), **value)
    place = w(
        "scores.box_place",
        model=s.box.get("model", "–"),
        isp=s.box.get("device_isp", "–"),
        region=s.box.get("device_region", "–"),
    )
    counts = {"failures": lens.compact(s.failures), "requests": lens.compact(s.requests)}
    evidence = w("scores.box_evidence", expected=lens.compact(s.expected), **counts)
    reasons = "".join(f"<li>{escape(reason_text(r, lens))}</li>" for r in s.reasons)
    sub = f'<p class="d-sub"><span>{escape(place)}</span><span>{escape(evidence)}</span></p>'
    return f'<div class="d"><h2>{escape(title)}</h2>{sub}<ul class="d-done">{reasons}</ul></div>'


def story_title(device: str, story: BoxStory, span_ms: int, lens: Lens) -> str:
    """What the chart of a box shows."""
    requests = sum(story.requests)
    if not requests:
        return lens.words("scores.box_silent", device=device)
    ratio = lens.percent(sum(story.failures) / requests)
    return lens.words("scores.box_over_time", device=device, span=lens.span(span_ms), ratio=ratio)


def story_figure(
    device: str, story: BoxStory, changes: Sequence[ScoreChange], span: tuple[int, int], lens: Lens
) -> dict[str, Any]:
    """Failure ratio and requests per minute; changes of its state marked; a minute without a report breaks them."""
    c, w = lens.colours, lens.words
    rows = {minute: n for n, minute in enumerate(story.minute)}
    x, ratio, rate, hover = [], [], [], []
    for minute in range(span[0], span[1], MINUTE_MS):
        n = rows.get(minute)
        x.append(fmt.local(minute, lens.zone).isoformat())
        requests, failures = (story.requests[n], story.failures[n]) if n is not None else (0, 0)
        ratio.append(failures / requests * 100 if requests else None)
        rate.append(requests if n is not None else None)
        counts = w("hover.bad_of", failures=fmt.count(failures), requests=fmt.count(requests))
        hover.append(counts if n is not None else w("no_data"))
    shapes, notes = [], []
    before = SERVE
    for change in reversed(changes):
        same, before = change.state == before, change.state
        if same or not span[0] <= change.at < span[1]:
            continue
        at = fmt.local(change.at, lens.zone).isoformat()
        line = {"color": c.text, "width": 1, "dash": "dot"}
        shapes.append({"type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1, "line": line})
        text = w(f"score.state.{change.state}")
        height = 1 + 0.08 * (len(notes) % 2)
        notes.append({"x": at, "yref": "paper", "y": height, "text": text, "showarrow": False, "xanchor": "left",
                      "yanchor": "bottom", "font": {"size": 11, "color": c.text}})  # fmt: skip
    small = {"size": 11, "color": c.muted}
    axis = {"gridcolor": c.grid, "linecolor": c.line, "zerolinecolor": c.line, "tickfont": small}
    title = {"font": small, "standoff": 8}
    drawn = {"type": "scatter", "mode": "lines", "x": x, "connectgaps": False}
    return {
        "data": [
            {**drawn, "y": rate, "yaxis": "y2", "name": w("axis.traffic"), "hoverinfo": "skip",
             "line": {"color": c.accent_2, "width": 1.0}, "fill": "tozeroy", "fillcolor": alpha(c.accent, 0.1)},
            {**drawn, "y": ratio, "name": w("trace.failing"), "line": {"color": c.accent, "width": 1.8},
             "customdata": hover, "hovertemplate": "%{y:.3g}% (%{customdata})"},
        ],
        "layout": {
            **base_layout(lens, STORY_HEIGHT),
            "hovermode": "x unified",
            "margin": {"l": 60, "r": 60, "t": 40, "b": 46},
            "xaxis": time_axis(lens),
            "yaxis": {**axis, "rangemode": "tozero", "title": {"text": w("axis.failing"), **title}},
            "yaxis2": {**axis, "rangemode": "tozero", "overlaying": "y", "side": "right", "showgrid": False,
                       "tickmode": "auto", "nticks": 4, "title": {"text": w("axis.traffic"), **title}},
            "showlegend": False,
            "shapes": shapes,
            "annotations": notes,
            "uirevision": device,
        },
    }  # fmt: skip


def changes_list(changes: Sequence[ScoreChange], lens: Lens) -> str:
    """What became of a box's score, newest first."""
    w = lens.words
    title = f"<h2>{escape(w('scores.box_history'))}</h2>"
    if not changes:
        return f'<div class="d">{title}<p class="d-sub">{escape(w("scores.box_calm"))}</p></div>'
    heads = [(w("column.when"), ""), (w("scores.column.state"), ""), (w("scores.column.value"), "num")]
    heads.append((w("scores.column.share"), "num"))
    rows = [
        [
            Cell(lens.clock(change.at)),
            Cell(f"{_SIGNS[change.state]} {w(f'score.state.{change.state}')}".strip()),
            Cell(_value(change.value), "num"),
            Cell(fmt.percent(change.share), "num"),
        ]
        for change in changes
    ]
    return f'<div class="d">{title}{table(heads, rows, scroll=len(rows) > 10)}</div>'


def vitals_table(story: BoxStory, lens: Lens) -> str:
    """A box's newest vital signs."""
    w = lens.words
    if story.vitals_at is None:
        return f'<div class="d"><p class="d-sub">{escape(w("scores.vitals_none"))}</p></div>'
    title = f"<h2>{escape(w('scores.vitals', time=lens.clock(story.vitals_at, seconds=True)))}</h2>"
    rows = [[Cell(w(f"vital.{name}")), Cell(_vital(name, value, lens), "num")] for name, value in story.vitals.items()]
    return f'<div class="d">{title}{table([("", ""), ("", "num")], rows)}</div>'


def _vital(name: str, value: float | None, lens: Lens) -> str:
    if value is None:
        return lens.words("no_data")
    if name.endswith("_ratio"):
        return lens.percent(value)
    return lens.span(value * 1000) if name == "uptime_s" else lens.compact(value)
