"""The state of our own pipeline, at the sidebar's foot on every page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from dashboards import format as fmt
from dashboards.lens import STALE_AFTER_MS, Lens

LATE_LAG_S = 60


def pipeline_markup(status: Mapping[str, float | None], lens: Lens, *, demo: bool) -> str:
    """Freshness, lag and refusals; amber and a word when late."""
    w = lens.words
    freshness, lag, rejected = (status.get(key) for key in ("freshness_s", "lag_s", "rejected"))
    rows = [
        _row(
            w("pipeline.freshness"),
            None if freshness is None else w("ago", span=lens.span(freshness * 1000)),
            lens,
            late=freshness is not None and freshness * 1000 > STALE_AFTER_MS,
        ),
        _row(
            w("pipeline.lag"),
            None if lag is None else lens.span(lag * 1000) if lag >= 1 else w("pipeline.none_waiting"),
            lens,
            late=lag is not None and lag > LATE_LAG_S,
        ),
        _row(w("pipeline.rejected"), None if rejected is None else fmt.count(int(rejected)), lens, late=False),
    ]
    at = w("pipeline.at", time=lens.clock(lens.now, seconds=True))
    notes = [w("app.demo"), at] if demo else [at]
    foot = "".join(f"<div>{escape(note)}</div>" for note in notes)
    return (
        f'<div class="d d-pipe"><div class="t">{escape(w("pipeline.title"))}</div>{"".join(rows)}'
        f'<div class="at">{foot}</div></div>'
    )


def _row(label: str, value: str | None, lens: Lens, *, late: bool) -> str:
    text = lens.words("no_data") if value is None else value
    if late:
        text = f"⚠\ufe0e{text}"
    css = "amber" if late else "muted" if value is None else ""
    hover = f' title="{escape(lens.words("pipeline.late"))}"' if late else ""
    return f'<div class="r"><span>{escape(label)}</span><span class="{css}"{hover}>{escape(text)}</span></div>'
