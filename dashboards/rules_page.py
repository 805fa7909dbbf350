"""The page on scheduling rules: what each did to quality, so that a rule can be held to account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import streamlit as st

from contracts.entities import Change
from contracts.times import DAY_MS, MINUTE_MS
from dashboards import frontend, guard, markup, matched, pipeline, rules
from dashboards.context import Context
from dashboards.lens import Lens
from dashboards.state import Range
from history.query_cells import MAX_VALUES, RATIOS, CellQuestion
from history.query_rules import bucket_of, steps_of

REFRESH_S = 60
RULE, MEASURE = "rule", "m"  # parameters of the address


def rules_page(lens: Lens, chosen: Range) -> None:
    """Every rule against the others, and one of them over time."""
    guard.live(_rules, REFRESH_S)(lens.words.language, chosen)


def _rules(language: str, chosen: Range) -> None:
    guard.guarded(partial(_draw, chosen=chosen), language)


def _draw(context: Context, lens: Lens, chosen: Range) -> None:
    w = lens.words
    measure = st.query_params.get(MEASURE, RATIOS[0])
    measure = measure if measure in RATIOS else RATIOS[0]
    start, end = chosen.bounds(lens.now)
    question = CellQuestion(measure, start, end, threshold=context.threshold("", "", measure))
    found, apart = _found(context, question)
    status = guard.status_of(context)
    details = [
        pipeline.detail(status, lens),
        w("explore.from", start=lens.clock(start), end=lens.clock(end)),
        w("rules.matched.hour") if bucket_of(end - start) < DAY_MS else w("rules.matched.day"),
        w("zone", zone=lens.zone_name()),
    ]
    if not found:
        st.html(markup.blank(rules.sentence(found, measure, lens), [w("empty.why"), w("empty.do")]))
        return
    st.html(markup.answer(rules.sentence(found, measure, lens), details))
    guard.late(status, lens)
    _measure(measure, lens)
    shown = next((m for m in found if m.rule == st.query_params.get(RULE)), found[0])
    registered = context.registry.rules()
    names = rules.newest_versions(registered)
    picked = frontend.clicks(rules.rules_table(found, shown.rule, names, lens), "rules")
    if picked and picked != shown.rule:
        st.query_params[RULE] = picked
        st.rerun()
    window = (start - DAY_MS, end)
    changes = rules.changes_of(shown.rule, context.backend.changes(*window), registered, window, lens)
    _one(context, question, shown, apart, names, changes, lens)


def _found(context: Context, question: CellQuestion) -> tuple[list[matched.Match], tuple[str, ...]]:
    """Every rule, and those that stand apart: what is worse than all others would make these look better."""
    found = matched.matches(context.backend.rule_places(question))
    apart = tuple(sorted(m.rule for m in found if m.finding is matched.Finding.WORSE))
    return (matched.matches(context.backend.rule_places(question, "", apart)) if apart else found), apart


def _measure(measure: str, lens: Lens) -> None:
    st.session_state["rules-measure"] = measure
    st.selectbox(
        lens.words("explore.measure"), RATIOS, key="rules-measure", width=240,
        format_func=lambda m: lens.words(f"measure.{m}"), on_change=_chosen,
    )  # fmt: skip


def _chosen() -> None:
    st.query_params[MEASURE] = st.session_state["rules-measure"]


def _one(
    context: Context,
    question: CellQuestion,
    shown: matched.Match,
    apart: tuple[str, ...],
    names: rules.Rules,
    changes: Sequence[Change],
    lens: Lens,
) -> None:
    """A rule over time, and before and after each of its changes."""
    span = question.end - question.start
    step = steps_of(span)
    customers = context.backend.rule_customers(shown.rule, question.start, question.end)
    own = replace(question, where={"customer": customers} if 0 < len(customers) <= MAX_VALUES else {})
    stepped = replace(own, start=question.start - question.start % step, step_ms=step)
    st.html(markup.heading(rules.over_time_title(shown, names, lens)))
    rows = context.backend.rule_steps(stepped, shown.rule, apart)
    guard.plot(rules.rule_figure(stepped, rows, changes, lens), f"rule-{shown.rule}")
    inside = [c for c in changes if c.start >= question.start]
    compared = []
    for one in rules.around(inside, question.start - rules.AROUND_MS, lens.now - lens.now % MINUTE_MS - MINUTE_MS):
        result = None
        if not one.young:
            before, after = (
                context.backend.rule_places(replace(own, start=a, end=z), shown.rule, apart)
                for a, z in (one.before, one.after)
            )
            result = matched.step(before, after, shown.rule)
        compared.append((one, result))
    st.html(rules.versions_table(compared, lens))
    versions = context.backend.values("sched_rule", question.start, question.end)
    mine = [v for v in versions if rules.rule_of(v) == shown.rule]
    if mine:
        st.html(rules.explore_link(mine, question, lens))
