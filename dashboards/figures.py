"""The customer's chart: four panels on one time axis, so that zooming one zooms all. Pure: data in, figure out.

A figure is put together as plain dicts in Plotly's own terms and checked by Plotly once, at the end: adding traces and
annotations to its Python classes one by one takes ten times as long (95 ms against 10 ms).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboards import format as fmt
from dashboards.customer import CustomerView, Titles, marker_hover
from dashboards.lens import Lens
from dashboards.model import STATUS_CLASSES, Steps
from dashboards.style import FONT, alpha
from dashboards.verdicts import empty_spans, unmeasured_spans

Trace = dict[str, Any]

HEIGHT = 676
# Vertical room of the panels, top to bottom, as shares of the plot; the gaps hold their titles.
_DOMAINS = {"y": (0.755, 0.965), "y2": (0.505, 0.685), "y3": (0.305, 0.435), "y4": (0.0, 0.235)}
_LATENCIES = ("p50", "p95", "p99")


def customer_figure(view: CustomerView, titles: Titles, lens: Lens, revision: str = "") -> dict[str, Any]:
    """Failure ratio with the objective, latency quantiles, coverage, traffic by response class; unmeasured spans
    hatched in amber, empty ones in grey, changes as marked lines. A zoom lasts as long as `revision` stays."""
    # Steps are drawn as steps; the last value is repeated where it ends.
    times = [fmt.local(t, lens.zone).isoformat() for t in (*view.steps.start, view.steps.until)]
    steps = view.steps
    traces = [
        *_span_traces(steps, lens),
        *_failure_traces(view, times, lens),
        *_latency_traces(steps, times, lens),
        *_coverage_traces(steps, times, lens),
        *_traffic_traces(steps, times, lens),
    ]
    shapes, annotations = [], _titles(titles, lens)
    if view.limit is not None:
        line, label = _objective(view.limit, lens)
        shapes.append(line)
        annotations.append(label)
    for marker in view.markers:
        line, label = _change(fmt.local(marker.start, lens.zone).isoformat(), marker_hover(marker, lens), lens)
        shapes.append(line)
        annotations.append(label)
    layout = {**_layout(view, lens), "shapes": shapes, "annotations": annotations, "uirevision": revision}
    return {"data": traces, "layout": layout}


def _line(y: Sequence[float | None], times: list[str], axis: str, **style: Any) -> Trace:
    style["customdata"] = [*style["customdata"], *style["customdata"][-1:]]
    line = {"shape": "hv", **style.pop("line")}
    drawn = {"type": "scatter", "mode": "lines", "x": times, "y": [*y, *y[-1:]], "yaxis": axis, "line": line}
    return {**drawn, "connectgaps": False, **style}


def _failure_traces(view: CustomerView, times: list[str], lens: Lens) -> list[Trace]:
    steps = view.steps
    ratios = [steps.ratio(i) for i in range(len(steps))]
    hover = [
        "" if ratio is None else f"{fmt.percent(ratio)} ({_counts(steps, i, lens)})" for i, ratio in enumerate(ratios)
    ]
    c = lens.colours
    return [
        _line(
            [None if r is None else r * 100 for r in ratios], times, "y", name=lens.words("trace.failing"),
            line={"color": c.accent, "width": 1.6}, fill="tozeroy", fillcolor=alpha(c.accent, 0.12),
            customdata=hover, hovertemplate="%{customdata}", showlegend=False,
        )
    ]  # fmt: skip


def _counts(steps: Steps, i: int, lens: Lens) -> str:
    counts = {"failures": fmt.count(steps.failures[i]), "requests": fmt.count(steps.requests[i])}
    return lens.words("hover.counts", **counts)


def _latency_traces(steps: Steps, times: list[str], lens: Lens) -> list[Trace]:
    c = lens.colours
    styles = {
        "p50": {"color": c.accent_2, "width": 1.4},
        "p95": {"color": c.accent, "width": 1.8},
        "p99": {"color": c.muted, "width": 1.2, "dash": "dot"},
    }
    traces = []
    for name in _LATENCIES:
        values = list(steps.latency_ms.get(name, (None,) * len(steps)))
        hover = ["" if v is None else fmt.milliseconds(v) for v in values]
        traces.append(
            _line(
                values, times, "y2", name=name, line=styles[name], legend="legend",
                customdata=hover, hovertemplate="%{customdata}",
            )
        )  # fmt: skip
    return traces


def _coverage_traces(steps: Steps, times: list[str], lens: Lens) -> list[Trace]:
    coverages = [steps.coverage(i) for i in range(len(steps))]
    hover = [
        ""
        if coverage is None
        else fmt.percent(coverage)
        + " ("
        + lens.words(
            "hover.coverage", requests=fmt.count(steps.requests[i]), unmeasured=fmt.compact(steps.unmeasured[i])
        )
        + ")"
        for i, coverage in enumerate(coverages)
    ]
    return [
        _line(
            [None if v is None else v * 100 for v in coverages], times, "y3", name=lens.words("trace.coverage"),
            line={"color": lens.colours.accent, "width": 1.6}, customdata=hover, hovertemplate="%{customdata}",
            showlegend=False,
        )
    ]  # fmt: skip


def _traffic_traces(steps: Steps, times: list[str], lens: Lens) -> list[Trace]:
    c = lens.colours
    fills = {"s2xx": c.accent_3, "s3xx": c.accent_2, "s4xx": c.faint, "s5xx": c.text}
    per_minute = [60_000 / steps.length_ms(i) for i in range(len(steps))]
    traces = []
    for name in STATUS_CLASSES:
        counts = steps.status.get(name, (0,) * len(steps))
        rates = [n * per_minute[i] if steps.requests[i] else None for i, n in enumerate(counts)]
        hover = [lens.compact(n * per_minute[i]) + lens.words("per_minute") for i, n in enumerate(counts)]
        traces.append(
            _line(
                rates, times, "y4", name=name[1:], stackgroup="status", fillcolor=fills[name],
                line={"width": 0, "color": fills[name]}, legend="legend2",
                customdata=hover, hovertemplate="%{customdata}",
            )
        )  # fmt: skip
    return traces


def _span_traces(steps: Steps, lens: Lens) -> list[Trace]:
    """Hatched spans over all panels, on an axis of their own from 0 to 1."""
    c = lens.colours
    kinds = (
        ("trace.empty", empty_spans(steps), alpha(c.faint, 0.6), "rgba(0,0,0,0)"),
        ("trace.unmeasured", unmeasured_spans(steps), alpha(c.amber, 0.75), alpha(c.amber, 0.10)),
    )
    traces: list[Trace] = []
    for key, spans, hatch, ground in kinds:
        if not spans:
            continue
        xs: list[str | None] = []
        ys: list[float | None] = []
        for start, end in spans:
            left, right = (fmt.local(t, lens.zone).isoformat() for t in (start, end))
            xs += [left, right, right, left, left, None]
            ys += [0, 0, 1, 1, 0, None]
        pattern = {"shape": "/", "size": 6, "solidity": 0.12, "fgcolor": hatch, "bgcolor": ground}
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": xs,
                "y": ys,
                "yaxis": "y5",
                "line": {"width": 0},
                "fill": "toself",
                "fillcolor": ground,
                "fillpattern": {**pattern, "fillmode": "replace"},
                "hoverinfo": "skip",
                "name": lens.words(key),
                "legend": "legend3",
            }
        )
    return traces


def _layout(view: CustomerView, lens: Lens) -> dict[str, Any]:
    c = lens.colours
    return {
        "template": {},
        "height": HEIGHT,
        "margin": {"l": 64, "r": 18, "t": 6, "b": 56},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 12, "color": c.text},
        "hovermode": "x unified",
        "hoversubplots": "axis",
        "hoverlabel": {
            "bgcolor": c.panel,
            "bordercolor": c.line,
            "font": {"family": FONT, "size": 12, "color": c.text},
        },
        "dragmode": "zoom",
        "separators": "." + fmt.THIN,
        "xaxis": _time_axis(view.steps, lens),
        **_value_axes(view, lens),
        **_legends(c.muted),
    }


def _axis(lens: Lens) -> dict[str, Any]:
    c = lens.colours
    return {
        "gridcolor": c.grid,
        "zerolinecolor": c.line,
        "linecolor": c.line,
        "tickfont": {"color": c.muted, "size": 11},
    }


def _axis_title(text: str, lens: Lens, standoff: int = 6) -> dict[str, Any]:
    return {"text": text, "font": {"size": 11, "color": lens.colours.muted}, "standoff": standoff}


def _time_axis(steps: Steps, lens: Lens) -> dict[str, Any]:
    w = lens.words
    return {
        **_axis(lens),
        "range": [fmt.local(t, lens.zone).isoformat() for t in (steps.start[0], steps.until)],
        "anchor": "y4",
        "showline": True,
        "ticks": "outside",
        "tickcolor": lens.colours.line,
        "title": _axis_title(w("axis.time", zone=lens.zone_name()), lens, standoff=20),
        "hoverformat": "%d %b %H:%M" if w.language == "en" else "%-m月%-d日 %H:%M",
        "tickformatstops": tick_formats(w.language),
        "showspikes": True,
        "spikemode": "across",
        "spikethickness": 1,
        "spikedash": "solid",
        "spikecolor": lens.colours.faint,
    }


def _value_axes(view: CustomerView, lens: Lens) -> dict[str, dict[str, Any]]:
    w, ranges = lens.words, _ranges(view)
    titles = {"y": "axis.failing", "y2": "axis.latency", "y3": "axis.coverage", "y4": "axis.traffic"}
    axes = {
        name.replace("y", "yaxis"): {
            **_axis(lens),
            "fixedrange": True,
            "nticks": 5,
            "separatethousands": True,
            "exponentformat": "none",
            "domain": _DOMAINS[name],
            "range": ranges[name],
            "title": _axis_title(w(key), lens),
        }
        for name, key in titles.items()
    }
    spans = {"domain": [0, _DOMAINS["y"][1]], "range": [0, 1], "overlaying": "y", "visible": False, "fixedrange": True}
    return {**axes, "yaxis5": spans}


def _ranges(view: CustomerView) -> dict[str, list[float]]:
    """Ends of the panels' scales."""
    steps = view.steps
    n = range(len(steps))
    ratios = [r for r in map(steps.ratio, n) if r is not None]
    latencies = [v for name in _LATENCIES for v in steps.latency_ms.get(name, ()) if v is not None]
    lowest = min((v for v in map(steps.coverage, n) if v is not None), default=1.0)
    rates = [steps.requests[i] * 60_000 / steps.length_ms(i) for i in n]
    return {
        "y": [0, 100 * max(2 * (view.limit or 0.0), 1.1 * max(ratios, default=0.0), 1e-5)],
        "y2": [0, 1.08 * max(latencies, default=100.0)],
        "y3": [90, 100.5] if lowest >= 0.9 else [0, 104],
        "y4": [0, 1.1 * max(rates, default=0.0) or 1.0],
    }


def _legends(colour: str) -> dict[str, Any]:
    places = {"legend": _DOMAINS["y2"][1], "legend2": _DOMAINS["y4"][1], "legend3": _DOMAINS["y"][1]}
    shape = {"orientation": "h", "x": 1, "xanchor": "right", "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)",
             "font": {"size": 11, "color": colour}, "itemclick": False, "itemdoubleclick": False}  # fmt: skip
    return {name: {**shape, "y": y, "traceorder": "normal"} for name, y in places.items()}


def tick_formats(language: str) -> list[dict[str, Any]]:
    """How a time axis is labelled, by the distance of its ticks."""
    day = "%-d %b" if language == "en" else "%-m月%-d日"
    return [
        {"dtickrange": [None, 60_000], "value": "%H:%M:%S"},
        {"dtickrange": [60_000, 86_400_000], "value": f"%H:%M\n{day}"},
        {"dtickrange": [86_400_000, None], "value": day},
    ]


def _titles(titles: Titles, lens: Lens) -> list[dict[str, Any]]:
    panels = {"y": titles.failures, "y2": titles.latency, "y3": titles.coverage, "y4": titles.traffic}
    return [
        {
            "text": f"<b>{_plain(text)}</b>",
            "xref": "paper",
            "yref": "paper",
            "x": 0,
            "y": _DOMAINS[axis][1],
            "xshift": -66,
            "yshift": 4,
            "xanchor": "left",
            "yanchor": "bottom",
            "showarrow": False,
            "font": {"size": 13, "color": lens.colours.text},
            "bgcolor": lens.colours.background,  # lines of changes pass behind it
        }
        for axis, text in panels.items()
    ]


def _objective(limit: float, lens: Lens) -> tuple[dict[str, Any], dict[str, Any]]:
    """Line and label of the objective."""
    c, y = lens.colours, limit * 100
    line = {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "yref": "y",
        "y0": y,
        "y1": y,
        "line": {"color": c.muted, "width": 1, "dash": "dash"},
    }
    label = {
        "text": lens.words("axis.objective", limit=fmt.promise(limit)),
        "xref": "paper",
        "x": 0,
        "xanchor": "left",
        "xshift": 4,
        "yref": "y",
        "y": y,
        "yanchor": "bottom",
        "yshift": 2,
        "showarrow": False,
        "font": {"size": 11, "color": c.muted},
        "bgcolor": alpha(c.background, 0.8),
        "borderpad": 1,
    }
    return line, label


def _change(at: str, hover: str, lens: Lens) -> tuple[dict[str, Any], dict[str, Any]]:
    """Line and sign of a change; the sign answers the pointer."""
    c, top = lens.colours, _DOMAINS["y"][1]
    line = {
        "type": "line",
        "xref": "x",
        "x0": at,
        "x1": at,
        "yref": "paper",
        "y0": 0,
        "y1": top,
        "layer": "below",
        "line": {"color": c.text, "width": 1, "dash": "dot"},
    }
    label = {
        "text": "▾",
        "xref": "x",
        "x": at,
        "yref": "paper",
        "y": top,
        "yanchor": "middle",
        "showarrow": False,
        "font": {"size": 16, "color": c.text},
        "captureevents": True,
        "hovertext": hover,
        "hoverlabel": {"bgcolor": c.panel, "bordercolor": c.line, "font": {"color": c.text, "size": 12}},
    }
    return line, label


def _plain(text: str) -> str:
    """Text for a chart, whose labels read a few tags: angle brackets are written as entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
