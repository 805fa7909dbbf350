"""Which combination of dimension values explains a dip: pure functions over integer-coded columns."""

from anomaly.localise.counts import localise_counts
from anomaly.localise.errors import BadInput, LocaliseError
from anomaly.localise.model import Cause, Combination, Equivalent, Localisation, Verdict
from anomaly.localise.ratio import localise_ratio
from anomaly.localise.settings import CountSettings, RatioSettings

__all__ = [
    "BadInput",
    "Cause",
    "Combination",
    "CountSettings",
    "Equivalent",
    "Localisation",
    "LocaliseError",
    "RatioSettings",
    "Verdict",
    "localise_counts",
    "localise_ratio",
]
