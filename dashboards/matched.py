"""A scheduling rule against all others on matched traffic: the ratio, its interval, and what may be said. Pure.

The ratio is that of Mantel and Haenszel over strata (history.query_rules): weighted bad of the rule over weighted bad
of the others. Its logarithm has two variances, of which the larger counts: that of independent requests (Greenland,
Robins, Biometrics 41, 1985), and that of how much places differ (sandwich estimator with a place, client ISP and
region, as a cluster; Liang, Zeger, Biometrika 73, 1986), because requests of a place go to the same few boxes and fail
together. With k places the interval is Student's with k - 1 degrees of freedom. Over all rules of a page, false
discoveries are held to 5% (Benjamini, Hochberg, J. Royal Statistical Society B 57, 1995).

Where one side has nothing bad the ratio would be 0 or without bound: one bad request is added, shared out over places
and both sides as requests are, which moves the ratio towards 1 (treatment arm correction; Sweeting, Sutton, Lambert,
"What to add to nothing?", Statistics in Medicine 23, 2004).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CONFIDENCE_Z = 1.959964  # 95%
FALSE_DISCOVERIES = 0.05
ALIKE = 1.1  # a ratio whose interval stays within 1 / ALIKE .. ALIKE is no difference that matters
LEAST_PLACES = 5  # fewer do not tell how much places differ
LEAST_BAD = 20  # bad requests of rule and others in matched strata, together
LEAST_MATCHED = 0.5  # of the rule's requests, in strata that others served too


class Finding(Enum):
    """What is said of a rule."""

    WORSE = "worse"
    BETTER = "better"
    ALIKE = "alike"
    OPEN = "open"  # the interval is too wide to say
    FEW_PLACES = "few_places"
    FEW_BAD = "few_bad"
    UNMATCHED = "unmatched"

    @property
    def known(self) -> bool:
        """Whether it says anything but "don't know"."""
        return self in (Finding.WORSE, Finding.BETTER, Finding.ALIKE)


@dataclass(frozen=True, slots=True)
class Match:
    """A rule on matched strata: `bad` of `requests`, of others `others_bad` of `others_requests`; `weighted` over
    `others_weighted` is `ratio` (None: nothing is matched, or one side has nothing bad and the other little), in
    [low, high] with 95%. `all_requests`: of the rule, matched or not; `p`: chance of such a ratio if the rule is like
    the others; `added`: the rule's part of the bad request that is added where one side has none, else 0."""

    rule: str
    bad: int
    requests: int
    others_bad: int
    others_requests: int
    all_requests: int
    weighted: float
    others_weighted: float
    places: int
    finding: Finding
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    added: float = 0.0

    @property
    def matched_share(self) -> float | None:
        """Part of the rule's requests that could be compared."""
        return self.requests / self.all_requests if self.all_requests else None

    @property
    def excess(self) -> float:
        """Bad requests beyond what others' quality would have given; below 0: fewer."""
        return 0.0 if not self.ratio else (self.bad + self.added) * (1 - 1 / self.ratio)

    @property
    def others_rate(self) -> float | None:
        """Bad of others per request, weighted as the rule's traffic; None without a ratio."""
        return max(0.0, self.bad - self.excess) / self.requests if self.ratio and self.requests else None


def matches(rows: Mapping[str, Sequence[Any]]) -> list[Match]:
    """Every rule of history.query_rules.by_place, the most harmful first: by excess among those that are known worse,
    then by requests."""
    found = [_match(rule, part) for rule, part in _by_rule(rows).items()]
    found = _discoveries(found)
    return sorted(found, key=lambda m: (-m.excess if m.finding is Finding.WORSE else 0.0, -m.all_requests, m.rule))


@dataclass(frozen=True, slots=True)
class Step:
    """A rule's ratio before and after one of its changes, and the quotient `change` of both with its 95% interval."""

    before: Match
    after: Match
    finding: Finding
    change: float | None = None
    low: float | None = None
    high: float | None = None


def step(before: Mapping[str, Sequence[Any]], after: Mapping[str, Sequence[Any]], rule: str) -> Step:
    """Whether a rule became worse or better, against the others: the difference of differences. Places weigh as in the
    two ratios; a place that always was worse than others does not count against the change."""
    parts = [_by_rule(rows).get(rule, {}) for rows in (before, after)]
    first, second = (_settled(_match(rule, part)) for part in parts)
    thin = next((m.finding for m in (first, second) if m.ratio is None or not _enough(m)), None)
    if thin is not None or not first.ratio or not second.ratio:
        return Step(first, second, thin if thin is not None and not thin.known else Finding.FEW_BAD)
    influence: dict[tuple[str, str], float] = {}
    for part, match, sign in ((parts[0], first, -1.0), (parts[1], second, 1.0)):
        for place, x in zip(_places(part), _influence(part, match), strict=True):
            influence[place] = influence.get(place, 0.0) + sign * float(x)
    k = len(influence)
    between = sum(v * v for v in influence.values()) * k / (k - 1) if k > 1 else math.inf
    variance = max(_within(parts[0], first) + _within(parts[1], second), between)
    log = math.log(second.ratio / first.ratio)
    low, high, p = _interval(log, variance, k)
    finding = _finding(low, high, p <= FALSE_DISCOVERIES)
    return Step(first, second, finding, math.exp(log), low, high)


def _by_rule(rows: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """Columns as arrays, per rule."""
    names = np.array(rows["rule"], dtype=object)
    order = np.argsort(names.astype(str), kind="stable")
    columns = {name: np.array(values, dtype=object)[order] for name, values in rows.items()}
    edges = np.flatnonzero(columns["rule"][1:] != columns["rule"][:-1]) + 1
    starts = [0, *edges.tolist()] if len(names) else []
    ends = [*edges.tolist(), len(names)]
    return {
        str(columns["rule"][start]): _with_added({name: values[start:end] for name, values in columns.items()})
        for start, end in zip(starts, ends, strict=False)
    }


def _with_added(part: dict[str, Any]) -> dict[str, Any]:
    """With one bad request more where one side has none and the other enough to be judged by. Column `added`: the
    rule's part of it."""
    own, others = _floats(part, "requests"), _floats(part, "others_requests")
    bad, others_bad = _floats(part, "bad").sum(), _floats(part, "others_bad").sum()
    both = np.where(own > 0, own + others, 0.0)
    if min(bad, others_bad) > 0 or bad + others_bad < LEAST_BAD or not both.sum():
        return {**part, "added": np.zeros(len(own))}
    rule = np.divide(own, both, out=np.zeros(len(own)), where=both > 0)
    here = both / both.sum()
    more = here * rule * (1 - rule)  # of each of the three sums: x n0 / N, x0 n / N, and m n n0 / N^2
    sums = {name: _floats(part, name) + more for name in ("weighted", "others_weighted", "spread")}
    return {**part, **sums, "added": here * rule}


def _floats(part: Mapping[str, Any], name: str) -> Floats:
    return np.asarray(part.get(name, ()), dtype=np.float64)


def _match(rule: str, part: Mapping[str, Any]) -> Match:
    weighted, others = _floats(part, "weighted"), _floats(part, "others_weighted")
    requests = _floats(part, "requests")
    plain = Match(
        rule=rule,
        bad=int(_floats(part, "bad").sum()),
        requests=int(requests.sum()),
        others_bad=int(_floats(part, "others_bad").sum()),
        others_requests=int(_floats(part, "others_requests").sum()),
        all_requests=int(_floats(part, "all_total").sum()),
        weighted=float(weighted.sum()),
        others_weighted=float(others.sum()),
        places=int((requests > 0).sum()),
        finding=Finding.FEW_BAD,
        added=float(_floats(part, "added").sum()),
    )
    if (plain.matched_share or 0.0) < LEAST_MATCHED:
        return replace(plain, finding=Finding.UNMATCHED)
    if not plain.weighted or not plain.others_weighted:
        return plain
    ratio = plain.weighted / plain.others_weighted
    plain = replace(plain, ratio=ratio)
    variance = max(_within(part, plain), _between(part, plain))
    low, high, p = _interval(math.log(ratio), variance, plain.places)
    return replace(plain, low=low, high=high, p=p, finding=Finding.OPEN)


def _enough(match: Match) -> bool:
    return match.bad + match.others_bad >= LEAST_BAD and match.places >= LEAST_PLACES


def _settled(match: Match) -> Match:
    """With what stands against saying anything."""
    if match.ratio is None or match.finding is Finding.UNMATCHED:
        return match
    if match.bad + match.others_bad < LEAST_BAD:
        return replace(match, finding=Finding.FEW_BAD)
    if match.places < LEAST_PLACES:
        return replace(match, finding=Finding.FEW_PLACES)
    return match


def _within(part: Mapping[str, Any], match: Match) -> float:
    """Variance of the logarithm for independent requests."""
    product = match.weighted * match.others_weighted
    return float(_floats(part, "spread").sum()) / product if product > 0 else math.inf


def _influence(part: Mapping[str, Any], match: Match) -> Floats:
    """By how much each place moves the logarithm of the ratio."""
    weighted, others = _floats(part, "weighted"), _floats(part, "others_weighted")
    return np.asarray(weighted / match.weighted - others / match.others_weighted, dtype=np.float64)


def _between(part: Mapping[str, Any], match: Match) -> float:
    """Variance of the logarithm as places differ."""
    k = match.places
    return float((_influence(part, match) ** 2).sum()) * k / (k - 1) if k > 1 else math.inf


def _places(part: Mapping[str, Any]) -> list[tuple[str, str]]:
    return list(zip(part["client_isp"], part["client_region"], strict=True))


def _interval(log: float, variance: float, places: int) -> tuple[float, float, float]:
    """95% interval of the ratio and its p-value, with places - 1 degrees of freedom."""
    if not math.isfinite(variance) or places < 2:
        return 0.0, math.inf, 1.0
    freedom = places - 1
    error = math.sqrt(max(variance, 1e-12))
    reach = _student(freedom) * error
    # Student's t as a normal deviate (Wallace, Annals of Mathematical Statistics 30, 1959).
    t2 = (log / error) ** 2
    z = math.sqrt(freedom * math.log1p(t2 / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)
    return _exp(log - reach), _exp(log + reach), math.erfc(z / math.sqrt(2))


def _exp(log: float) -> float:
    return math.exp(max(-700.0, min(700.0, log)))


def _student(freedom: int) -> float:
    """Two-sided 95% quantile of Student's t (Abramowitz, Stegun 26.7.5), within 1% from 3 degrees of freedom on."""
    z, n = CONFIDENCE_Z, float(freedom)
    terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + terms[0] / n + terms[1] / n**2 + terms[2] / n**3


def _discoveries(found: Sequence[Match]) -> list[Match]:
    """Findings of all rules together."""
    settled = [_settled(m) for m in found]
    tested = sorted(m.p for m in settled if m.finding is Finding.OPEN and m.p is not None)
    allowed = max((p for i, p in enumerate(tested, 1) if p <= FALSE_DISCOVERIES * i / len(tested)), default=-1.0)
    return [
        m
        if m.finding is not Finding.OPEN or m.p is None
        else replace(m, finding=_finding(m.low, m.high, m.p <= allowed))
        for m in settled
    ]


def _finding(low: float | None, high: float | None, shown: bool) -> Finding:
    assert low is not None
    assert high is not None
    if low >= 1 / ALIKE and high <= ALIKE:
        return Finding.ALIKE
    if shown and (low > 1 or high < 1):
        return Finding.WORSE if low > 1 else Finding.BETTER
    return Finding.OPEN
