"""How much more than by chance the counts of a series vary, over minutes, and over blocks of minutes.

Counts are beta-binomial: the variance of `bad` of `total` is total p (1 - p) (1 + (total - 1) rho). The correlation rho
is estimated by the method of moments (Williams, 1982), per series and per block length, robustly.
"""

import numpy as np

from anomaly.detect.memory import Field, Memory
from anomaly.detect.model import FloatArray
from anomaly.detect.settings import DispersionSettings

RESIDUAL, VARIANCE, TRIALS, TAUGHT = range(4)
UPPER, LOWER = range(2)
MOST_RHO = 0.5


def reach_of(variance: FloatArray, factor: FloatArray, sigmas: float) -> FloatArray:
    """(n,): how far counts of this binomial variance, dispersed by `factor`, may lie from their mean by chance.

    The second term is that of Bernstein's inequality: where less than one event is expected, a single one is many
    standard deviations away and yet nothing unusual.
    """
    reach: FloatArray = sigmas * np.sqrt(variance * factor) + sigmas**2 * factor / 3
    return reach


class Dispersion:
    """Blocks under way, and the weighted sums whose quotient is rho."""

    def __init__(self, settings: DispersionSettings, n_series: int) -> None:
        self._settings = settings
        shape = len(settings.horizons)
        self.memory = Memory({"block": Field((shape, 4)), "moments": Field((shape, 2))}, n_series)

    def factors(self, total: FloatArray, ratio: FloatArray) -> FloatArray:
        """(n_horizons, n): variance of the bad events over that of independent trials, in blocks of each horizon that
        have `total` (n,) trials a minute; ratio: (n,), what is usual."""
        horizons = np.array(self._settings.horizons, float)[:, None]
        trials = np.maximum(total * horizons, 1.0)
        factors: FloatArray = 1 + (trials - 1) * self._rho(trials, ratio)
        return factors

    def scatter(self, total: FloatArray, ratio: FloatArray) -> FloatArray:
        """(n,): relative standard deviation of the ratio beyond chance, over the longest horizon."""
        trials = np.maximum(total * self._settings.horizons[-1], 1.0)
        rho = self._rho(np.broadcast_to(trials, (len(self._settings.horizons), len(trials))), ratio)[-1]
        scatter: FloatArray = np.sqrt(rho * (1 - ratio) / ratio)
        return scatter

    def learn(self, minute: int, bad: FloatArray, total: FloatArray, ratio: FloatArray, taught: FloatArray) -> None:
        """Take a minute (since the epoch) in. ratio: (n,), what had been expected before; taught: (n,) 0..1, weight."""
        usable = (taught > 0) & ~np.isnan(ratio)
        p = np.where(usable, ratio, 0.5)
        step = np.stack([bad - total * p, total * p * (1 - p), total, total * taught]) * usable
        for k, horizon in enumerate(self._settings.horizons):
            if self.memory.minute >= 0 and self.memory.minute // horizon != minute // horizon:
                self._close(k, horizon, p)
            self.memory["block"][k] += step
        self.memory.minute = minute

    def _close(self, k: int, horizon: int, ratio: FloatArray) -> None:
        """Let a full block teach and begin the next."""
        residual, variance, trials, taught = self.memory["block"][k]
        some = trials > 1
        spare = np.where(some, trials - 1, 1.0)
        rho = self._rho(np.broadcast_to(spare + 1, self.memory["moments"][:, UPPER].shape), ratio)[k]
        reach = reach_of(variance, 1 + spare * rho, self._settings.clip_sigmas)
        square = np.minimum(np.abs(residual), reach) ** 2 / np.where(some, variance, 1.0)
        part = np.where(some, taught / np.maximum(trials, 1.0), 0.0)
        weight = self._weight(spare, ratio) * part
        keep = 0.5 ** (part * horizon / self._settings.half_life_minutes)
        self.memory["moments"][k] *= keep
        self.memory["moments"][k] += np.stack([weight * (square - 1) / spare, weight])
        self.memory["block"][k] = 0.0

    def _rho(self, trials: FloatArray, ratio: FloatArray) -> FloatArray:
        """(n_horizons, n); drawn to the prior as if by some blocks with `trials` (n_horizons, n)."""
        upper, lower = self.memory["moments"][:, UPPER], self.memory["moments"][:, LOWER]
        weight = self._settings.prior_blocks * self._weight(trials - 1, ratio)
        rho = (upper + weight * self._prior(ratio)) / np.maximum(lower + weight, 1e-12)
        return np.clip(rho, 0.0, MOST_RHO)

    def _prior(self, ratio: FloatArray) -> FloatArray:
        return self._settings.prior_scatter**2 * ratio / (1 - ratio)

    def _weight(self, spare: FloatArray, ratio: FloatArray) -> FloatArray:
        """How much a block says of rho: the inverse variance of its square, were rho that of the prior."""
        weight: FloatArray = (spare / (1 + spare * self._prior(ratio))) ** 2
        return weight
