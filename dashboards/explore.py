"""The explore page's sentence, tables, CSV and SQL from an answer of cells. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from contracts.times import MINUTE_MS
from dashboards import format as fmt
from dashboards.lens import Lens
from dashboards.markup import Cell, bar, table
from dashboards.verdicts import beyond_chance
from history.query_cells import QUANTILES, RATIOS, CellAnswer, CellQuestion, Statement
from history.query_raw import Scan

LINES = 7  # series drawn before the rest is summed up
ROWS = 200
HEAT = 24  # rows and columns of a heat map
STANDS_OUT = 1.5

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupSum:
    """One group over the whole span: `value` and `total` as in CellAnswer; `excess`: bad beyond the others' ratio."""

    key: Key
    value: float
    total: int
    excess: float = 0.0

    @property
    def ratio(self) -> float | None:
        """Bad of total; None without any."""
        return self.value / self.total if self.total else None


def is_ratio(question: CellQuestion) -> bool:
    """Whether figures are bad of total."""
    return question.measure in RATIOS


def is_quantile(question: CellQuestion) -> bool:
    """Whether figures are quantiles, which do not add up."""
    return question.measure in QUANTILES


def groups(answer: CellAnswer) -> list[GroupSum]:
    """Groups over the span: ratios by excess, worst first; rates by size; quantiles (which do not add over steps: the
    greatest step stands for the group) by value."""
    value: dict[Key, float] = {}
    total: dict[Key, int] = {}
    for key, v, t in zip(answer.keys, answer.value, answer.total, strict=True):
        value[key] = max(value.get(key, 0.0), v) if is_quantile(answer.question) else value.get(key, 0.0) + v
        total[key] = total.get(key, 0) + t
    if not is_ratio(answer.question):
        return sorted((GroupSum(k, v, total[k]) for k, v in value.items()), key=lambda g: (-g.value, g.key))
    bad, of = sum(value.values()), sum(total.values())
    found = []
    for key, v in value.items():
        rest = (bad - v) / (of - total[key]) if of > total[key] else 0.0
        found.append(GroupSum(key, v, total[key], v - total[key] * rest if of > total[key] else 0.0))
    return sorted(found, key=lambda g: (-g.excess, -g.value, g.key))


def overall(found: Sequence[GroupSum]) -> GroupSum:
    """All groups together."""
    return GroupSum((), sum(g.value for g in found), sum(g.total for g in found))


def name_of(key: Key) -> str:
    """A group's name."""
    return " · ".join(part or "–" for part in key)


def measure_name(question: CellQuestion, lens: Lens) -> str:
    """The measure with its threshold."""
    name = lens.words(f"measure.{question.measure}")
    if question.threshold is None:
        return name
    limit = f"≥ {question.threshold:g}{fmt.THIN}ms" if question.measure == "slow_requests" else ""
    return f"{name} ({limit or f'< {question.threshold:g}{fmt.THIN}kB/s'})"


def sentence(answer: CellAnswer, lens: Lens) -> str:
    """What the figures say."""
    w, question = lens.words, answer.question
    found = groups(answer)
    if not found:
        return w("explore.nothing")
    named = {"measure": measure_name(question, lens)}
    all_of_it = overall(found)
    if is_quantile(question):
        return _quantile_sentence(found, lens, named)
    if not is_ratio(question):
        rate = _rate(all_of_it.value, question, lens)
        if not question.by:
            return w("explore.rate", rate=rate, **named)
        share = lens.percent(found[0].value / all_of_it.value if all_of_it.value else None)
        return w("explore.rate_most", rate=rate, share=share, name=name_of(found[0].key), **named)
    ratio = lens.percent(all_of_it.ratio)
    if len(found) < 2:
        counts = {"bad": fmt.count(round(all_of_it.value)), "total": fmt.count(all_of_it.total)}
        return w("explore.ratio", ratio=ratio, **counts, **named)
    worst = found[0]
    rest = (all_of_it.value - worst.value) / (all_of_it.total - worst.total) if all_of_it.total > worst.total else 0.0
    if (worst.ratio or 0.0) <= STANDS_OUT * rest or not beyond_chance(round(worst.value), worst.total, rest):
        return w("explore.ratio_even", ratio=ratio, **named)
    figures = {"worst": lens.percent(worst.ratio), "rest": lens.percent(rest)}
    return w("explore.ratio_worst", ratio=ratio, name=name_of(worst.key), **figures, **named)


def _quantile_sentence(found: Sequence[GroupSum], lens: Lens, named: Mapping[str, str]) -> str:
    w = lens.words
    if len(found) == 1:
        value = lens.milliseconds(found[0].value)
        return w("explore.quantile", value=value, total=fmt.count(found[0].total), **named)
    high, low = found[0], found[-1]
    figures = {"value": lens.milliseconds(high.value), "low": lens.milliseconds(low.value)}
    return w("explore.quantile_most", name=name_of(high.key), low_name=name_of(low.key), **figures, **named)


def _rate(value: float, question: CellQuestion, lens: Lens, span_ms: int | None = None) -> str:
    minutes = (span_ms or question.end - question.start) / MINUTE_MS
    text = lens.compact(value / minutes)
    return f"{text}B" if question.measure == "bytes" else text


def figure_text(group: GroupSum, question: CellQuestion, lens: Lens, span_ms: int | None = None) -> str:
    """A group's figure as people read it."""
    if is_quantile(question):
        return lens.milliseconds(group.value)
    if is_ratio(question):
        return lens.percent(group.ratio)
    return _rate(group.value, question, lens, span_ms)


def title(question: CellQuestion, view: str, lens: Lens, by: Key | None = None) -> str:
    """What the drawing shows."""
    w = lens.words
    named = {"measure": measure_name(question, lens)}
    dimensions = [w(f"dim.{d}") for d in (question.by if by is None else by)]
    if view == "heat":
        return w("explore.title_heat", down=dimensions[0], across=dimensions[1], **named)
    if view == "line" and question.step_ms is not None:
        step = lens.span(question.step_ms)
        if not dimensions:
            return w("explore.title_alone", step=step, **named)
        return w("explore.title_line", by=" × ".join(dimensions), step=step, **named)
    return w("explore.title_table", by=" × ".join(dimensions) or w("explore.all"), **named)


def groups_table(answer: CellAnswer, lens: Lens, *, most: int = ROWS, by: Key | None = None) -> str:
    """The groups with both counts; worst or largest first. `by`: dimensions where they are not the question's."""
    w, question = lens.words, answer.question
    by = question.by if by is None else by
    found = groups(answer)
    all_of_it = overall(found)
    ratio = is_ratio(question)
    heads = [(w(f"dim.{d}"), "") for d in by] or [("", "")]
    heads.append(("", "fill"))
    heads.append((w("explore.figure") if ratio else w(f"measure.{question.measure}"), "num"))
    if ratio:
        heads += [(w("explore.bad"), "num"), (w("explore.total"), "num"), (w("explore.excess"), "num")]
    else:
        heads.append((w("explore.share_of") if not is_quantile(question) else w("measure.requests"), "num"))
    # An excess is drawn against a tenth of everything bad at least, so that chance does not look like a finding.
    top = max([*(g.excess if ratio else g.value for g in found), all_of_it.value / 10 if ratio else 0.0]) or 1.0
    rows = []
    for group in found[:most]:
        parts = [Cell(part or "–") for part in group.key] or [Cell(w("explore.all"))]
        size = max(0.0, group.excess) if ratio else group.value
        row = [*parts, Cell(css="fill", html=bar(size / top)), Cell(figure_text(group, question, lens), "num")]
        if ratio:
            row += [Cell(fmt.count(round(group.value)), "num"), Cell(fmt.count(group.total), "num")]
            row.append(Cell(fmt.count(round(group.excess)), "num muted", w("explore.excess_help")))
        elif is_quantile(question):
            row.append(Cell(fmt.count(group.total), "num"))
        else:
            row.append(Cell(lens.percent(group.value / all_of_it.value if all_of_it.value else None), "num"))
        rows.append(row)
    note = ""
    if len(found) > most:
        note = f'<p class="d-sub">{escape(w("explore.shown", shown=most, n=len(found)))}</p>'
    heading = escape(title(question, "table", lens, by))
    return f'<div class="d"><h2>{heading}</h2>{table(heads, rows)}{note}</div>'


def boxes_table(found: Scan, question: CellQuestion, lens: Lens) -> str:
    """What a scan has found so far, by box, as a table of groups."""
    names = sorted(found.value)
    answer = CellAnswer(
        question,
        tuple((name,) for name in names),
        (0,) * len(names),
        tuple(found.value[name] for name in names),
        tuple(found.total[name] for name in names),
        (),
        Statement("", {}),
    )
    return groups_table(answer, lens, by=("device",), most=50)


def csv_text(answer: CellAnswer) -> str:
    """All rows of the answer: dimensions, time of the step (ms UTC), value, total. Cells that a spreadsheet would run
    as a formula get an apostrophe in front (OWASP, CSV injection)."""
    question = answer.question
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*question.by, "start_ms", "value", "total"])
    step = question.step_ms or 0
    rows = sorted(zip(answer.step, answer.keys, answer.value, answer.total, strict=True))
    for i, key, value, total in rows:
        safe = [f"'{part}" if part[:1] in "=+-@\t\r" and part else part for part in key]
        writer.writerow([*safe, question.start + i * step, f"{value:g}" if isinstance(value, float) else value, total])
    return out.getvalue()


def sql_text(statement: Statement) -> str:
    """The statement with its parameters as clickhouse-client takes them."""
    lines = [f"SET param_{name} = {_quoted(value)};" for name, value in sorted(statement.parameters.items())]
    return "\n".join([*lines, statement.sql])


def _quoted(value: object) -> str:
    """A parameter as a string literal; the client reads its content again as one tab-separated field."""
    if isinstance(value, (list, tuple)):
        inner = "[" + ",".join("'" + str(v).replace("\\", "\\\\").replace("'", "\\'") + "'" for v in value) + "]"
    else:
        inner = str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    return "'" + inner.replace("\\", "\\\\").replace("'", "\\'") + "'"
