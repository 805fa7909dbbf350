"""The overview's view: customers ranked worst first, its sentence, its strip and tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode

from contracts.entities import Customer
from dashboards import format as fmt
from dashboards.lens import Lens
from dashboards.markup import Cell, Figure, bar, cell, sparkline, table
from dashboards.model import Fleet, Group, State, Steps, Sums
from dashboards.verdicts import FULL_COVERAGE, badness, beyond_chance, judge, limit_of

SIGNS = {State.BELOW: "▼", State.UNDECIDED: "?", State.NO_OBJECTIVE: "–", State.NO_TRAFFIC: "○"}
_UNLABELLED = (State.WITHIN, State.NOT_JUDGED)
_MAX_GROUPS = 12
_STANDS_OUT = 1.5  # times the failure ratio of the rest


@dataclass(frozen=True, slots=True)
class Row:
    """A customer in the strip. `change`: present minus reference failure ratio; None: one of them has no data."""

    id: str
    name: str
    state: State
    limit: float | None
    present: Sums
    change: float | None
    steps: Steps


@dataclass(frozen=True, slots=True)
class Overview:
    """Rows worst first, and the fleet's sums."""

    rows: tuple[Row, ...]
    total: Sums
    present_ms: int
    boxes_seen: int
    boxes_silent: int

    def count(self, state: State) -> int:
        """Customers in a state."""
        return sum(row.state is state for row in self.rows)


def overview(fleet: Fleet, customers: Sequence[Customer], *, fresh: bool = True) -> Overview:
    """The view of a fleet: every registered customer, and every other one that has data. Only a fresh one is judged."""
    known = {c.id: c for c in customers}
    ids = [*known, *sorted(set(fleet.series) - set(known))]
    rows = sorted((_row(fleet, i, known.get(i), fresh) for i in ids), key=_badness)
    sums = [row.present for row in rows]
    total = Sums(sum(s.requests for s in sums), sum(s.failures for s in sums), sum(s.unmeasured for s in sums))
    return Overview(
        rows=tuple(rows),
        total=total,
        present_ms=fleet.present_end - fleet.present_start,
        boxes_seen=sum(g.boxes_seen for g in fleet.isps),
        boxes_silent=sum(g.boxes_silent for g in fleet.isps),
    )


def _row(fleet: Fleet, customer_id: str, customer: Customer | None, fresh: bool) -> Row:
    limit = limit_of(customer)
    present = fleet.present.get(customer_id, Sums())
    before = fleet.reference.get(customer_id, Sums()).failure_ratio
    now = present.failure_ratio
    return Row(
        id=customer_id,
        name=customer.name if customer else customer_id,
        state=judge(present, limit) if fresh else State.NOT_JUDGED,
        limit=limit,
        present=present,
        change=now - before if now is not None and before is not None else None,
        steps=fleet.series.get(customer_id, Steps(60_000, fleet.end, (), (), (), ())),
    )


def _badness(row: Row) -> tuple[int, float, str]:
    return (*badness(row.state, row.present, row.steps.total(), row.limit), row.id)


def sentence(view: Overview, lens: Lens) -> str:
    """What is so, in one or two sentences."""
    w = lens.words
    below = [row for row in view.rows if row.state is State.BELOW]
    judged = view.count(State.WITHIN)
    traffic = len(view.rows) - view.count(State.NO_TRAFFIC)
    if traffic == 0:
        return w("overview.no_traffic")
    parts = []
    if below:
        worst = below[0]
        parts.append(
            w(
                "overview.below",
                n=len(below),
                total=len(view.rows),
                name=worst.name,
                ratio=lens.percent(worst.present.failure_ratio),
                limit=fmt.promise(worst.limit or 0.0),
            )
        )
    elif judged == traffic:
        parts.append(w("overview.within", n=traffic, ratio=lens.percent(view.total.failure_ratio)))
    elif judged == 0 and view.count(State.NO_OBJECTIVE) == traffic:
        parts.append(w("overview.no_objectives", ratio=lens.percent(view.total.failure_ratio)))
    else:
        parts.append(w("overview.none_below", n=judged, ratio=lens.percent(view.total.failure_ratio)))
    undecided = view.count(State.UNDECIDED)
    if undecided:
        parts.append(w("overview.undecided", n=undecided))
    coverage = view.total.coverage
    if coverage is not None and coverage < FULL_COVERAGE:
        parts.append(w("overview.measured", coverage=lens.percent(coverage)))
    return w("sentence.join").join(parts)


def key_figures(view: Overview, lens: Lens) -> list[Figure]:
    """The fleet in five figures."""
    w = lens.words
    total = view.total
    coverage = total.coverage
    thin = coverage is not None and coverage < FULL_COVERAGE
    silent = w("figure.silent", n=view.boxes_silent) if view.boxes_silent else w("figure.none_silent")
    return [
        Figure(w("figure.failing"), lens.percent(total.failure_ratio), lens.counts(total)),
        Figure(w("figure.traffic"), lens.rate(total.requests, view.present_ms), w("figure.per_minute")),
        Figure(w("figure.coverage"), lens.percent(coverage), w("figure.of_expected"), "amber" if thin else ""),
        Figure(w("figure.boxes"), fmt.count(view.boxes_seen), silent, "amber" if view.boxes_silent else ""),
    ]


def strip_title(fleet: Fleet, lens: Lens, range_name: str) -> str:
    """Head of the strip: how to read it."""
    w = lens.words
    parts = [w("overview.legend", range=range_name)]
    if fleet.reference_kind:
        parts.append(w("overview.change", against=w(f"against.{fleet.reference_kind}")))
    legend = "".join(f"<span>{escape(part)}</span>" for part in parts)
    return f'<div class="d"><h2>{escape(w("overview.customers"))}</h2><p class="d-sub">{legend}</p></div>'


def strip(view: Overview, fleet: Fleet, lens: Lens, link: Mapping[str, str], shown: int) -> str:
    """The strip of small multiples as markup. `link`: query parameters that a link to a customer carries on."""
    w = lens.words
    against = w(f"against.{fleet.reference_kind}") if fleet.reference_kind else ""
    heads = [
        ("", "", ""),
        (w("column.customer"), "", ""),
        (w("column.trend", start=lens.clock(fleet.start), end=lens.clock(fleet.end)), "", ""),
        (w("column.now"), "num", ""),
        (w("column.change"), "num", against),
        (w("column.limit"), "num", ""),
        (w("column.p95"), "num", ""),
        (w("column.traffic"), "num", ""),
        (w("column.coverage"), "num", ""),
    ]
    head = "".join(f'<th class="{css}" title="{escape(title)}">{escape(text)}</th>' for text, css, title in heads)
    body = "".join(_strip_row(row, view, lens, against, link) for row in view.rows[:shown])
    return f'<div class="d d-strip"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _strip_row(row: Row, view: Overview, lens: Lens, against: str, link: Mapping[str, str]) -> str:
    w = lens.words
    below = row.state is State.BELOW
    coverage = row.present.coverage
    thin = coverage is not None and coverage < FULL_COVERAGE
    tone = "red" if below else "amber" if row.state is State.UNDECIDED and thin else ""
    ratio = lens.percent(row.present.failure_ratio)
    href = escape("/customer?" + urlencode({**link, "customer": row.id}))
    verdict = w(f"state.{row.state.value}")
    state = "" if row.state in _UNLABELLED else f'<span class="state {tone}">{escape(verdict)}</span>'
    label = f"{row.name}: {ratio}, {verdict}"
    cells = [
        Cell(SIGNS.get(row.state, ""), f"sign {tone}"),
        Cell(css="who", html=f'<a href="{href}" target="_self">{escape(row.name)}</a>{state}'),
        Cell(css="trend", html=sparkline(row.steps, row.limit, below=below, label=label)),
        Cell(ratio, f"num {'red' if below else ''}", lens.counts(row.present) if row.present.requests else ""),
        Cell("–" if row.change is None else fmt.points(row.change), "num", against),
        Cell("–" if row.limit is None else f"≤ {fmt.promise(row.limit)}", "num muted"),
        Cell("–" if row.present.p95_ms is None else fmt.milliseconds(row.present.p95_ms), "num"),
        Cell(lens.rate(row.present.requests, view.present_ms), "num"),
        Cell("–" if coverage is None else fmt.percent(coverage), f"num {'amber' if thin else 'muted'}"),
    ]
    return f'<tr class="row" data-customer="{escape(row.id)}">{"".join(cell(c) for c in cells)}</tr>'


def group_finding(groups: Sequence[Group], lens: Lens) -> str:
    """The title of a table of groups: the one that fails most beyond what chance explains, against the rest."""
    total = Sums(sum(g.sums.requests for g in groups), sum(g.sums.failures for g in groups))
    if not total.requests:
        return lens.words("chart.no_data")
    worst = max(groups, key=lambda g: g.sums.failure_ratio or 0.0)
    rest = Sums(total.requests - worst.sums.requests, total.failures - worst.sums.failures).failure_ratio
    ratio = worst.sums.failure_ratio
    if rest is None or ratio is None or ratio <= _STANDS_OUT * rest:
        return lens.words("overview.group_even", ratio=lens.percent(total.failure_ratio))
    if beyond_chance(worst.sums.failures, worst.sums.requests, rest):
        return lens.words("overview.group_finding", name=worst.name, ratio=fmt.percent(ratio), rest=fmt.percent(rest))
    return lens.words("overview.group_even", ratio=lens.percent(total.failure_ratio))


def groups_table(groups: Sequence[Group], column: str, title: str, present_ms: int, lens: Lens) -> str:
    """Traffic and boxes by ISP or region, busiest first; groups beyond the twelfth in one line."""
    w = lens.words
    ranked = sorted(groups, key=lambda g: (-g.sums.requests, g.name))
    if len(ranked) > _MAX_GROUPS:
        ranked = [*ranked[: _MAX_GROUPS - 1], _merged(ranked[_MAX_GROUPS - 1 :], lens)]
    most = max((g.sums.requests for g in ranked), default=0) or 1
    heads = [(column, ""), ("", "fill"), (w("column.traffic"), "num"), (w("column.failing"), "num")]
    heads += [(w("column.boxes"), "num"), (w("column.silent"), "num")]
    rows = [
        [
            Cell(g.name),
            Cell(css="fill", html=bar(g.sums.requests / most)),
            Cell(lens.rate(g.sums.requests, present_ms), "num"),
            Cell(lens.percent(g.sums.failure_ratio), "num", lens.counts(g.sums) if g.sums.requests else ""),
            Cell(fmt.count(g.boxes_seen), "num"),
            Cell(fmt.count(g.boxes_silent), f"num {'amber' if g.boxes_silent else 'muted'}"),
        ]
        for g in ranked
    ]
    finding = escape(f"{title}: {group_finding(groups, lens)}")
    return f'<div class="d"><h2>{finding}</h2>{table(heads, rows)}</div>'


def _merged(groups: Sequence[Group], lens: Lens) -> Group:
    sums = Sums(
        sum(g.sums.requests for g in groups),
        sum(g.sums.failures for g in groups),
        sum(g.sums.unmeasured for g in groups),
    )
    seen, silent = sum(g.boxes_seen for g in groups), sum(g.boxes_silent for g in groups)
    return Group(lens.words("overview.others", n=len(groups)), sums, seen, silent)
