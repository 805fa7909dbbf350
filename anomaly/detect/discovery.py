"""False discoveries, over all series of a minute together."""

import numpy as np
import numpy.typing as npt

from anomaly.detect.model import FloatArray
from anomaly.detect.settings import DiscoverySettings

MINUTES_PER_DAY = 1_440


def level(n_series: int, settings: DiscoverySettings) -> float:
    """Part of a minute's discoveries that may be false.

    The budget is per series and day, so it grows with the number of series until the settings' share: one discovery
    alone is then held to the same evidence in a small fleet and in a large one.
    """
    return min(settings.most_false_share, n_series * settings.false_per_series_day / MINUTES_PER_DAY)


def benjamini_hochberg(p: FloatArray, level: float) -> tuple[npt.NDArray[np.bool_], float]:
    """Which hypotheses to reject at a false discovery rate of `level`, and the p up to which they are rejected.

    p: any shape; NaN is not tested. The step-up rule of Benjamini and Hochberg (1995): with m tests, all up to the
    largest p_(k) <= k level / m; `level / m` is returned where none is rejected. It holds for independent tests and
    for such that tend to fall together (Benjamini and Yekutieli, 2001), as series of one fleet do.
    """
    tested = np.sort(p[~np.isnan(p)])
    if len(tested) == 0:
        return np.zeros(p.shape, np.bool_), 0.0
    steps = level * np.arange(1, len(tested) + 1) / len(tested)
    below = np.flatnonzero(tested <= steps)
    limit = float(steps[below[-1]]) if len(below) else float(steps[0])
    return p <= limit, limit
