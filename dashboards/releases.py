"""The page on roll-outs: cards, sentence, figures, charts of rates and evidence, arithmetic. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from contracts.columns import CELL_DIMENSIONS
from contracts.entities import Change
from contracts.releases import MATCHED_ON, NEW_IN, PROMOTE, ROLL_BACK, Release
from contracts.times import MINUTE_MS
from dashboards import format as fmt
from dashboards.explore_figures import base_layout, time_axis
from dashboards.incident_text import Names
from dashboards.lens import Lens
from dashboards.markup import Cell, Figure, table
from dashboards.style import alpha

STEP_MS = 5 * MINUTE_MS
HEIGHT = 250
GROUPS_SHOWN = 12
_SIGNS = {ROLL_BACK: "▲", PROMOTE: "✓"}
_LEAST, _MOST = 1e-3, 1e6  # ends of the scale of evidence
_TICKS = {1e-3: "0.001", 0.1: "0.1", 1.0: "1", 10.0: "10", 100.0: "100", 1e4: "10⁴", 1e6: "10⁶"}


def what(change: Change, lens: Lens) -> str:
    """What was rolled out, in a few words."""
    name = change.scope.get(NEW_IN.get(change.kind, ""), change.id)
    return lens.words("releases.what", kind=lens.words(f"kind.{change.kind}"), name=name)


def sentence(release: Release, lens: Lens) -> str:
    """The verdict and what it rests on."""
    w, c = lens.words, release.comparison
    text = w(
        f"releases.sentence.{release.verdict}",
        **_named(release.verdict, release, lens),
        what=what(release.change, lens),
    )
    if c.changed_vanished and release.verdict == ROLL_BACK:
        gone = w("releases.vanished", gone=fmt.count(c.changed_vanished), boxes=fmt.count(c.changed_boxes))
        text += w("sentence.join") + gone
    return text


def _named(verdict: str, release: Release, lens: Lens) -> dict[str, str]:
    c = release.comparison
    if verdict == PROMOTE:
        return {"margin": f"{release.margin:g}"}
    if verdict != ROLL_BACK:
        return {}
    counts = {"bad": fmt.count(round(c.changed_bad)), "total": fmt.count(round(c.changed_total))}
    return counts | {"expected": lens.compact(c.expected_bad)}


def cards(found: Sequence[Change], verdicts: Mapping[str, str], chosen: str, lens: Lens) -> str:
    """The list: one card per roll-out, with its verdict where it is known."""
    w = lens.words
    head = f"<h2>{escape(w('releases.list'))}</h2>"
    return f'<div class="d d-cards">{head}{"".join(_card(c, verdicts.get(c.id), chosen, lens) for c in found)}</div>'


def _card(change: Change, verdict: str | None, chosen: str, lens: Lens) -> str:
    w = lens.words
    said = w(f"verdict.{verdict or 'open'}")
    strong = "strong" if verdict in _SIGNS else "muted"
    css = "card on" if change.id == chosen else "card"
    rest = ", ".join(f"{w(f'dim.{d}')} = {v}" for d, v in change.scope.items() if d != NEW_IN.get(change.kind))
    when = w("releases.since", time=lens.clock(change.start), author=change.author)
    return (
        f'<div class="{css}" role="button" tabindex="0" data-pick="{escape(change.id)}">'
        f'<div class="top"><span class="{strong}">{_SIGNS.get(verdict or "", "")} {escape(said)}</span>'
        f'<span class="muted">{escape(change.id)}</span></div>'
        f'<div class="who">{escape(what(change, lens))}</div><div>{escape(rest)}</div>'
        f'<div class="cause">{escape(change.note)}</div><div class="muted">{escape(when)}</div></div>'
    )


def key_figures(release: Release, lens: Lens) -> list[Figure]:
    """Both sides, what was expected, what vanished."""
    w, c = lens.words, release.comparison
    gone = {"boxes": fmt.count(c.changed_boxes), "others": fmt.count(c.unchanged_vanished)}
    note = {"bad": fmt.count(round(c.changed_bad)), "expected": lens.compact(c.expected_bad)}
    return [
        _side(w("releases.changed"), c.changed_bad, c.changed_total, lens),
        _side(w("releases.unchanged"), c.unchanged_bad, c.unchanged_total, lens),
        Figure(w("releases.ratio"), "–" if c.ratio is None else f"{fmt.significant(c.ratio)}×",
               w("releases.ratio_note", **note)),
        Figure(w("releases.gone"), fmt.count(c.changed_vanished),
               w("releases.gone_note", of=fmt.count(c.unchanged_boxes), **gone)),
    ]  # fmt: skip


def _side(label: str, bad: float, total: float, lens: Lens) -> Figure:
    counts = {"bad": fmt.count(round(bad)), "total": fmt.count(round(total))}
    return Figure(label, lens.percent(bad / total if total else None), lens.words("releases.bad_of", **counts))


# ---- charts


def rates_title(release: Release, lens: Lens) -> str:
    """What the chart of rates shows."""
    c = release.comparison
    if not c.changed_total:
        return lens.words("releases.no_rates")
    shares = {"changed": c.changed_bad / c.changed_total, "expected": c.expected_bad / c.changed_total}
    return lens.words("releases.rates", **{name: lens.percent(share) for name, share in shares.items()})


def rates_figure(release: Release, lens: Lens) -> dict[str, Any]:
    """Failure ratio of the changed side and what the unchanged side makes expect, per five minutes."""
    c, w = lens.colours, lens.words
    steps = [s for s in release.steps if s.changed_total > 0]
    x = [fmt.local(s.at + STEP_MS // 2, lens.zone).isoformat() for s in steps]
    own = [s.changed_bad / s.changed_total * 100 for s in steps]
    expected = [s.expected_bad / s.changed_total * 100 for s in steps]
    said = [
        w("hover.bad_of", failures=fmt.count(round(s.changed_bad)), requests=fmt.count(round(s.changed_total)))
        for s in steps
    ]
    of = [
        w("hover.bad_of", failures=fmt.count(round(s.unchanged_bad)), requests=fmt.count(round(s.unchanged_total)))
        for s in steps
    ]
    drawn = {"type": "scatter", "mode": "lines+markers", "marker": {"size": 5}, "x": x}
    drawn["hovertemplate"] = "%{y:.3g}% (%{customdata})"
    layout = _layout(release, lens, "%")
    layout["yaxis"]["rangemode"] = "tozero"
    return {
        "data": [
            {**drawn, "y": expected, "customdata": of, "name": w("releases.line_expected"),
             "line": {"color": c.text, "width": 1.3, "dash": "dash"}},
            {**drawn, "y": own, "customdata": said, "name": w("releases.line"),
             "line": {"color": c.accent, "width": 1.8}, "fill": "tozeroy", "fillcolor": alpha(c.accent, 0.1)},
        ],
        "layout": layout,
    }  # fmt: skip


def evidence_title(release: Release, lens: Lens) -> str:
    """What the chart of evidence shows."""
    c = release.comparison
    values = {"harm": c.harm_e, "harm_needed": c.harm_needed, "fine": c.fine_e, "fine_needed": c.fine_needed}
    return lens.words("releases.evidence", **{name: evidence(v, lens) for name, v in values.items()})


def evidence(value: float, lens: Lens) -> str:
    """An e-value; what is beyond a million is enough for anything."""
    if value >= 1e6:
        return "> 10⁶"
    return "<0.001" if value < _LEAST else fmt.significant(value, 2) if value < 100 else lens.compact(value)


def evidence_figure(release: Release, lens: Lens) -> dict[str, Any]:
    """Both e-values as they grew, on a scale of logarithms cut at both ends, each with what is enough."""
    c, w = lens.colours, lens.words
    x = [fmt.local(min(s.at + STEP_MS, release.judged_until), lens.zone).isoformat() for s in release.steps]
    drawn = {"type": "scatter", "mode": "lines+markers", "marker": {"size": 5}, "x": x}
    drawn["hovertemplate"] = "%{customdata}"
    traces = []
    for name, values, style in (
        (w("releases.harm"), [s.harm_e for s in release.steps], {"color": c.accent, "width": 1.8}),
        (
            w("releases.fine", margin=f"{release.margin:g}"), [s.fine_e for s in release.steps],
            {"color": c.text, "width": 1.5, "dash": "dash"},
        ),
    ):  # fmt: skip
        y = [min(_MOST, max(_LEAST, v)) for v in values]
        traces.append({**drawn, "y": y, "customdata": [evidence(v, lens) for v in values], "name": name, "line": style})
    layout = _layout(release, lens, w("releases.axis_evidence"))
    ticks = {"tickvals": list(_TICKS), "ticktext": list(_TICKS.values())}
    layout["yaxis"] |= {"type": "log", "range": [math.log10(_LEAST), math.log10(_MOST)], **ticks}
    needed = release.comparison.harm_needed, release.comparison.fine_needed
    words = (("enough_harm", "bottom", c.accent), ("enough_fine", "top", c.text))
    for at, (word, side, colour) in zip(needed, words, strict=True):
        line = {"color": colour, "width": 1, "dash": "dot"}
        layout["shapes"].append({"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": at, "y1": at, "line": line})
        layout["annotations"].append(
            {"xref": "paper", "x": 1, "xanchor": "right", "y": math.log10(at), "yanchor": side, "showarrow": False,
             "text": w(f"releases.{word}"), "font": {"size": 11, "color": colour}}
        )  # fmt: skip
    return {"data": traces, "layout": layout}


def _layout(release: Release, lens: Lens, unit: str) -> dict[str, Any]:
    c = lens.colours
    small = {"size": 11, "color": c.muted}
    axis = {"gridcolor": c.grid, "linecolor": c.line, "zerolinecolor": c.line, "tickfont": small}
    title = {"font": small, "standoff": 8}
    first = release.change.start - release.change.start % STEP_MS
    span = [fmt.local(t, lens.zone).isoformat() for t in (first, max(release.judged_until, first + STEP_MS))]
    return {
        **base_layout(lens, HEIGHT),
        "hovermode": "x unified",
        "margin": {"l": 60, "r": 14, "t": 28, "b": 46},
        "xaxis": {**time_axis(lens), "range": span},
        "yaxis": {**axis, "title": {"text": unit, **title}},
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"size": 12, "color": c.text}},
        "shapes": [],
        "annotations": [],
        "uirevision": release.change.id,
    }


# ---- arithmetic


def arithmetic(release: Release, lens: Lens) -> str:
    """How the verdict comes about, in words."""
    w, c = lens.words, release.comparison
    names = ", ".join(_dimension(d, lens) for d in MATCHED_ON[release.change.kind])
    lines = [
        w("releases.matched_on", names=names),
        w("releases.rule", harm=evidence(c.harm_needed, lens), fine=evidence(c.fine_needed, lens)),
        w("releases.least", requests=fmt.count(round(release.least_requests)), boxes=fmt.count(release.least_boxes)),
    ]
    if c.unmatched_requests:
        lines.append(w("releases.left_out", n=lens.compact(c.unmatched_requests)))
    if c.unmatched_boxes:
        counts = {"boxes": fmt.count(c.unmatched_boxes), "gone": fmt.count(c.unmatched_vanished)}
        lines.append(w("releases.boxes_left_out", **counts))
    said = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f'<div class="d d-prose"><h2>{escape(w("releases.arithmetic"))}</h2>{said}</div>'


def _dimension(name: str, lens: Lens) -> str:
    return lens.words(f"dim.{name}") if name in CELL_DIMENSIONS else lens.words(f"match.{name}")


def groups_table(release: Release, lens: Lens, names: Names) -> str:
    """Where it was compared, with both counts."""
    w = lens.words
    if not release.groups:
        return ""
    dimensions = [d for d in MATCHED_ON[release.change.kind] if d != "load"]
    heads = [(_dimension(d, lens), "") for d in dimensions]
    heads += [(w("releases.column.changed"), "num"), ("", "num"), (w("releases.column.expected"), "num")]
    heads += [(w("releases.column.unchanged"), "num"), ("", "num")]
    rows = []
    for g in release.groups[:GROUPS_SHOWN]:
        place = [names.get(g.where.get(d, ""), g.where.get(d, "–")) for d in dimensions]
        changed = g.changed_bad / g.changed_total if g.changed_total else None
        unchanged = g.unchanged_bad / g.unchanged_total if g.unchanged_total else None
        rows.append(
            [
                *(Cell(value) for value in place),
                Cell(f"{fmt.count(round(g.changed_bad))} / {fmt.count(round(g.changed_total))}", "num"),
                Cell(lens.percent(changed), "num strong"),
                Cell(lens.compact(g.expected_bad), "num"),
                Cell(f"{fmt.count(round(g.unchanged_bad))} / {fmt.count(round(g.unchanged_total))}", "num muted"),
                Cell(lens.percent(unchanged), "num muted"),
            ]
        )
    return f'<div class="d"><h2>{escape(w("releases.groups"))}</h2>{table(heads, rows)}</div>'
