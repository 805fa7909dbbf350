"""Which combinations of dimension values explain that counts deviate from a forecast, without any history.

Every leaf deviates by (real - forecast) / max(real, forecast), turned so that the overall direction is positive. What
leaves deviate the other way tells the noise. A cause is a cell whose leaves share a deviation that the noise does not
explain, by more nats than it takes to name the cell, and that the other leaves do not show, either; causes are taken
off one by one until nothing pays for its name.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log, pi, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.localise import check
from anomaly.localise.cells import select, varying, walk
from anomaly.localise.model import Cause, Combination, FloatArray, IntArray, Localisation, Verdict
from anomaly.localise.overlap import equivalents
from anomaly.localise.settings import CountSettings

DEFAULT = CountSettings()
MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal sample over its median absolute deviation."""

MIN_BIN = 0.005
"""Narrowest bin, in units of the deviation, in which leaves are counted."""

OTHERS = 0.5
"""Part of a cause's leaves that may be as the rest is, when the two are compared: causes overlap."""


@dataclass(frozen=True, slots=True)
class _Leaves:
    codes: IntArray
    index: IntArray
    """(n,): the caller's number of each leaf."""
    real: FloatArray
    forecast: FloatArray
    deviation: FloatArray
    """(n,): -1..1, positive in the overall direction."""
    noise: float
    """Standard deviation of `deviation` where nothing is wrong."""
    outlier_share: float


@dataclass(frozen=True, slots=True)
class _Found:
    where: Combination
    score: float
    """Gain minus the cost of naming the cell, nats."""
    evidence: FloatArray
    """(leaves of the cell,) nats."""


def localise_counts(
    codes: npt.NDArray[Any],
    real: npt.NDArray[Any],
    forecast: npt.NDArray[Any],
    settings: CountSettings = DEFAULT,
) -> Localisation:
    """Explain the deviation of real counts from their forecast by combinations of dimension values.

    codes: (n_leaves, n_dims) integers >= 0; real, forecast: (n_leaves,) numbers >= 0. Raises BadInput.
    """
    check.order(settings.max_order)
    codes = check.codes_array(codes)
    real = check.count_vector("real", real, len(codes))
    forecast = check.count_vector("forecast", forecast, len(codes))
    sums = float(real.sum()), float(forecast.sum()), float(forecast.sum())
    if sums[0] + sums[1] == 0 or len(codes) < settings.min_leaves:
        reason = f"{len(codes)} leaves with a real sum of {sums[0]:g} and a forecast of {sums[1]:g} are too little"
        return Localisation(Verdict.INSUFFICIENT_DATA, reason, *sums)
    leaves = _leaves(codes, real, forecast, settings)
    found, candidates, diffuse = _peel(leaves, settings)
    if diffuse:
        reason = f"real {sums[0]:g} against a forecast of {sums[1]:g}: all leaves deviate about equally"
        return Localisation(Verdict.DIFFUSE, reason, *sums)
    if not found:
        reason = f"no combination deviates by more than the noise of the forecast ({leaves.noise:.1%} per leaf)"
        return Localisation(Verdict.QUIET, reason, *sums)
    named = {f.where for f in found}
    rest = [c for c in candidates if c.where not in named][: settings.candidates]
    causes = tuple(_cause(leaves, f, f.where in named, settings) for f in (*found, *rest))
    explained = min(1.0, sum(c.share for c in causes if c.answer))
    reason = f"{len(found)} of the combinations explain {explained:.0%} of the deviation"
    return Localisation(Verdict.LOCALISED, reason, *sums, causes)


def _leaves(codes: IntArray, real: FloatArray, forecast: FloatArray, settings: CountSettings) -> _Leaves:
    larger = np.maximum(real, forecast)
    index = np.flatnonzero(larger)
    direction = 1.0 if real.sum() >= forecast.sum() else -1.0
    deviation = direction * (real - forecast)[index] / larger[index]
    other_side = deviation[deviation <= 0]
    noise = max(settings.min_noise, sqrt(float((other_side**2).sum()) / max(1, len(other_side))))
    far = int((other_side < -settings.outlier_sigmas * noise).sum())
    outliers = max(settings.min_outlier_share, far / max(1, len(other_side)))
    return _Leaves(codes[index], index, real[index], forecast[index], deviation, noise, outliers)


@dataclass(frozen=True, slots=True)
class _Naming:
    """What it costs, in nats, to name a cell."""

    dims: list[int]
    log_values: dict[int, float]

    @classmethod
    def of(cls, codes: IntArray) -> "_Naming":
        dims = varying(codes)
        return cls(dims, {d: log(len(np.unique(codes[:, d]))) for d in dims})

    @property
    def cuboid_nats(self) -> float:
        """To say which cuboid."""
        return log(max(1, 2 ** len(self.dims) - 1))

    def cost(self, dims: Iterable[int]) -> float:
        return self.cuboid_nats + sum(self.log_values[d] for d in dims)


def _peel(leaves: _Leaves, settings: CountSettings) -> tuple[list[_Found], list[_Found], bool]:
    """(causes, strongest cells of the first round, whether all leaves deviate alike)."""
    naming = _Naming.of(leaves.codes)
    found: list[_Found] = []
    candidates: list[_Found] = []
    left = np.arange(len(leaves.codes))
    while len(found) < settings.max_causes:
        codes, deviation = leaves.codes[left], leaves.deviation[left]
        core = _core(codes, deviation, leaves.noise, naming, settings)
        if core is None:
            break
        evidence = _evidence(deviation, select(codes, core), leaves, settings)
        share = 1.0 if found else settings.candidate_share
        ranked = _ranked(codes, deviation, evidence, leaves.noise, core, naming, share, settings)
        if not ranked:
            break
        if not found:
            if evidence.sum() >= ranked[0].score:
                return [], [], True
            candidates = ranked
        covered = select(codes, ranked[0].where)
        name_nats = naming.cost(d for d, _ in ranked[0].where)
        if _beyond_rest(deviation, covered, leaves, settings) - name_nats < settings.min_gain:
            break
        found.append(ranked[0])
        left = left[~covered]
    return sorted(found, key=lambda f: -f.score), candidates, False


def _core(
    codes: IntArray, deviation: FloatArray, noise: float, naming: _Naming, settings: CountSettings
) -> Combination | None:
    """The cell whose mean deviation the noise explains worst, by n mean^2 / (2 noise^2) less the cost of its name.

    By Cauchy and Schwarz that is at most the sum of squares of the deviations above 0: an exact support. Noise gives
    each leaf a quarter of a nat of it.
    """
    support = np.maximum(deviation, 0.0) ** 2 / (2 * noise**2)
    weights = np.stack((support, deviation, np.ones(len(deviation))))
    noise_floor = settings.min_noise_share * len(codes) / 4
    best, core = 0.0, None
    least_level = _least_level(noise, settings)
    # Single values and pairs first: what the best of them reaches, every better cell must reach as well.
    for order in sorted({1, min(2, settings.max_order), settings.max_order}):
        floor = max(settings.min_gain + naming.cuboid_nats, noise_floor, best)
        for cuboid in walk(codes, weights, naming.dims, order, floor):
            _, total, n = cuboid.sums
            score = np.where(total >= least_level * n, total**2 / (n * 2 * noise**2) - naming.cost(cuboid.dims), 0.0)
            cell = int(score.argmax())
            if score[cell] > best:
                best, core = float(score[cell]), cuboid.where(cell)
    return core


def _least_level(noise: float, settings: CountSettings) -> float:
    """Mean deviation below which a cell may just share a bias of the forecast."""
    return max(settings.min_level, settings.min_level_sigmas * noise)


def _evidence(
    deviation: FloatArray, inside: npt.NDArray[np.bool_], leaves: _Leaves, settings: CountSettings
) -> FloatArray:
    """(n,) nats each leaf gives for deviating as the core does, against noise; outliers bound what one can say."""
    level, spread = _level_and_spread(deviation[inside], leaves.noise, settings)
    nats: FloatArray = np.log(
        _density(deviation, level, spread, leaves.outlier_share)
        / _density(deviation, 0.0, leaves.noise, leaves.outlier_share)
    )
    return nats


def _level_and_spread(own: FloatArray, noise: float, settings: CountSettings) -> tuple[float, float]:
    """Median and robust standard deviation of a cell's leaves; one leaf alone scatters like the noise."""
    level = float(np.median(own))
    if len(own) == 1:
        return level, noise
    return level, max(settings.min_noise, MAD_TO_SIGMA * float(np.median(np.abs(own - level))))


def _density(deviation: FloatArray, mean: float, sigma: float, outlier_share: float) -> FloatArray:
    """Normal, but for a part that may lie anywhere within the unit length of the deviations of one sign."""
    bell: FloatArray = np.exp(-0.5 * ((deviation - mean) / sigma) ** 2) / (sigma * sqrt(2 * pi))
    return (1 - outlier_share) * bell + outlier_share


def _beyond_rest(
    deviation: FloatArray, inside: npt.NDArray[np.bool_], leaves: _Leaves, settings: CountSettings
) -> float:
    """Nats by which a cell's leaves differ from how the other leaves are in fact distributed.

    Forecast errors may be skewed towards the overall direction. What the other side tells is then too narrow, and the
    luckiest of many thousand cells seems certain. Here the noise is at least what the rest shows on this side. As a
    likelihood ratio it exceeds x in one cell of e^x by chance; the cost of the name is ln(number of cells).
    """
    own, rest = deviation[inside], deviation[~inside]
    upper = rest[rest > 0]
    wide = max(leaves.noise, sqrt(float((upper**2).mean()))) if len(upper) else leaves.noise
    step = max(MIN_BIN, leaves.noise / 2)
    counts = np.bincount(((rest + 1) / step).astype(np.int64), minlength=int(2 / step) + 1)
    # Bins with no more leaves than an answer may have causes: these may be single leaves yet to be named.
    seen = np.where(counts > settings.max_causes, counts, 0) / (max(1, len(rest)) * step)
    null = np.maximum.reduce(
        [
            _density(own, 0.0, leaves.noise, leaves.outlier_share),
            _density(own, 0.0, wide, leaves.outlier_share),
            seen[((own + 1) / step).astype(np.int64)],
        ]
    )
    alternative = _density(own, *_level_and_spread(own, leaves.noise, settings), leaves.outlier_share)
    return float(np.log(OTHERS + (1 - OTHERS) * alternative / null).sum())


def _ranked(
    codes: IntArray,
    deviation: FloatArray,
    evidence: FloatArray,
    noise: float,
    core: Combination,
    naming: _Naming,
    share: float,
    settings: CountSettings,
) -> list[_Found]:
    """The best cell of each cuboid that pays for its name and explains `share` of what the core does; best first.

    Its leaves must deviate at least half as far as those of the core: many leaves with a small bias are no cause.
    """
    inside = select(codes, core)
    level = max(_least_level(noise, settings), float(deviation[inside].mean()) / 2)
    weights = np.stack((np.maximum(evidence, 0.0), evidence, deviation - level))
    # With a share of 1 no more is asked than the core itself reaches: the best cell is found all the same.
    least = share * (float(evidence[inside].sum()) - naming.cost(d for d, _ in core)) * (1 - 1e-9)
    floor = max(settings.min_gain + naming.cuboid_nats, least)
    found = []
    for cuboid in walk(codes, weights, naming.dims, settings.max_order, floor):
        score = np.where(cuboid.sums[2] >= 0, cuboid.sums[1] - naming.cost(cuboid.dims), -np.inf)
        cell = int(score.argmax())
        if score[cell] >= settings.min_gain:
            found.append((float(score[cell]), cuboid.where(cell)))
    found.sort(key=lambda f: (-f[0], len(f[1]), f[1]))
    return [_Found(where, score, evidence[select(codes, where)]) for score, where in found]


def _cause(leaves: _Leaves, found: _Found, answer: bool, settings: CountSettings) -> Cause:
    inside = select(leaves.codes, found.where)
    real, forecast = float(leaves.real[inside].sum()), float(leaves.forecast[inside].sum())
    whole = float(leaves.real.sum() - leaves.forecast.sum())
    own = real - forecast
    weight = float(np.abs(found.evidence).sum())
    return Cause(
        where=found.where,
        bad=real,
        expected=forecast,
        total=forecast,
        leaves=int(inside.sum()),
        share=own / whole if abs(own) <= abs(whole) and whole else float(np.sign(own * whole)),
        purity=float(found.evidence[found.evidence > 0].sum()) / weight if weight > 0 else 0.0,
        gain=float(found.evidence.sum()),
        answer=answer,
        equivalents=equivalents(
            leaves.codes,
            np.stack((leaves.forecast, leaves.real)),
            found.where,
            settings.max_order,
            settings.equivalent_tolerance,
            leaves.index,
        ),
    )
