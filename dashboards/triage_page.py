"""The triage page: incidents as cards, the chosen one with its evidence, and what may be done to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from contracts.columns import CELL_DIMENSIONS
from contracts.entities import Change
from contracts.errors import ContractError
from contracts.incidents import Incident, SeriesEvidence
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from dashboards import explore_url, frontend, guard, incident_actions, incident_text, markup, pipeline, triage
from dashboards import triage_figures as figures
from dashboards.context import Context
from dashboards.lens import Lens
from dashboards.state import Range
from dashboards.viewer import customers
from history.query_cells import CellQuestion

EXEMPLARS = 8
PARAMETERS = ("incident", "drill", "heat")
HEAT_DEFAULT = ("client_isp", "client_region")


def triage_page(lens: Lens, chosen: Range) -> None:
    """Incidents, and the one that is looked at."""
    guard.live(_triage)(lens.words.language, chosen)


def _triage(language: str, chosen: Range) -> None:
    guard.guarded(partial(_draw, chosen=chosen), language)


def _draw(context: Context, lens: Lens, chosen: Range) -> None:
    names = customers()
    start, end = chosen.bounds(lens.now)
    known = context.backend.incidents(start, end + MINUTE_MS)
    found = triage.in_order([incident_actions.with_pending(incident) for incident in known])
    wanted = st.query_params.get("incident")
    shown = _chosen(context, wanted, found)
    status = guard.status_of(context)
    details = [pipeline.detail(status, lens), lens.words("zone", zone=lens.zone_name())]
    details.append(lens.words("live", span=lens.span(guard.REFRESH_S * 1000)))
    if shown is None:
        if status.get("freshness_s") is None and not found:
            st.html(markup.blank(lens.words("triage.unseen"), [lens.words("empty.why"), lens.words("empty.do")]))
            return
        _draw_none(found, wanted, details, lens, names)
        return
    sentence = incident_text.headline(shown.headline, lens, names)
    st.html(markup.answer(sentence, details))
    guard.late(status, lens)
    left, right = st.columns([1, 2.35], gap="medium")
    with left:
        picked = frontend.clicks(triage.cards(found, shown.id, lens, names), "cards")
    if picked and picked != shown.id:
        _open(picked)
    with right:
        _incident(context, shown, lens, names)


def _chosen(context: Context, wanted: str | None, found: Sequence[Incident]) -> Incident | None:
    """The incident of the address, with what was just done to it; without an address the worst."""
    if wanted is None:
        incident = found[0] if found else None
    else:
        listed = next((i for i in found if i.id == wanted), None)
        incident = listed or context.backend.incident(wanted)
    return None if incident is None else incident_actions.with_pending(incident)


def _draw_none(
    found: Sequence[Incident], wanted: str | None, details: list[str], lens: Lens, names: Mapping[str, str]
) -> None:
    w = lens.words
    if wanted is not None:
        st.html(markup.blank(w("triage.unknown"), [w("triage.calm_do")]))
        return
    st.html(markup.answer(triage.sentence(found, lens, names), details))
    st.html(markup.notice([w("triage.calm_do")]))


def _open(incident_id: str) -> None:
    for name in PARAMETERS:
        if name in st.query_params:
            del st.query_params[name]
    st.query_params["incident"] = incident_id
    st.rerun()


def _incident(context: Context, incident: Incident, lens: Lens, names: Mapping[str, str]) -> None:
    with st.container():  # what is said of an action comes and goes in here, and moves no chart
        incident_actions.bar(context, incident, lens)
    st.html(markup.figures(triage.key_figures(incident, _boxes(context, incident), lens)))
    changes = context.backend.changes(incident.onset - 2 * DAY_MS, incident.newest + MINUTE_MS)
    joined = {change.id for change in incident.changes}
    series = _worst(incident)
    if series is not None:
        _over_time(context, incident, series, [c for c in changes if c.id in joined], lens, names)
    if incident.kind == "quality":
        st.html(triage.causes_table(incident, _thresholds(context, incident), lens, names))
    notes = {c.id: (c.author, c.note) for c in changes}
    st.html(triage.changes_table(incident, notes, lens, names))
    if series is not None:
        _heat(context, incident, series, lens, names)
    st.html(triage.series_table(incident, lens, names))
    if series is not None:
        st.html(triage.exemplars_table(_exemplars(context, incident, series), lens))
    today = lens.now - lens.now % MINUTE_MS
    past = context.backend.incidents(today - 30 * DAY_MS, today + MINUTE_MS)
    picked = frontend.clicks(triage.similar_table(triage.similar(incident, past), lens, names), "similar")
    if picked:
        _open(picked)
    if incident.history:
        st.html(triage.history_list(incident, lens))


def _boxes(context: Context, incident: Incident) -> triage.Boxes | None:
    """How many boxes it concerns; None for one that is about boxes already, or about ourselves."""
    where = triage.affected_where(incident)
    if incident.kind != "quality" or not where:
        return None
    start = incident.onset - incident.onset % MINUTE_MS
    served, failing, *_ = context.backend.boxes_concerned(where, start, max(incident.newest, start) + MINUTE_MS)
    return triage.Boxes(served, failing)


def _worst(incident: Incident) -> SeriesEvidence | None:
    """The series that says it most surely."""
    return max(incident.series, key=lambda s: (s.nats, s.bad - s.expected), default=None)


def _question(context: Context, series: SeriesEvidence, **more: Any) -> CellQuestion:
    """About the rows of one series."""
    threshold = context.threshold(series.customer, series.service, series.measure)
    where = {"customer": (series.customer,), "service": (series.service,), **more.pop("where", {})}
    return CellQuestion(series.measure, where=where, threshold=threshold, **more)


def _thresholds(context: Context, incident: Incident) -> dict[str, float]:
    """By measure that which is in force for the series of it that says most surely what is wrong."""
    surest = {s.measure: s for s in sorted(incident.series, key=lambda s: (s.nats, s.bad - s.expected))}
    found = {m: context.threshold(s.customer, s.service, m) for m, s in surest.items()}
    return {measure: threshold for measure, threshold in found.items() if threshold is not None}


def _drill() -> dict[str, tuple[str, ...]]:
    """The cell that is looked at alone; an address that names none, or nonsense, looks at all."""
    try:
        where = explore_url.read_where(st.query_params.get("drill", ""))
    except ContractError:
        return {}
    return {d: v for d, v in where.items() if d in CELL_DIMENSIONS and d not in ("customer", "service")}


def _over_time(
    context: Context,
    incident: Incident,
    series: SeriesEvidence,
    changes: list[Change],
    lens: Lens,
    names: Mapping[str, str],
) -> None:
    w = lens.words
    start, end = triage.span_of(incident, lens.now)
    step = _step(end - start)
    start -= start % step
    drill = _drill()
    question = _question(context, series, start=start, end=end, where=drill, step_ms=step)
    if drill:
        track = figures.track_of_cells(context.backend.cells(question))
    else:
        signals = context.backend.signals(series.customer, series.service, series.measure, start, end)
        track = figures.track_of(signals)
        if not track.minute:
            track = figures.track_of_cells(context.backend.cells(question))
    without, without_ratio = None, None
    rows = [{d: v for d, v in c.where.items() if d in CELL_DIMENSIONS} for c in incident.causes if c.answer]
    if any(rows) and not drill:
        taken_out = replace(question, without=tuple(row for row in rows if row))
        without = figures.track_of_cells(context.backend.cells(taken_out))
        bad, total, _ = without.sums(incident.onset)
        without_ratio = bad / total if total else None
    bad, total, expected = track.sums(incident.onset)
    title = w(
        "triage.over_time",
        customer=f"{names.get(series.customer, series.customer)}, {series.service}",
        measure=w(f"measure.{series.measure}"),
        now=lens.percent(bad / total if total else None),
        usual=lens.percent(expected / total if expected is not None and total else None),
    )
    if without_ratio is not None:
        title += w("triage.over_time_without", without=lens.percent(without_ratio))
    st.html(markup.heading(title))
    guard.plot(figures.incident_figure(incident, track, without, changes, lens), f"t-{incident.id}")


def _step(span_ms: int) -> int:
    return MINUTE_MS if span_ms <= 12 * HOUR_MS else 5 * MINUTE_MS


def _heat(context: Context, incident: Incident, series: SeriesEvidence, lens: Lens, names: Mapping[str, str]) -> None:
    w = lens.words
    by = _heat_by(incident)
    places = st.columns([2.2, 1.6, 1.6, 2], vertical_alignment="bottom")
    places[0].html(markup.heading(w("triage.heat")))
    for n, place in enumerate(places[1:3]):
        st.session_state[f"t-heat-{n}"] = by[n]
        place.selectbox(
            w("triage.heat"), CELL_DIMENSIONS, key=f"t-heat-{n}", format_func=lambda d: w(f"dim.{d}"),
            label_visibility="collapsed", on_change=_heat_chosen,
        )  # fmt: skip
    drill = _drill()
    if drill:
        text = incident_text.where_text({d: ", ".join(v) for d, v in drill.items()}, lens, names)
        places[3].button(w("triage.drill", where=text), key="t-undrill", on_click=_undrill)
    start = incident.onset - incident.onset % MINUTE_MS
    end = max(start + MINUTE_MS, min(lens.now - lens.now % MINUTE_MS, incident.newest + MINUTE_MS))
    now = context.backend.cells(_question(context, series, start=start, end=end, by=by, where=drill))
    before = context.backend.cells(_question(context, series, start=start - HOUR_MS, end=start, by=by, where=drill))
    cells = triage.against_expected(now, before)
    if not cells:
        st.html(markup.notice([w("explore.nothing")]))
        return
    picked = frontend.clicks(triage.heat_map(cells, by, lens), "heat")
    if picked and explore_url.read_where(picked) != {d: drill.get(d) for d in by}:
        st.query_params["drill"] = explore_url.write_where({**drill, **explore_url.read_where(picked)})
        st.rerun()


def _heat_by(incident: Incident) -> tuple[str, str]:
    """The dimensions of the address, else those of the best cause, filled up with the usual ones."""
    given = [d for d in st.query_params.get("heat", "").split(",") if d in CELL_DIMENSIONS]
    cause = list(incident.causes[0].where) if incident.causes else []
    known = [d for d in (*given, *cause, *HEAT_DEFAULT) if d in CELL_DIMENSIONS and d not in ("customer", "service")]
    first, second, *_ = dict.fromkeys(known)
    return first, second


def _heat_chosen() -> None:
    first, second = st.session_state["t-heat-0"], st.session_state["t-heat-1"]
    if first != second:
        st.query_params["heat"] = f"{first},{second}"


def _undrill() -> None:
    del st.query_params["drill"]


def _exemplars(context: Context, incident: Incident, series: SeriesEvidence) -> list[Any]:
    """Of the affected customer and, where the cause names what an exemplar knows, of the cause."""
    cause = next((c.where for c in incident.causes if c.answer), {})
    found = context.backend.exemplars(incident.onset, incident.newest + MINUTE_MS, series.customer)
    return [e for e in found if all(getattr(e, d, v) == v for d, v in cause.items())][:EXEMPLARS]
