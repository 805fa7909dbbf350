"""The customer page's view: verdict, sentence, figures, what each panel's title states, changes. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from contracts.entities import CHANGE_KINDS, Customer
from dashboards import format as fmt
from dashboards.lens import Lens
from dashboards.markup import Cell, Figure, table
from dashboards.model import CustomerSeries, Marker, State, Steps, Sums
from dashboards.verdicts import FULL_COVERAGE, below_since, judge, limit_of, unmeasured_spans, worst_step


@dataclass(frozen=True, slots=True)
class CustomerView:
    """What the page draws. `since`: start of the steps above the limit that reach the present, if BELOW."""

    name: str
    state: State
    limit: float | None
    since: int | None
    present: Sums
    present_ms: int
    steps: Steps
    markers: tuple[Marker, ...]


@dataclass(frozen=True, slots=True)
class Titles:
    """What the four panels state."""

    failures: str
    latency: str
    coverage: str
    traffic: str


def customer_view(data: CustomerSeries, customer: Customer, service: str | None, *, fresh: bool = True) -> CustomerView:
    """The view of one customer; `service` None: all its services against the strictest objective. Only fresh data is
    judged."""
    limit = limit_of(customer, service)
    state = judge(data.present, limit) if fresh else State.NOT_JUDGED
    since = below_since(data.steps, limit, data.present_start) if state is State.BELOW else None
    if state is State.BELOW and since is None:
        since = data.present_start
    return CustomerView(
        customer.name,
        state,
        limit,
        since,
        data.present,
        data.present_end - data.present_start,
        data.steps,
        data.markers,
    )


def sentence(view: CustomerView, lens: Lens) -> str:
    """What is so."""
    w, present = lens.words, view.present
    ratio, limit = lens.percent(present.failure_ratio), fmt.promise(view.limit or 0.0)
    if view.state is State.NO_TRAFFIC:
        return w("customer.no_traffic", name=view.name)
    if view.state is State.NO_OBJECTIVE:
        return w("customer.no_objective", name=view.name, ratio=ratio)
    if view.state is State.WITHIN:
        return w("customer.within", name=view.name, ratio=ratio, limit=limit)
    if view.state is State.BELOW:
        since = lens.clock(view.since) if view.since is not None else ""
        return w("customer.below", name=view.name, since=since, ratio=ratio, limit=limit)
    few = view.limit is not None and (present.failure_ratio or 0.0) > view.limit
    if not few:
        why = w("customer.why_coverage", coverage=lens.percent(present.coverage))
    else:
        counts = {"failures": fmt.count(present.failures), "requests": fmt.count(present.requests)}
        why = w("customer.why_few", **counts)
    return w("customer.undecided", name=view.name, why=why)


def key_figures(view: CustomerView, lens: Lens) -> list[Figure]:
    """The customer in five figures."""
    w, present = lens.words, view.present
    coverage = present.coverage
    thin = coverage is not None and coverage < FULL_COVERAGE
    failing = Figure(
        w("figure.failing"),
        lens.percent(present.failure_ratio),
        lens.counts(present) if present.requests else "",
        "red" if view.state is State.BELOW else "",
    )
    objective = Figure(w("figure.objective"), "–", w("state.no_objective"))
    if view.limit is not None:
        objective = Figure(w("figure.objective"), f"≤ {fmt.promise(view.limit)}", w("figure.may_fail"))
    return [
        failing,
        objective,
        Figure(w("figure.latency"), lens.milliseconds(present.p95_ms), w("figure.latency_note")),
        Figure(w("figure.traffic"), lens.rate(present.requests, view.present_ms), w("figure.per_minute")),
        Figure(w("figure.coverage"), lens.percent(coverage), w("figure.of_expected"), "amber" if thin else ""),
    ]


def titles(view: CustomerView, lens: Lens) -> Titles:
    """The finding of each panel in words."""
    total = view.steps.total()
    if not total.requests:
        nothing = lens.words("chart.no_data")
        return Titles(nothing, nothing, _coverage_title(view, total, lens), nothing)
    return Titles(
        failures=_failures_title(view, lens) + _measured(total, lens),
        latency=_latency_title(view, lens),
        coverage=_coverage_title(view, total, lens),
        traffic=_traffic_title(view, total, lens),
    )


def _measured(total: Sums, lens: Lens) -> str:
    """What a figure has to add when it rests on less than FULL_COVERAGE."""
    coverage = total.coverage
    if coverage is None or coverage >= FULL_COVERAGE:
        return ""
    return lens.words("sentence.aside", text=lens.words("covered", coverage=fmt.percent(coverage)))


def _failures_title(view: CustomerView, lens: Lens) -> str:
    worst = worst_step(view.steps)
    ratio = view.steps.ratio(worst) if worst is not None else None
    if worst is None or not ratio:
        return lens.words("chart.failures.none")
    time, peak = lens.clock(view.steps.start[worst]), lens.percent(ratio)
    if view.limit is None:
        return lens.words("chart.failures.plain", ratio=peak, time=time)
    if ratio <= view.limit:
        return lens.words("chart.failures.calm", ratio=peak, time=time)
    times = fmt.significant(ratio / view.limit, 2)
    return lens.words("chart.failures.peak", ratio=peak, time=time, times=times)


def _latency_title(view: CustomerView, lens: Lens) -> str:
    middles = {}
    for name in ("p50", "p95"):
        known = [v for v in view.steps.latency_ms.get(name, ()) if v is not None]
        if not known:
            return lens.words("chart.no_latency")
        middles[name] = fmt.milliseconds(statistics.median(known))
    return lens.words("chart.latency", **middles)


def _coverage_title(view: CustomerView, total: Sums, lens: Lens) -> str:
    coverage = total.coverage
    if coverage is None:
        return lens.words("chart.no_data")
    if total.unmeasured == 0:
        return lens.words("chart.coverage.all")
    thin_ms = sum(end - start for start, end in unmeasured_spans(view.steps))
    if thin_ms == 0:
        return lens.words("chart.coverage.full", coverage=fmt.percent(coverage))
    return lens.words("chart.coverage.thin", coverage=fmt.percent(coverage), span=lens.span(thin_ms))


def _traffic_title(view: CustomerView, total: Sums, lens: Lens) -> str:
    """Averaged from the first step with data on: the time before it is not traffic of zero."""
    steps = view.steps
    errors = sum(steps.status.get("s5xx", ()))
    first = next(i for i in range(len(steps)) if steps.coverage(i) is not None)
    rate = lens.rate(total.requests, steps.until - steps.start[first])
    return lens.words("chart.traffic", rate=rate, errors=fmt.percent(errors / total.requests))


def kind_of(marker: Marker, lens: Lens) -> str:
    """The kind of a change in words."""
    return lens.words(f"kind.{marker.kind}") if marker.kind in CHANGE_KINDS else marker.kind


def marker_hover(marker: Marker, lens: Lens) -> str:
    """Who and what, for a change marker: escaped lines for the chart."""
    lines = [
        f"{lens.clock(marker.start)} · {kind_of(marker, lens)} · {marker.author}",
        marker.scope or lens.words("changes.everything"),
        marker.note[:120],
        marker.reference,
    ]
    return "<br>".join(escape(line) for line in lines if line)


def changes_table(markers: Sequence[Marker], lens: Lens) -> str:
    """The changes of the range, newest first."""
    w = lens.words
    title = f"<h2>{escape(w('changes.title'))}</h2>"
    if not markers:
        return f'<div class="d">{title}<p class="d-sub">{escape(w("changes.none"))}</p></div>'
    heads = [(w("column.when"), "num"), (w("column.kind"), ""), (w("column.scope"), "")]
    heads += [(w("column.who"), ""), (w("column.note"), "fill")]
    rows = [
        [
            Cell(lens.clock(m.start), "num"),
            Cell(kind_of(m, lens)),
            Cell(m.scope or w("changes.everything")),
            Cell(m.author),
            Cell(" ".join(part for part in (m.note, m.reference) if part), "fill"),
        ]
        for m in sorted(markers, key=lambda m: -m.start)
    ]
    return f'<div class="d">{title}{table(heads, rows)}</div>'
