"""The state of our own pipeline: at the sidebar's foot on every page, in its first lines, and as a banner when history
is late. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from dashboards import format as fmt
from dashboards import markup
from dashboards.lens import LATE_AFTER_S, STREAM_LATE_AFTER_S, Lens

LATE_LAG_S = 60

Status = Mapping[str, float | None]


def pipeline_markup(status: Status, lens: Lens, *, demo: bool) -> str:
    """Freshness, streams, lag and refusals; amber and a word when late. Lag only where somebody knows it."""
    w = lens.words
    freshness, stream, lag, rejected = (status.get(key) for key in ("freshness_s", "stream_s", "lag_s", "rejected"))
    late = is_late(status)
    rows = [
        _row(
            w("pipeline.freshness"),
            None
            if freshness is None
            else f"{_span(freshness, lens)} · {w('pipeline.late' if late else 'pipeline.fresh')}",
            lens,
            late=late,
            hover=w("pipeline.freshness_is"),
        ),
        _row(
            w("pipeline.stream"),
            None if stream is None else _span(stream, lens),
            lens,
            late=stream is not None and stream > STREAM_LATE_AFTER_S,
            hover=w("pipeline.stream_is"),
        ),
    ]
    if lag is not None:
        text = lens.span(lag * 1000) if lag >= 1 else w("pipeline.none_waiting")
        rows.append(_row(w("pipeline.lag"), text, lens, late=lag > LATE_LAG_S))
    rows.append(_row(w("pipeline.rejected"), None if rejected is None else fmt.count(int(rejected)), lens, late=False))
    at = w("pipeline.at", time=lens.clock(lens.now, seconds=True))
    notes = [w("app.demo"), at] if demo else [at]
    foot = "".join(f"<div>{escape(note)}</div>" for note in notes)
    return (
        f'<div class="d d-pipe"><div class="t">{escape(w("pipeline.title"))}</div>{"".join(rows)}'
        f'<div class="at">{foot}</div></div>'
    )


def is_late(status: Status) -> bool:
    """Whether what queries see is older than it should be."""
    freshness = status.get("freshness_s")
    return freshness is not None and freshness > LATE_AFTER_S


def detail(status: Status, lens: Lens) -> str:
    """Freshness among what a page's first line rests on; empty when nobody knows it."""
    freshness = status.get("freshness_s")
    if freshness is None:
        return ""
    text = lens.words("fresh.detail", span=_span(freshness, lens))
    return f"⚠\ufe0e{text}, {lens.words('pipeline.late')}" if is_late(status) else text


def banner(status: Status, lens: Lens) -> str:
    """A notice when history is late, else nothing."""
    freshness = status.get("freshness_s")
    if freshness is None or not is_late(status):
        return ""
    w = lens.words
    return markup.notice([w("late.notice", span=_span(freshness, lens)), w("late.do")], late=True)


def _span(seconds: float, lens: Lens) -> str:
    return lens.span(round(seconds) * 1000)


def _row(label: str, value: str | None, lens: Lens, *, late: bool, hover: str = "") -> str:
    text = lens.words("no_data") if value is None else value
    if late:
        text = f"⚠\ufe0e{text}"
    css = "amber" if late else "muted" if value is None else ""
    title = "; ".join(part for part in (lens.words("pipeline.late") if late else "", hover) if part)
    said = f' title="{escape(title)}"' if title else ""
    return f'<div class="p-row"><span>{escape(label)}</span><span class="{css}"{said}>{escape(text)}</span></div>'
