"""What scheduling rules did: each rule's traffic beside that of all other rules in the same strata, from cells.

A stratum is a customer's service for clients of one ISP and region within an hour (a day on long spans): what decides
how well traffic can be served at all, and is not the rule's own choice. Of the box nothing is matched, because choosing
it is what a rule does. Sums are those of the Mantel-Haenszel ratio of rates and its variance (Greenland, Robins,
"Estimation of a common effect parameter from sparse follow-up data", Biometrics 41, 1985), per place, so that whoever
reads them can see how much the ratio differs from place to place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contracts.errors import ContractError
from contracts.protocols import Store
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from history.query_cells import RATIOS, CellQuestion, measure_columns, plan, union_of, where_clause

HOURLY_SPAN_MS = 2 * DAY_MS  # longer spans are matched within days
MAX_ROWS = 200_000
VERSION_MARK = "@"

# ruff: noqa: S608 - every name in these statements is a declared column; values are parameters.
_RULE = "splitByChar('@', assumeNotNull(toString(sched_rule)))[1]"
_STRATUM = "customer, service, client_isp, client_region"
# Per row: x of n of the rule, x0 of n0 of the others in its stratum.
_SUMS = """toInt64(sum(n)) AS all_total, toInt64(sumIf(x, n0 > 0)) AS bad, toInt64(sumIf(n, n0 > 0)) AS requests,
    toInt64(sum(x0)) AS others_bad, toInt64(sum(n0)) AS others_requests,
    sum(x * n0 / (n + n0)) AS weighted, sum(x0 * n / (n + n0)) AS others_weighted,
    sum((x + x0) * n * n0 / pow(n + n0, 2) - x * x0 / (n + n0)) AS spread,
    sumIf(n * x0 / n0, n0 > 0) AS expected"""


def bucket_of(span_ms: int) -> int:
    """Within what length of time traffic is matched, ms."""
    return HOUR_MS if span_ms <= HOURLY_SPAN_MS else DAY_MS


def rule_of(sched_rule: str) -> str:
    """The rule's id, without its version."""
    return sched_rule.partition(VERSION_MARK)[0]


def by_place(store: Store, question: CellQuestion, rule: str = "", apart: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Columns per rule (or of one) and place: rule, client_isp, client_region, then sums over its strata. Rules that
    stand `apart` are none of the others.

    all_total: requests of the rule. The rest only of strata in which other rules served too: bad of requests of the
    rule, others_bad of others_requests; weighted = sum x1 n0 / N and others_weighted = sum x0 n1 / N, whose quotient
    is the ratio; spread, the numerator of its variance; expected, bad at the others' rates. `question`: a ratio without
    `by` and steps. Raises ContractError, StoreError."""
    _check(question)
    bucket = bucket_of(question.end - question.start)
    parameters: dict[str, Any] = {"rule": rule, "not_others": list(apart)}
    cells = _cells(store, question, bucket, parameters)
    return store.query(
        f"""SELECT rule, client_isp, client_region, {_SUMS} FROM (\n{cells}\n)
WHERE {{rule:String}} = '' OR rule = {{rule:String}}
GROUP BY rule, client_isp, client_region LIMIT {MAX_ROWS}""",
        parameters,
    )


def by_step(store: Store, question: CellQuestion, rule: str, apart: Sequence[str] = ()) -> dict[str, list[Any]]:
    """The same sums of one rule per step (`i`) of the question. Reads only the customers that the rule served."""
    _check(question)
    assert question.step_ms is not None
    parameters: dict[str, Any] = {"rule": rule, "not_others": list(apart), "from": question.start}
    bucket = min(question.step_ms, DAY_MS)
    cells = _cells(store, question, bucket, parameters)
    return store.query(
        f"""SELECT intDiv(t * {{bucket:Int64}} - {{from:Int64}}, {{bucket:Int64}}) AS i, {_SUMS} FROM (\n{cells}\n)
WHERE rule = {{rule:String}} GROUP BY i ORDER BY i""",
        parameters,
    )


def customers_of(store: Store, rule: str, start: int, end: int) -> tuple[str, ...]:
    """Customers that a rule served in [start, end)."""
    question = CellQuestion("requests", start, end)
    parameters: dict[str, Any] = {"rule": rule}
    union = union_of(plan(store, question), "customer, requests AS x", f" AND {_RULE} = {{rule:String}}", parameters)
    return tuple(store.query(f"SELECT DISTINCT customer FROM (\n{union}\n) ORDER BY customer", parameters)["customer"])


def _check(question: CellQuestion) -> None:
    if question.measure not in RATIOS:
        raise ContractError("bad_query", "measure", f"one of {', '.join(RATIOS)}", question.measure)


def _cells(store: Store, question: CellQuestion, bucket: int, parameters: dict[str, Any]) -> str:
    """A statement: counts x of n per rule and stratum, beside x0 of n0 of the others there."""
    columns = measure_columns(question, parameters)
    condition = where_clause(question, parameters)
    parameters["bucket"] = bucket
    union = union_of(plan(store, question, bucket), f"{_STRATUM}, sched_rule, {columns}", condition, parameters)
    return f"""SELECT *, sum(x * common) OVER w - x * common AS x0, sum(n * common) OVER w - n * common AS n0 FROM (
SELECT intDiv(at, {{bucket:Int64}}) AS t, {_STRATUM}, {_RULE} AS rule, sum(bad) AS x, sum(of) AS n,
    NOT has({{not_others:Array(String)}}, rule) AS common
FROM (\n{union}\n) GROUP BY t, {_STRATUM}, rule HAVING n > 0
) WINDOW w AS (PARTITION BY t, {_STRATUM})"""


def steps_of(span_ms: int) -> int:
    """The step of a rule's series over a span: at most 120 of them."""
    for step in (MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS):
        if span_ms <= 120 * step:
            return step
    return DAY_MS
