"""Markup shared by the pages: answer, notices, key figures, tables, sparklines. Pure; what comes from data
is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from dashboards.lens import Lens
from dashboards.messages import Words
from dashboards.model import Steps
from dashboards.verdicts import empty_spans, unmeasured_spans

_HEIGHT = 32.0


def answer(sentence: str, details: Iterable[str] = ()) -> str:
    """The page's first line, and under it what it rests on."""
    parts = "".join(f"<span>{escape(d)}</span>" for d in details if d)
    return f'<div class="d"><h1 class="d-answer">{escape(sentence)}</h1><p class="d-sub">{parts}</p></div>'


def heading(text: str) -> str:
    """What a drawing shows."""
    return f'<div class="d"><h2>{escape(text)}</h2></div>'


def notice(lines: Sequence[str], *, late: bool = False) -> str:
    """A remark that concerns the whole page."""
    body = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f'<div class="d"><div class="d-notice{" late" if late else ""}" role="status">{body}</div></div>'


def blank(sentence: str, lines: Sequence[str]) -> str:
    """A page or part without data: what is missing, why, and what to do, beside the sign for no data."""
    body = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return (
        f'<div class="d"><h1 class="d-answer">{escape(sentence)}</h1>'
        f'<div class="d-empty"><div class="swatch"></div><div>{body}</div></div></div>'
    )


def fault(words: Words, reference: str) -> str:
    """What a viewer is told of a fault of ours: no detail, but where it stands in the log."""
    return blank(words("error.page"), [words("error.page_why", reference=reference), words("error.page_do")])


@dataclass(frozen=True, slots=True)
class Figure:
    """A key figure: label, value, unit or remark; `tone` is a CSS class (red, amber) or empty."""

    label: str
    value: str
    unit: str = ""
    tone: str = ""


def figures(items: Iterable[Figure]) -> str:
    """A row of key figures."""
    cells = "".join(
        f'<div><div class="k">{escape(f.label)}</div><div class="v {f.tone}">{escape(f.value)}</div>'
        f'<div class="u">{escape(f.unit) or "&nbsp;"}</div></div>'
        for f in items
    )
    return f'<div class="d"><div class="d-figures">{cells}</div></div>'


@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell; `css` adds classes, `title` a hover, `html` replaces the text by markup that is already safe."""

    text: str = ""
    css: str = ""
    title: str = ""
    html: str = ""


def table(heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[Cell]], *, scroll: bool = False) -> str:
    """A dense table. `heads`: (text, css) per column."""
    head = "".join(f'<th class="{css}">{escape(text)}</th>' for text, css in heads)
    body = "".join("<tr>" + "".join(cell(c) for c in row) + "</tr>" for row in rows)
    markup = f'<table class="dense"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{markup}</div>' if scroll else markup


def cell(c: Cell) -> str:
    """One cell as markup."""
    hover = f' title="{escape(c.title)}"' if c.title else ""
    return f'<td class="{c.css}"{hover}>{c.html or escape(c.text)}</td>'


def bar(share: float) -> str:
    """A bar of a share 0..1 of its cell."""
    return f'<div class="d-bar" style="width:{max(0.0, min(1.0, share)) * 100:.1f}%"></div>'


def sparkline(steps: Steps, limit: float | None, *, below: bool, label: str) -> str:
    """Failure ratio of a series against its objective, with both counts for the pointer.

    The scale is the row's own: twice the objective or the highest ratio, whichever is more, so that the dashed line
    stands half-way up in calm rows.
    """
    n = len(steps)
    ratios = [steps.ratio(i) for i in range(n)]
    known = [r for r in ratios if r is not None]
    top = max([2 * limit if limit else 0.0, max(known, default=0.0) * 1.05]) or 1.0
    xs = [round(1000 * (i + 0.5) / n, 1) for i in range(n)]
    ys = [None if r is None else round(_HEIGHT - 1 - r / top * (_HEIGHT - 3), 1) for r in ratios]
    shapes = [f'<line class="base" x1="0" x2="1000" y1="{_HEIGHT - 1}" y2="{_HEIGHT - 1}"/>']
    for run in _runs(ys):
        points = " ".join(f"{xs[i]:g},{ys[i]:g}" for i in run)
        foot = f"{xs[run[-1]]:g},{_HEIGHT - 1:g} {xs[run[0]]:g},{_HEIGHT - 1:g}"
        shapes.append(f'<polygon class="area" points="{points} {foot}"/><polyline class="line" points="{points}"/>')
    if limit is not None:
        y = round(_HEIGHT - 1 - limit / top * (_HEIGHT - 3), 1)
        shapes.append(f'<line class="limit" x1="0" x2="1000" y1="{y}" y2="{y}"/>')
    marks = [_mark("gap", span, steps) for span in empty_spans(steps)]
    marks += [_mark("thin", span, steps) for span in unmeasured_spans(steps)]
    last = next((i for i in reversed(range(n)) if ys[i] is not None), None)
    if last is not None:
        tone = " red" if below else ""
        marks.append(f'<i class="dot{tone}" style="left:{xs[last] / 10:.2f}%;top:{ys[last]}px"></i>')
    data = (
        f'data-start="{steps.start[0] if n else 0}" data-step="{steps.step_ms}"'
        f' data-requests="{_list(steps.requests)}" data-failures="{_list(steps.failures)}"'
        f' data-unmeasured="{_list(round(u) for u in steps.unmeasured)}"'
    )
    return (
        f'<div class="d-spark" {data} role="img" aria-label="{escape(label)}">{"".join(marks)}'
        f'<svg viewBox="0 0 1000 {_HEIGHT:g}" preserveAspectRatio="none">{"".join(shapes)}</svg>'
        f'<i class="cursor"></i></div>'
    )


def _list(values: Iterable[int]) -> str:
    return ",".join(map(str, values))


def _runs(ys: Sequence[float | None]) -> list[list[int]]:
    """Indices of consecutive known values."""
    runs: list[list[int]] = []
    for i, y in enumerate(ys):
        if y is None:
            continue
        if runs and runs[-1][-1] == i - 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


def _mark(css: str, span: tuple[int, int], steps: Steps) -> str:
    whole = len(steps) * steps.step_ms
    left, width = (span[0] - steps.start[0]) / whole * 100, (span[1] - span[0]) / whole * 100
    return f'<i class="{css}" style="left:{left:.2f}%;width:{width:.2f}%"></i>'


def stale(lens: Lens, newest: int) -> str:
    """The notice of a page whose data has stopped coming."""
    w = lens.words
    return notice(
        [w("stale.notice", span=lens.span(lens.now - newest), time=lens.clock(newest)), w("stale.do")], late=True
    )
