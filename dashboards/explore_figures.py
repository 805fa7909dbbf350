"""The explore page's line and heat map, as plain dicts in Plotly's terms. Pure."""

from __future__ import annotations

from typing import Any

from dashboards import explore
from dashboards import format as fmt
from dashboards.explore import GroupSum, Key
from dashboards.figures import tick_formats
from dashboards.lens import Lens
from dashboards.style import FONT, alpha
from history.query_cells import CellAnswer, CellQuestion

HEIGHT = 430
_DASHES = ("solid", "solid", "dash", "dot", "dash", "dot", "dashdot")


def line_figure(answer: CellAnswer, lens: Lens) -> dict[str, Any]:
    """A line per group, the first in the accent's colour; groups beyond LINES are left out (quantiles) or summed. Of
    groups without any excess the largest are drawn: the ratios of small ones jump about."""
    question = answer.question
    ranked = explore.groups(answer)
    if explore.is_ratio(question):
        ranked.sort(key=lambda g: (g.excess <= 0, -g.excess if g.excess > 0 else -g.total))
    shown = [g.key for g in ranked[: explore.LINES]]
    points: dict[Key, dict[int, GroupSum]] = {key: {} for key in shown}
    rest: dict[int, GroupSum] = {}
    for key, i, value, total in zip(answer.keys, answer.step, answer.value, answer.total, strict=True):
        if key in points:
            points[key][i] = GroupSum(key, value, total)
        elif not explore.is_quantile(question):
            before = rest.get(i, GroupSum((), 0.0, 0))
            rest[i] = GroupSum((), before.value + value, before.total + total)
    c = lens.colours
    colours = (c.accent, c.text, c.muted, c.accent_2, c.accent_2, c.muted, c.faint)
    traces = []
    for n, key in enumerate(shown):
        name = explore.name_of(key) if key else explore.measure_name(question, lens)
        style = {"color": colours[n], "width": 2.0 if n == 0 else 1.3, "dash": _DASHES[n]}
        traces.append(_line(name, points[key], question, lens, style, single=len(shown) == 1))
    if rest:
        style = {"color": c.faint, "width": 1.0, "dash": "dot"}
        traces.append(_line(lens.words("explore.others"), rest, question, lens, style, single=False))
    return {"data": traces, "layout": _line_layout(question, lens)}


def _line(
    name: str, points: dict[int, GroupSum], question: CellQuestion, lens: Lens, style: dict[str, Any], *, single: bool
) -> dict[str, Any]:
    step = question.step_ms or question.end - question.start
    x, y, hover = [], [], []
    for i in range(question.steps):
        start = question.start + i * step
        length = min(step, question.end - start)
        group = points.get(i)
        x.append(fmt.local(start, lens.zone).isoformat())
        y.append(None if group is None else _scaled(group, question, length))
        hover.append("" if group is None else _hover(group, question, lens, length))
    x.append(fmt.local(question.end, lens.zone).isoformat())
    drawn = {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": [*y, *y[-1:]], "connectgaps": False}
    drawn |= {"line": {"shape": "hv", **style}, "customdata": [*hover, *hover[-1:]], "showlegend": not single}
    if single:
        drawn |= {"fill": "tozeroy", "fillcolor": alpha(lens.colours.accent, 0.12)}
    return drawn | {"hovertemplate": "%{customdata}"}


def _scaled(group: GroupSum, question: CellQuestion, length_ms: int) -> float | None:
    """What the axis shows: percent, ms, or a minute's sum."""
    if explore.is_quantile(question):
        return group.value
    if explore.is_ratio(question):
        return None if group.ratio is None else group.ratio * 100
    return group.value * 60_000 / length_ms


def _hover(group: GroupSum, question: CellQuestion, lens: Lens, length_ms: int) -> str:
    text = explore.figure_text(group, question, lens, length_ms)
    if explore.is_ratio(question):
        counts = {"failures": fmt.count(round(group.value)), "requests": fmt.count(group.total)}
        return f"{text} ({lens.words('hover.bad_of', **counts)})"
    return text if not explore.is_quantile(question) else f"{text} (n = {fmt.count(group.total)})"


def _line_layout(question: CellQuestion, lens: Lens) -> dict[str, Any]:
    c = lens.colours
    unit = "%" if explore.is_ratio(question) else "ms" if explore.is_quantile(question) else ""
    axis = {"gridcolor": c.grid, "zerolinecolor": c.line, "linecolor": c.line}
    axis |= {"tickfont": {"color": c.muted, "size": 11}}
    named = unit or lens.words("explore.per_minute")
    return {
        **base_layout(lens, HEIGHT),
        "hovermode": "x unified",
        "xaxis": time_axis(lens),
        "yaxis": {**axis, "rangemode": "tozero", "title": _title(named, lens)},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12, "color": c.text}},
    }


def time_axis(lens: Lens) -> dict[str, Any]:
    """An axis of times in the viewer's zone and language."""
    c = lens.colours
    return {
        "type": "date",
        "gridcolor": c.grid,
        "zerolinecolor": c.line,
        "linecolor": c.line,
        "tickfont": {"color": c.muted, "size": 11},
        "tickformatstops": tick_formats(lens.words.language),
        "title": _title(lens.zone_name(), lens),
    }


def base_layout(lens: Lens, height: int) -> dict[str, Any]:
    """What every figure's layout begins with."""
    c = lens.colours
    label = {"family": FONT, "size": 12, "color": c.text}
    return {
        "template": {},
        "height": height,
        "margin": {"l": 60, "r": 14, "t": 8, "b": 46},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": label,
        "hoverlabel": {"bgcolor": c.panel, "bordercolor": c.line, "font": label},
        "separators": "." + fmt.THIN,
    }


def _title(text: str, lens: Lens) -> dict[str, Any]:
    return {"text": text, "font": {"size": 11, "color": lens.colours.muted}, "standoff": 8}


def heat_figure(answer: CellAnswer, lens: Lens) -> dict[str, Any]:
    """Two dimensions, the largest of each; the deeper, the more. A cell without traffic stays empty."""
    question = answer.question
    cells = {g.key: g for g in explore.groups(answer)}
    down, across = (_largest(cells, n) for n in (0, 1))
    figures = [[cells.get((y, x)) for x in across] for y in down]
    span = question.end - question.start
    z = [[None if g is None else _scaled(g, question, span) for g in row] for row in figures]
    text = [["" if g is None else explore.figure_text(g, question, lens) for g in row] for row in figures]
    hover = [["" if g is None else _hover(g, question, lens, span) for g in row] for row in figures]
    return heat(down, across, z, text, hover, lens)


def heat(
    down: list[str], across: list[str], z: list[list[Any]], text: list[list[str]], hover: list[list[str]], lens: Lens
) -> dict[str, Any]:
    """A heat map of values >= 0 in the accent's colour, deeper for more, with its figures written in."""
    c = lens.colours
    top = max((v for row in z for v in row if v is not None), default=0.0) or 1.0
    trace = {
        "type": "heatmap", "x": across, "y": down, "z": z, "text": text, "customdata": hover,
        "hovertemplate": "%{y} · %{x}<br>%{customdata}<extra></extra>", "hoverongaps": False,
        "colorscale": [[0.0, alpha(c.accent, 0.04)], [1.0, alpha(c.accent, 0.9 if c.dark else 0.75)]],
        "zmin": 0, "zmax": top, "showscale": False, "xgap": 2, "ygap": 2,
        "texttemplate": "%{text}" if len(across) <= 14 else "", "textfont": {"size": 11, "color": c.text},
    }  # fmt: skip
    axis = {"type": "category", "tickfont": {"color": c.muted, "size": 11}, "showgrid": False, "automargin": True}
    layout = base_layout(lens, max(200, 70 + 26 * len(down)))
    layout |= {"xaxis": {**axis, "side": "bottom"}, "yaxis": {**axis, "autorange": "reversed"}}
    return {"data": [trace], "layout": layout}


def _largest(cells: dict[Key, GroupSum], n: int) -> list[str]:
    size: dict[str, float] = {}
    for key, group in cells.items():
        size[key[n]] = size.get(key[n], 0.0) + (group.total or group.value)
    return sorted(sorted(size, key=lambda v: -size[v])[: explore.HEAT])
