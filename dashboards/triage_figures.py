"""The incident's chart: the measure over time in its usual band, and without the cause's rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.entities import Change
from contracts.incidents import Incident
from contracts.times import MINUTE_MS
from dashboards import format as fmt
from dashboards.explore_figures import base_layout, time_axis
from dashboards.lens import Lens
from dashboards.style import alpha
from history.query_cells import CellAnswer

HEIGHT = 366
_MARKS = 8


@dataclass(frozen=True, slots=True)
class Track:
    """One measure in steps of `step_ms`: `minute` is where each starts, ms UTC; counts, and of the usual band
    (expected, low, high) what is known, all in events."""

    minute: tuple[int, ...]
    bad: tuple[float, ...]
    total: tuple[int, ...]
    expected: tuple[float | None, ...] = ()
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    allowed: float | None = None
    step_ms: int = MINUTE_MS

    def sums(self, since: int) -> tuple[float, int, float | None]:
        """Bad, of, and expected events since a time; None when what is usual is not known."""
        rows = [n for n, minute in enumerate(self.minute) if minute >= since]
        known = [self.expected[n] for n in rows if self.expected] if self.expected else []
        expected = sum(e for e in known if e is not None) if known and None not in known else None
        return sum(self.bad[n] for n in rows), sum(self.total[n] for n in rows), expected


def track_of(signals: Mapping[str, Sequence[Any]]) -> Track:
    """From the detector's own minutes."""
    allowed = [a for a in signals.get("allowed", ()) if a is not None]
    return Track(
        tuple(signals["minute"]),
        tuple(signals["bad"]),
        tuple(signals["total"]),
        tuple(signals["expected"]),
        tuple(signals["low"]),
        tuple(signals["high"]),
        allowed[-1] if allowed else None,
    )


def track_of_cells(answer: CellAnswer) -> Track:
    """From cells in steps of the question's, without any band."""
    rows = sorted(zip(answer.step, answer.value, answer.total, strict=True))
    start = answer.question.start
    step = answer.question.step_ms or MINUTE_MS
    return Track(
        tuple(start + i * step for i, _, _ in rows), tuple(v for _, v, _ in rows), tuple(t for _, _, t in rows),
        step_ms=step,
    )  # fmt: skip


def incident_figure(
    incident: Incident, track: Track, without: Track | None, changes: Sequence[Change], lens: Lens
) -> dict[str, Any]:
    """Observed ratio, expected and band, the line without the cause's rows; onset, detection, changes marked."""
    c, w = lens.colours, lens.words
    traces = _band(track, lens)
    hover = [_hover(b, t, lens) for b, t in zip(track.bad, track.total, strict=True)]
    observed = [_ratio(b, t) for b, t in zip(track.bad, track.total, strict=True)]
    style = {"line": {"color": c.accent, "width": 1.8}, "fill": None}
    traces.append(_trace(w("triage.line"), track, observed, hover, style, lens))
    if without is not None:
        y = [_ratio(b, t) for b, t in zip(without.bad, without.total, strict=True)]
        hover = [_hover(b, t, lens) for b, t in zip(without.bad, without.total, strict=True)]
        style = {"line": {"color": c.text, "width": 1.3, "dash": "dash"}}
        traces.append(_trace(w("triage.without"), without, y, hover, style, lens))
    shapes, notes = _marks(incident, changes, lens)
    if track.allowed is not None:
        y = track.allowed * 100
        shapes.append(_line({"y0": y, "y1": y, "xref": "paper", "x0": 0, "x1": 1}, c.muted, "dash"))
        label = {"xref": "paper", "x": 0, "y": y, "text": f"≤ {fmt.promise(track.allowed)}", "showarrow": False}
        label |= {"xanchor": "left", "yanchor": "bottom", "font": {"size": 11, "color": c.muted}}
        notes.append(label)
    small = {"size": 11, "color": c.muted}
    axis = {"gridcolor": c.grid, "linecolor": c.line, "zerolinecolor": c.line, "tickfont": small}
    title = {"font": small, "standoff": 8}
    layout = {
        **base_layout(lens, HEIGHT),
        "hovermode": "x unified",
        "xaxis": time_axis(lens),
        "yaxis": {**axis, "rangemode": "tozero", "title": {"text": "%", **title}},
        "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": -0.24, "yanchor": "top", "font": {"size": 12}},
        "margin": {"l": 60, "r": 14, "t": 50, "b": 84},
        "shapes": shapes,
        "annotations": notes,
        "uirevision": incident.id,
    }
    return {"data": traces, "layout": layout}


def _ratio(bad: float, total: float) -> float | None:
    return bad / total * 100 if total else None


def _hover(bad: float, total: int, lens: Lens) -> str:
    if not total:
        return lens.words("no_data")
    counts = lens.words("hover.bad_of", failures=fmt.count(round(bad)), requests=fmt.count(total))
    return f"{fmt.percent(bad / total)} ({counts})"


def _trace(
    name: str,
    track: Track,
    y: Sequence[float | None],
    hover: Sequence[str],
    style: dict[str, Any],
    lens: Lens,
) -> dict[str, Any]:
    """A line over a track's steps; a step that is missing breaks it."""
    x, values, texts = [], [], []
    before = None
    for minute, value, text in zip(track.minute, y, hover, strict=True):
        if before is not None and minute - before > track.step_ms:
            x.append(fmt.local(before + track.step_ms, lens.zone).isoformat())
            values.append(None)
            texts.append("")
        x.append(fmt.local(minute, lens.zone).isoformat())
        values.append(value)
        texts.append(text)
        before = minute
    drawn = {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": values, "customdata": texts}
    return drawn | {"hovertemplate": "%{customdata}", "connectgaps": False, **style}


def _band(track: Track, lens: Lens) -> list[dict[str, Any]]:
    """The usual band as a filled area, its middle dotted; nothing where it is not known."""
    c, w = lens.colours, lens.words
    known = [
        n for n, total in enumerate(track.total)
        if track.expected and total and None not in (track.expected[n], track.low[n], track.high[n])
    ]  # fmt: skip
    if not known:
        return []
    x = [fmt.local(track.minute[n], lens.zone).isoformat() for n in known]
    share = {
        name: [float(values[n] or 0.0) / track.total[n] * 100 for n in known]
        for name, values in (("low", track.low), ("high", track.high), ("expected", track.expected))
    }
    quiet = {"type": "scatter", "mode": "lines", "x": x, "hoverinfo": "skip", "line": {"width": 0}}
    fill = alpha(c.faint, 0.25)
    dots = {"color": c.faint, "width": 1.2, "dash": "dot"}
    hover = [fmt.percent(v / 100) for v in share["expected"]]
    return [
        {**quiet, "y": share["low"], "showlegend": False},
        {**quiet, "y": share["high"], "fill": "tonexty", "fillcolor": fill, "name": w("triage.band")},
        {**quiet, "y": share["expected"], "line": dots, "name": w("triage.usual"), "hoverinfo": "all",
         "customdata": hover, "hovertemplate": "%{customdata}"},
    ]  # fmt: skip


def _marks(incident: Incident, changes: Sequence[Change], lens: Lens) -> tuple[list[Any], list[Any]]:
    """Onset, detection, end, and the changes that were joined, as lines with their word on top."""
    c, w = lens.colours, lens.words
    marks = [
        (incident.onset, w("triage.onset"), "", "solid", c.text),
        (incident.detected_at, w("triage.detected"), "", "dash", c.text),
    ]
    if incident.resolved_at is not None:
        marks.append((incident.resolved_at, w("triage.resolved"), "", "dash", c.muted))
    for change in changes[:_MARKS]:
        said = " · ".join(part for part in (change.author, change.reference, change.note) if part)
        marks.append((change.start, w(f"kind.{change.kind}"), said, "dot", c.accent))
    shapes, notes = [], []
    for n, (at, word, hover, dash, colour) in enumerate(sorted(marks)):
        x = fmt.local(at, lens.zone).isoformat()
        shapes.append(_line({"x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1}, colour, dash))
        note = {"x": x, "yref": "paper", "y": 1.0 + 0.065 * (n % 3), "text": word, "showarrow": False}
        note |= {"xanchor": "left", "yanchor": "bottom", "font": {"size": 11, "color": colour}}
        notes.append(note | ({"hovertext": hover} if hover else {}))
    return shapes, notes


def _line(place: dict[str, Any], colour: str, dash: str) -> dict[str, Any]:
    return {"type": "line", **place, "line": {"color": colour, "width": 1, "dash": dash}}
