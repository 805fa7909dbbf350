"""What the explore page's address carries, read and written. Pure; each part is validated, what is wrong is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote

from contracts.errors import ContractError
from contracts.thresholds import Thresholds
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, from_rfc3339, minute_of, rfc3339
from history.query_cells import WITH_THRESHOLD, CellQuestion

VIEWS = ("line", "table", "heat")
NAMES = ("m", "by", "where", "without", "view", "from", "to", "step", "threshold")
MAX_TEXT = 4_000
# A span's steps where nobody chose: (up to, step).
_STEPS = (
    (2 * HOUR_MS, MINUTE_MS),
    (6 * HOUR_MS, 5 * MINUTE_MS),
    (DAY_MS, HOUR_MS),
    (7 * DAY_MS, 6 * HOUR_MS),
)
_BAD = "bad_query"
_SAFE = " /.@-+_()"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a viewer asks for. `span`: a fixed [start, end), or None for the sidebar's range up to now. `step_ms` None:
    chosen by the span."""

    measure: str = "failures"
    by: tuple[str, ...] = ("client_isp",)
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    without: tuple[Mapping[str, str], ...] = ()
    view: str = "line"
    span: tuple[int, int] | None = None
    step_ms: int | None = None
    threshold: float | None = None

    def question(self, start: int, end: int, usual: float | None = None) -> CellQuestion:
        """The question over [start, end), or over the fixed span; a line starts on its grid. `usual`: the threshold
        where none is asked for. Raises ContractError."""
        start, end = self.span or (start, end)
        step = None
        if self.view == "line":
            step = self.step_ms or auto_step(end - start)
            start -= start % step
        if self.view == "heat" and len(self.by) != 2:
            raise ContractError(_BAD, "by", "two dimensions for a heat map", ", ".join(self.by))
        threshold = usual if self.threshold is None else self.threshold
        return CellQuestion(self.measure, start, end, self.by, self.where, self.without, step, threshold)

    def only(self, dimension: str) -> str:
        """The one value that a dimension is kept to; "" where it is none or several."""
        values = self.where.get(dimension, ())
        return values[0] if len(values) == 1 else ""


def auto_step(span_ms: int) -> int:
    """The step of a line over a span: fine over hours, a day over weeks."""
    return next((step for most, step in _STEPS if span_ms <= most), DAY_MS)


def read(query: Mapping[str, str]) -> Ask:
    """What an address asks for; raises ContractError naming the parameter."""
    for name in NAMES:
        if len(query.get(name, "")) > MAX_TEXT:
            raise ContractError(_BAD, name, f"at most {MAX_TEXT} characters", len(query[name]))
    ask = Ask(
        measure=query.get("m", "failures"),
        by=tuple(d for d in query.get("by", "client_isp").split(",") if d),
        where=read_where(query.get("where", "")),
        without=tuple(_combination(part) for part in query.get("without", "").split("|") if part),
        view=query.get("view", "line"),
        span=_span(query),
        step_ms=_step(query.get("step")),
        threshold=_number("threshold", query.get("threshold")),
    )
    if ask.view not in VIEWS:
        raise ContractError(_BAD, "view", f"one of {', '.join(VIEWS)}", ask.view)
    start, end = ask.span or (0, HOUR_MS)
    ask.question(start, end, Thresholds().usual("", ask.measure))
    return ask


def write(ask: Ask) -> dict[str, str]:
    """The parameters of an address, defaults left out. `read` makes the same of them."""
    plain = Ask()
    query: dict[str, str] = {}
    if ask.measure != plain.measure:
        query["m"] = ask.measure
    if ask.by != plain.by:
        query["by"] = ",".join(ask.by)
    if ask.where:
        query["where"] = write_where(ask.where)
    if ask.without:
        parts = [write_where({d: (v,) for d, v in combination.items()}) for combination in ask.without]
        query["without"] = "|".join(parts)
    if ask.view != plain.view:
        query["view"] = ask.view
    if ask.span is not None:
        query["from"], query["to"] = (rfc3339(t).replace(":00.000Z", "Z") for t in ask.span)
    if ask.step_ms is not None:
        query["step"] = str(ask.step_ms // MINUTE_MS)
    if ask.threshold is not None:
        query["threshold"] = f"{ask.threshold:g}"
    return query


def for_measure(ask: Ask, measure: str) -> Ask:
    """The same question of another measure; a threshold of the old one means nothing to it."""
    kept = ask.threshold if measure == ask.measure and measure in WITH_THRESHOLD else None
    return replace(ask, measure=measure, threshold=kept)


def read_where(text: str) -> dict[str, tuple[str, ...]]:
    """dimension:value,value;dimension:value with percent-encoding inside; `write_where` the other way."""
    where: dict[str, tuple[str, ...]] = {}
    for part in text.split(";"):
        if not part:
            continue
        dimension, colon, values = part.partition(":")
        if not colon or not values or dimension in where:
            raise ContractError(_BAD, "where", "dimension:value,value;dimension:value, each dimension once", part)
        where[dimension] = tuple(unquote(value) for value in values.split(","))
    return where


def write_where(where: Mapping[str, tuple[str, ...]]) -> str:
    """As `read_where` reads it."""
    return ";".join(f"{d}:{','.join(quote(v, safe=_SAFE) for v in values)}" for d, values in where.items())


def _combination(text: str) -> dict[str, str]:
    where = read_where(text)
    if not where or any(len(values) != 1 for values in where.values()):
        raise ContractError(_BAD, "without", "dimension:value;dimension:value|..", text)
    return {dimension: values[0] for dimension, values in where.items()}


def _span(query: Mapping[str, str]) -> tuple[int, int] | None:
    if "from" not in query and "to" not in query:
        return None
    times = []
    for name in ("from", "to"):
        text = query.get(name, "")
        try:
            times.append(minute_of(from_rfc3339(text.replace("Z", ":00Z") if len(text) == 17 else text)))
        except ValueError:
            raise ContractError(_BAD, name, "a time such as 2026-03-12T12:00Z, from and to together", text) from None
    return times[0], times[1]


def _step(text: str | None) -> int | None:
    number = _number("step", text)
    return None if number is None else round(number * MINUTE_MS)


def _number(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        raise ContractError(_BAD, name, "a number", text) from None
    if not 0 < number < 1e9:
        raise ContractError(_BAD, name, "a number above 0", text)
    return number
