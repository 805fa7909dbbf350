"""The page on the data's own health: its sentence, figures and tables, and the chart of coverage. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import urlencode

from contracts.incidents import (
    SELF_LAG,
    SELF_TEST,
    SILENCE_AGENT,
    SILENCE_BOX,
    SILENCE_REGION,
    SILENCE_UPLINK,
    Incident,
)
from contracts.times import MINUTE_MS
from dashboards import format as fmt
from dashboards import pipeline
from dashboards.explore_figures import base_layout, time_axis
from dashboards.incident_text import Names
from dashboards.lens import LATE_AFTER_S, STREAM_LATE_AFTER_S, Lens
from dashboards.markup import Cell, Figure, table
from dashboards.model import Books, Intake
from dashboards.style import alpha
from dashboards.verdicts import FULL_COVERAGE

KINDS = (SILENCE_BOX, SILENCE_UPLINK, SILENCE_AGENT, SILENCE_REGION)
UNKNOWN = "unknown"
CUSTOMERS_SHOWN = 10
SILENT_SHOWN = 40
HEIGHT = 220
HOUR_LATE_S = 2 * 3_600.0
SCORES_LATE_S = 240.0


def sums(data: Intake) -> tuple[int, float]:
    """Requests measured and expected but not, over the range."""
    return sum(data.measured), sum(data.unmeasured)


def coverage_of(measured: float, unmeasured: float) -> float | None:
    """Measured share; None when nothing was expected."""
    return measured / (measured + unmeasured) if measured + unmeasured > 0 else None


def sentence(data: Intake, status: pipeline.Status, lens: Lens) -> str:
    """What is so."""
    w = lens.words
    coverage = coverage_of(*sums(data))
    parts = []
    freshness = status.get("freshness_s")
    if freshness is not None and pipeline.is_late(status):
        parts.append(w("data.late", span=lens.span(round(freshness) * 1000)))
    parts.append(
        w("data.nothing_expected") if coverage is None else w("data.coverage", coverage=lens.percent(coverage))
    )
    n = data.hearing.silent_count
    parts.append(w("data.silent", n=n) if n else w("data.none_silent"))
    refused = sum(reason.refusals for reason in data.reasons)
    if refused:
        parts.append(w("data.rejected", n=refused))
    return w("sentence.join").join(parts)


def key_figures(data: Intake, books: Books, status: pipeline.Status, lens: Lens) -> list[Figure]:
    """Five figures, each with what it rests on."""
    w = lens.words
    measured, unmeasured = sums(data)
    coverage = coverage_of(measured, unmeasured)
    thin = coverage is not None and coverage < FULL_COVERAGE
    hearing = data.hearing
    freshness = status.get("freshness_s")
    known = w("data.of_known", silent=fmt.count(hearing.silent_count), gone=fmt.count(hearing.gone))
    refused = sum(reason.refusals for reason in data.reasons)
    fresh = w("no_data") if freshness is None else lens.span(round(freshness) * 1000)
    late = "amber" if pipeline.is_late(status) else ""
    return [
        Figure(
            w("data.measured"), lens.percent(coverage), w("data.unmeasured", n=lens.compact(unmeasured)),
            "amber" if thin else "",
        ),
        Figure(w("data.heard"), fmt.count(hearing.heard), known, "amber" if hearing.silent_count else ""),
        Figure(w("data.freshness"), fresh, w("data.freshness_note"), late),
        Figure(w("data.refused"), fmt.count(refused), w("data.refused_note")),
        _books_figure(books, lens),
    ]  # fmt: skip


def _books_figure(books: Books, lens: Lens) -> Figure:
    w = lens.words
    off = books.requests.difference or books.slices.difference or books.disagreeing_minutes
    if off:
        return Figure(w("data.books"), w("data.books_off"), "", "amber")
    if books.requests.lost:
        return Figure(
            w("data.books"), w("data.books_balanced"), w("data.books_lost", n=fmt.count(books.requests.lost)), "amber"
        )
    if books.requests.pending:
        note = w("data.books_pending", n=fmt.count(books.requests.pending))
        return Figure(w("data.books"), w("data.books_balanced"), note)
    return Figure(w("data.books"), w("data.books_balanced"), w("data.books_clean"))


# ---- coverage over time


def coverage_title(data: Intake, lens: Lens) -> str:
    """What the chart shows."""
    w = lens.words
    steps = [(coverage_of(m, u), i) for i, (m, u) in enumerate(zip(data.measured, data.unmeasured, strict=True))]
    known = [(c, i) for c, i in steps if c is not None]
    if not known:
        return w("data.chart.none")
    low, at = min(known)
    time = lens.clock(data.start + at * data.step_ms)
    if low >= 1:
        return w("data.chart.full")
    if low >= FULL_COVERAGE:
        return w("data.chart.good", low=lens.percent(low), time=time)
    thin = sum(1 for c, _ in known if c < FULL_COVERAGE) * data.step_ms
    return w("data.chart.thin", span=lens.span(thin), low=lens.percent(low), time=time)


def coverage_figure(data: Intake, lens: Lens, revision: str) -> dict[str, Any]:
    """Measured share per step; steps below 99% filled in amber, steps without any expected traffic left out."""
    c = lens.colours
    x = [fmt.local(data.start + i * data.step_ms, lens.zone).isoformat() for i in range(len(data.measured))]
    x.append(fmt.local(data.end, lens.zone).isoformat())
    shares = [coverage_of(m, u) for m, u in zip(data.measured, data.unmeasured, strict=True)]
    hover = [
        lens.words("no_data")
        if share is None
        else f"{fmt.percent(share)} ("
        + lens.words("data.hover", measured=fmt.count(m), unmeasured=lens.compact(u))
        + ")"
        for share, m, u in zip(shares, data.measured, data.unmeasured, strict=True)
    ]
    y = [None if s is None else s * 100 for s in shares]
    lowest = min((v for v in y if v is not None), default=100.0)
    floor = 0.0 if lowest < 80 else 80.0 if lowest < 95 else 95.0
    thin = [100.0 if s is not None and s < FULL_COVERAGE else floor for s in shares]
    span = {"type": "scatter", "mode": "lines", "x": x}
    quiet = {**span, "hoverinfo": "skip", "showlegend": False, "line": {"width": 0, "shape": "hv"}}
    axis = {"gridcolor": c.grid, "zerolinecolor": c.line, "linecolor": c.line}
    axis |= {"tickfont": {"color": c.muted, "size": 11}}
    title = {"font": {"size": 11, "color": c.muted}, "standoff": 8}
    layout = {
        **base_layout(lens, HEIGHT),
        "hovermode": "x unified",
        "showlegend": False,
        "uirevision": revision,
        "xaxis": time_axis(lens),
        "yaxis": {**axis, "range": [floor, 100 + (100 - floor) * 0.04], "title": {"text": "%", **title}},
    }
    return {
        "data": [
            {**quiet, "y": [floor] * len(x)},
            {**quiet, "y": [*thin, *thin[-1:]], "fill": "tonexty", "fillcolor": alpha(c.amber, 0.2)},
            {
                **span, "y": [*y, *y[-1:]], "line": {"color": c.accent, "width": 1.8, "shape": "hv"},
                "connectgaps": False, "customdata": [*hover, *hover[-1:]],
                "hovertemplate": "%{customdata}<extra></extra>",
            },
        ],
        "layout": layout,
    }  # fmt: skip


def customers_table(data: Intake, lens: Lens, names: Names) -> str:
    """Customers by what was not measured of them."""
    w = lens.words
    heads = [(w("column.customer"), ""), (w("column.coverage"), "num"), (w("data.column.unmeasured"), "num")]
    heads.append((w("data.column.worst"), "num"))
    rows = []
    for customer in data.customers[:CUSTOMERS_SHOWN]:
        coverage = coverage_of(customer.measured, customer.unmeasured)
        thin = coverage is not None and coverage < FULL_COVERAGE
        worst = f"{lens.percent(customer.worst)} · {lens.clock(customer.worst_at)}" if customer.unmeasured > 0 else "–"
        rows.append(
            [
                Cell(names.get(customer.customer, customer.customer)),
                Cell(lens.percent(coverage), "num amber" if thin else "num"),
                Cell(lens.compact(customer.unmeasured), "num", fmt.count(customer.measured)),
                Cell(worst, "num muted"),
            ]
        )
    return f'<div class="d"><h2>{escape(w("data.customers"))}</h2>{table(heads, rows)}</div>'


# ---- stages


def stages_table(data: Intake, scores_at: int | None, lens: Lens) -> str:
    """How far behind the present each stage is, and what is normal there. `scores_at`: when scores were computed."""
    w, s = lens.words, data.stages
    rows: list[tuple[str, int | None, str, float]] = [
        ("received", s.received, f"≤ {lens.span(15_000)}", LATE_AFTER_S),
        ("queryable", s.newest_end, f"5–{lens.span(15_000)}", LATE_AFTER_S),
        ("stream", s.stream, f"≤ {lens.span(2 * MINUTE_MS)}", STREAM_LATE_AFTER_S),
        ("signal", s.signal, f"≤ {lens.span(2 * MINUTE_MS)}", STREAM_LATE_AFTER_S),
        ("closed", s.closed, f"≤ {lens.span(2 * MINUTE_MS)}", STREAM_LATE_AFTER_S),
    ]
    if scores_at is not None:
        rows.append(("scores", scores_at, f"≤ {lens.span(2 * MINUTE_MS)}", SCORES_LATE_S))
    if s.hour is not None:
        rows.append(("hour", s.hour, f"≤ {lens.span(70 * MINUTE_MS)}", HOUR_LATE_S))
    heads = [(w("data.column.stage"), ""), (w("data.column.now"), "num"), (w("data.column.usual"), "num")]
    cells = [
        [
            Cell(w(f"data.stage.{name}")),
            Cell(w("no_data"), "num muted") if at is None else _behind(at, late_s, lens),
            Cell(usual, "num muted"),
        ]
        for name, at, usual, late_s in rows
    ]
    notes = [_arrivals(data, lens)]
    if data.late_requests:
        of = data.stream_requests + data.late_requests
        notes.append(w("data.late_requests", late=fmt.count(data.late_requests), of=fmt.count(of)))
    if s.dirty:
        notes.append(w("data.dirty", n=s.dirty))
    said = "".join(f'<p class="d-sub">{escape(note)}</p>' for note in notes if note)
    return f'<div class="d"><h2>{escape(w("data.stages"))}</h2>{table(heads, cells)}{said}</div>'


def _behind(at: int, late_s: float, lens: Lens) -> Cell:
    behind = max(0, lens.now - at)
    if behind > late_s * 1000:
        return Cell(f"⚠\ufe0e{lens.span(behind)}", "num amber", lens.clock(at, seconds=True))
    return Cell(lens.span(behind), "num", lens.clock(at, seconds=True))


def _arrivals(data: Intake, lens: Lens) -> str:
    a = data.arrivals
    if a.p50_ms is None or a.p95_ms is None or a.p99_ms is None:
        return ""
    # A box whose clock runs ahead can be heard before its interval ends.
    spans = {
        name: fmt.milliseconds(max(0.0, v)) for name, v in (("p50", a.p50_ms), ("p95", a.p95_ms), ("p99", a.p99_ms))
    }
    return lens.words("data.arrivals", n=fmt.count(a.reports), **spans)


# ---- silence


@dataclass(frozen=True, slots=True)
class Silence:
    """Boxes of one kind: silent `now`, `ended` in the range, and what those silent now had served a minute."""

    kind: str
    now: int
    ended: int
    at_stake: float


def incident_of_box(data: Intake, incidents: Sequence[Incident]) -> dict[str, Incident]:
    """The active incident of each silent box that has one."""
    silent = {box.device for box in data.hearing.silent}
    return {d: i for i in incidents if i.active and i.kind in KINDS for d in i.devices if d in silent}


def by_kind(data: Intake, incidents: Sequence[Incident]) -> list[Silence]:
    """All kinds, those of boxes first, then our own lag. Boxes beyond those listed count as not told yet."""
    of_box = incident_of_box(data, incidents)
    now = Counter(of_box[d].kind for d in of_box)
    ended: Counter[str] = Counter()
    stake: Counter[str] = Counter()
    for i in incidents:
        if i.kind in KINDS and i.merged_into is None and not i.active:
            ended[i.kind] += len(i.devices)
        if i.kind in KINDS and i.active:
            stake[i.kind] += i.severity.at_stake_per_minute  # type: ignore[assignment]
    rows = [Silence(kind, now[kind], ended[kind], float(stake[kind])) for kind in KINDS]
    rows.append(Silence(UNKNOWN, data.hearing.silent_count - len(of_box), 0, 0.0))
    lag = [i for i in incidents if i.kind == SELF_LAG]
    rows.append(Silence(SELF_LAG, sum(i.active for i in lag), sum(not i.active for i in lag), 0.0))
    return rows


def silence_table(data: Intake, incidents: Sequence[Incident], lens: Lens) -> str:
    """Kinds of silence with how many boxes."""
    w = lens.words
    heads = [(w("data.column.kind"), ""), (w("data.column.means"), ""), (w("data.column.now_silent"), "num")]
    heads += [(w("data.column.ended"), "num"), (w("data.column.stake"), "num")]
    rows = []
    for row in by_kind(data, incidents):
        tone = "num amber" if row.now else "num muted"
        stake = "–" if row.kind in (UNKNOWN, SELF_LAG) or not row.now else lens.compact(row.at_stake)
        rows.append(
            [
                Cell(w(f"data.kind.{row.kind}")),
                Cell(w(f"data.means.{row.kind}"), "muted"),
                Cell(fmt.count(row.now), tone),
                Cell(fmt.count(row.ended), "num" if row.ended else "num muted"),
                Cell(stake, "num"),
            ]
        )
    missed = sum(i.kind == SELF_TEST for i in incidents)
    test = f'<p class="d-sub amber">{escape(w("data.self_test", n=missed))}</p>' if missed else ""
    note = f'<p class="d-sub">{escape(w("data.silence_note"))}</p>'
    return f'<div class="d"><h2>{escape(w("data.silence"))}</h2>{table(heads, rows)}{note}{test}</div>'


def silent_boxes(data: Intake, incidents: Sequence[Incident], lens: Lens) -> str:
    """The boxes themselves, each with its incident."""
    w = lens.words
    title = f"<h2>{escape(w('data.silent_boxes'))}</h2>"
    if not data.hearing.silent:
        return f'<div class="d">{title}<p class="d-sub">{escape(w("data.silent_nobody"))}</p></div>'
    of_box = incident_of_box(data, incidents)
    heads = [(w("column.box"), ""), (w("column.last_seen"), "num"), (w("data.column.kind"), "")]
    heads += [(w("column.isp"), ""), (w("column.region"), ""), (w("data.column.model"), "")]
    rows = []
    for box in data.hearing.silent[:SILENT_SHOWN]:
        incident = of_box.get(box.device)
        kind = Cell(w("data.kind.unknown"), "muted")
        if incident is not None:
            link = "/triage?" + urlencode({"incident": incident.id, "lang": w.language})
            text = escape(w(f"data.kind.{incident.kind}"))
            kind = Cell(html=f'<a href="{escape(link)}" target="_self">{text}</a>')
        seen = Cell(lens.ago(box.last_seen), "num amber", lens.clock(box.last_seen, seconds=True))
        rows.append(
            [Cell(box.device, "mono"), seen, kind, Cell(box.device_isp), Cell(box.device_region), Cell(box.model)]
        )
    more = data.hearing.silent_count - len(rows)
    note = f'<p class="d-sub">{escape(w("data.silent_more", more=fmt.count(more)))}</p>' if more > 0 else ""
    return f'<div class="d">{title}{table(heads, rows, scroll=True)}{note}</div>'


# ---- what was refused


def rejections(data: Intake, lens: Lens) -> str:
    """Reasons, most frequent first, each with its newest examples."""
    w = lens.words
    title = f"<h2>{escape(w('data.rejections'))}</h2>"
    if not data.reasons:
        return f'<div class="d">{title}<p class="d-sub">{escape(w("data.rejections_none"))}</p></div>'
    heads = [(w("column.reason"), ""), (w("data.column.count"), "num"), (w("column.newest"), "num")]
    heads.append((w("data.column.example"), ""))
    rows = []
    for reason in data.reasons:
        examples = [e for e in data.examples if e.reason == reason.reason]
        said = "".join(
            f'<div class="d-example"><span class="mono">{escape(e.device)}</span>'
            f' <span class="muted">{escape(lens.clock(e.received_at, seconds=True))} · {escape(e.id)}</span>'
            f"<div>{escape(e.detail)}</div></div>"
            for e in examples
        )
        rows.append(
            [
                Cell(reason.reason, "mono"),
                Cell(fmt.count(reason.refusals), "num"),
                Cell(lens.ago(reason.newest), "num"),
                Cell(css="wrap", html=said or "–"),
            ]
        )
    note = f'<p class="d-sub">{escape(w("data.rejections_do"))}</p>'
    return f'<div class="d">{title}{table(heads, rows)}{note}</div>'


def ledger_link(sentence_of_books: str, lens: Lens) -> str:
    """The books in a sentence, and the way to them."""
    link = escape("/ledger?" + urlencode({"lang": lens.words.language}))
    text = escape(lens.words("data.to_ledger"))
    return (
        f'<div class="d"><h2>{escape(lens.words("data.books"))}</h2>'
        f'<p>{escape(sentence_of_books)} <a href="{link}" target="_self">{text}</a></p></div>'
    )
