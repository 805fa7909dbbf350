"""The explore page: the address is the question; controls rewrite the address."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

import streamlit as st

from contracts.columns import CELL_DIMENSIONS
from contracts.errors import ContractError
from dashboards import explore, explore_figures, explore_url, guard, markup, pipeline, scans
from dashboards.context import Context
from dashboards.explore_url import NAMES, Ask
from dashboards.lens import Lens
from dashboards.state import Range
from dashboards.verdicts import FULL_COVERAGE
from dashboards.viewer import customers
from history.query_cells import MEASURES, STEPS_MS, WITH_THRESHOLD, CellAnswer, CellQuestion

_SCAN = "scan"


def explore_page(lens: Lens, chosen: Range) -> None:
    """Any measure by any dimensions."""
    guard.guarded(partial(_draw, chosen=chosen), lens.words.language)


def _draw(context: Context, lens: Lens, chosen: Range) -> None:
    w = lens.words
    end = chosen.bounds(lens.now)[1]
    try:
        ask = explore_url.read(st.query_params)
        usual = context.threshold(ask.only("customer"), ask.only("service"), ask.measure)
        question = ask.question(end - chosen.length_ms, end, usual)
        head = st.container()
        _controls(context, ask, question, lens)
        begun = time.perf_counter()
        answer = context.backend.cells(question)
        took_ms = (time.perf_counter() - begun) * 1_000
    except ContractError as error:
        _wrong(error, lens)
        return
    sources = ", ".join(w(f"source.{name}") for name in answer.sources)
    if not answer.keys:
        lines = [w("explore.nothing_why"), w("explore.nothing_do")]
        head.html(markup.blank(explore.sentence(answer, lens), lines))
        return
    status = guard.status_of(context)
    details = [
        pipeline.detail(status, lens),
        _measured(context, question, lens),
        w("explore.from", start=lens.clock(question.start), end=lens.clock(question.end)),
        w("zone", zone=lens.zone_name()),
        w("explore.took", ms=max(1, round(took_ms)), sources=sources),
    ]
    head.html(markup.answer(explore.sentence(answer, lens), details))
    with head:
        guard.late(status, lens)
    _drawing(answer, ask, lens)
    _share(answer, lens)
    _boxes(context, question, lens)


def _measured(context: Context, question: CellQuestion, lens: Lens) -> str:
    """How much of the customers' traffic these figures rest on; empty when nothing was expected."""
    customers_asked = tuple(question.where.get("customer", ()))
    coverage = context.backend.coverage(question.start, question.end, customers_asked).coverage
    if coverage is None:
        return ""
    sign = "⚠\ufe0e" if coverage < FULL_COVERAGE else ""
    return sign + lens.words("covered", coverage=lens.percent(coverage))


def _wrong(error: ContractError, lens: Lens) -> None:
    w = lens.words
    line = w("explore.wrong_is", field=error.field, expected=error.expected, got=error.got)
    st.html(markup.blank(w("explore.wrong"), [line]))
    st.button(w("explore.wrong_do"), on_click=_go, args=(Ask(),))


def _go(ask: Ask) -> None:
    """Put a question into the address."""
    for name in NAMES:
        if name in st.query_params:
            del st.query_params[name]
    st.query_params.update(explore_url.write(ask))


def _controls(context: Context, ask: Ask, question: CellQuestion, lens: Lens) -> None:
    w = lens.words
    sizes = [2.2, 3, 1.8, 1.2, 1.2] if ask.measure in WITH_THRESHOLD else [2.2, 3, 1.8, 1.2]
    places = st.columns(sizes, gap="small", vertical_alignment="bottom")
    with places[0]:
        _choice("measure", list(MEASURES), ask.measure, lens, lambda m: w(f"measure.{m}"), ask)
    with places[1]:
        st.session_state["x-by"] = list(ask.by)
        st.multiselect(
            w("explore.by"), CELL_DIMENSIONS, key="x-by", max_selections=2, format_func=lambda d: w(f"dim.{d}"),
            on_change=_changed, args=("by", ask), placeholder=w("explore.all"),
        )  # fmt: skip
    with places[2]:
        st.session_state["x-view"] = ask.view
        views = [v for v in explore_url.VIEWS if v != "heat" or len(ask.by) == 2 or ask.view == "heat"]
        st.segmented_control(
            w("explore.view"), views, key="x-view", format_func=lambda v: w(f"view.{v}"), on_change=_changed,
            args=("view", ask),
        )  # fmt: skip
    with places[3]:
        steps = ["auto", *(s for s in STEPS_MS if _step_fits(s, question))]
        chosen_step: Any = ask.step_ms if ask.step_ms in steps else "auto"
        _choice(
            "step", steps, chosen_step, lens, lambda s: w("explore.step_auto") if s == "auto" else lens.span(s), ask,
            disabled=ask.view != "line",
        )  # fmt: skip
    if ask.measure in WITH_THRESHOLD:
        unit = "ms" if ask.measure == "slow_requests" else "kbs"
        with places[4]:
            st.session_state["x-threshold"] = float(question.threshold or 0.0)
            st.number_input(
                w(f"explore.threshold_{unit}"), min_value=0.1, key="x-threshold", on_change=_changed,
                args=("threshold", ask),
            )  # fmt: skip
    _filters(context, ask, question, lens)


def _step_fits(step_ms: int, question: CellQuestion) -> bool:
    span = question.end - question.start
    try:
        CellQuestion("requests", question.start - question.start % step_ms, question.end, step_ms=step_ms)
    except ContractError:
        return False
    return span >= 2 * step_ms


def _choice(
    name: str, options: list[Any], value: Any, lens: Lens, label: Callable[[Any], str], ask: Ask, **more: Any
) -> None:
    st.session_state[f"x-{name}"] = value
    st.selectbox(
        lens.words(f"explore.{name}"), options, key=f"x-{name}", format_func=label, on_change=_changed,
        args=(name, ask), **more,
    )  # fmt: skip


def _changed(name: str, ask: Ask) -> None:
    value = st.session_state[f"x-{name}"]
    if name == "measure":
        ask = explore_url.for_measure(ask, value)
    elif name == "by":
        view = "line" if ask.view == "heat" and len(value) != 2 else ask.view
        ask = replace(ask, by=tuple(value), view=view)
    elif name == "view":
        ask = replace(ask, view=value or ask.view)
    elif name == "step":
        ask = replace(ask, step_ms=None if value == "auto" else value)
    elif name == "threshold":
        ask = replace(ask, threshold=float(value))
    _go(ask)


def _filters(context: Context, ask: Ask, question: CellQuestion, lens: Lens) -> None:
    w = lens.words
    names = customers()
    places = st.columns([2.2, 3, 3], gap="small", vertical_alignment="bottom")
    with places[0]:
        dimension = st.selectbox(
            w("explore.filter"), ["", *CELL_DIMENSIONS], key="x-filter",
            format_func=lambda d: w(f"dim.{d}") if d else w("explore.filter_none"),
        )  # fmt: skip
    with places[1]:
        offered: list[str] = []
        if dimension:
            offered = list(context.backend.values(dimension, question.start, question.end))
            chosen = list(ask.where.get(dimension, ()))
            offered += [value for value in chosen if value not in offered]
            st.session_state["x-values"] = chosen
        st.multiselect(
            w("explore.filter_values"), offered, key="x-values", disabled=not dimension, on_change=_filtered,
            args=(dimension, ask), placeholder="" if dimension else w("explore.filter_hint"),
            format_func=lambda v: names.get(v, v) if dimension == "customer" else v,
        )  # fmt: skip
    with places[2], st.container(key="chips", horizontal=True):
        for name, values in ask.where.items():
            shown = ", ".join(names.get(v, v) if name == "customer" else v for v in values)
            without = replace(ask, where={d: v for d, v in ask.where.items() if d != name})
            label = w("explore.remove", dimension=w(f"dim.{name}"), values=shown)
            st.button(_plain(label), key=f"x-rm-{name}", on_click=_go, args=(without,))
        for n, combination in enumerate(ask.without):
            shown = ", ".join(f"{w(f'dim.{d}')} = {v}" for d, v in combination.items())
            less = replace(ask, without=tuple(c for i, c in enumerate(ask.without) if i != n))
            label = w("explore.remove_without", combination=shown)
            st.button(_plain(label), key=f"x-rmw-{n}", on_click=_go, args=(less,))


def _plain(text: str) -> str:
    """A label that Streamlit's Markdown leaves as it is."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+-.!|~:$" else c for c in text)


def _filtered(dimension: str, ask: Ask) -> None:
    values = tuple(st.session_state["x-values"])
    where = {d: v for d, v in ask.where.items() if d != dimension}
    _go(replace(ask, where=where | ({dimension: values} if values else {})))


def _drawing(answer: CellAnswer, ask: Ask, lens: Lens) -> None:
    if ask.view == "line":
        st.html(markup.heading(explore.title(answer.question, "line", lens)))
        guard.plot(explore_figures.line_figure(answer, lens), "x-line")
        if answer.question.by:
            st.html(explore.groups_table(answer, lens, most=20))
    elif ask.view == "heat":
        st.html(markup.heading(explore.title(answer.question, "heat", lens)))
        guard.plot(explore_figures.heat_figure(answer, lens), "x-heat")
    else:
        st.html(explore.groups_table(answer, lens))


def _share(answer: CellAnswer, lens: Lens) -> None:
    w = lens.words
    with st.popover(w("explore.share")):
        st.caption(w("explore.share_url"))
        base = str(st.context.url or "").partition("?")[0]
        query = "&".join(f"{name}={quote(value, safe=':;,')}" for name, value in st.query_params.items())
        st.code(f"{base}?{query}" if query else base, language=None, wrap_lines=True)
        st.download_button(
            w("explore.csv", n=len(answer.keys)), explore.csv_text(answer), "explore.csv", "text/csv", key="x-csv"
        )
        st.caption(w("explore.share_sql"))
        st.code(explore.sql_text(answer.statement), language="sql")


# ---- raw scans


def _boxes(context: Context, question: CellQuestion, lens: Lens) -> None:
    w = lens.words
    if explore.is_quantile(question):
        return
    whole = replace(question, by=(), step_ms=None)
    with st.expander(w("explore.raw"), expanded=_SCAN in st.session_state):
        st.caption(w("explore.raw_help"))
        job: scans.Job | None = st.session_state.get(_SCAN)
        if job is None or not job.running:
            label = w("explore.raw_start", span=lens.span(whole.end - whole.start))
            if st.button(label, key="x-scan"):
                started = scans.start(whole, context.backend.scan(whole))
                if started is None:
                    st.html(markup.notice([w("explore.raw_busy", n=scans.MOST)], late=True))
                else:
                    st.session_state[_SCAN] = job = started
        if job is not None:
            guard.live(_scan, 1.0 if job.running else 3_600.0)(lens.words.language)


def _scan(language: str) -> None:
    guard.guarded(_draw_scan, language)


def _draw_scan(context: Context, lens: Lens) -> None:
    del context
    w = lens.words
    job: scans.Job = st.session_state[_SCAN]
    job.look()
    newest, question = job.newest, job.question
    whole_ms, done_ms = question.end - question.start, question.end - newest.reached
    said = {"whole": lens.span(whole_ms), "done": lens.span(done_ms), "rows": lens.compact(newest.rows)}
    if job.running:
        st.progress(done_ms / whole_ms, text=w("explore.raw_progress", **said))
        st.button(w("explore.raw_stop"), key="x-stop", on_click=job.stop.set)
    elif job.why:
        st.html(markup.notice([w("explore.raw_failed", why=job.why)], late=True))
    elif job.whole:
        st.caption(w("explore.raw_done", **said))
    else:
        span = {"start": lens.clock(newest.reached), "end": lens.clock(question.end)}
        st.html(markup.notice([w("explore.raw_stopped", whole=said["whole"], done=said["done"], **span)], late=True))
    if newest.value:
        st.html(explore.boxes_table(newest, question, lens))
    if not job.running and st.session_state.get("scan-shown") is not job:
        st.session_state["scan-shown"] = job
        st.rerun()  # once: to give the start button back
