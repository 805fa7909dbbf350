"""Which combination of dimension values explains a dip: pure functions over integer-coded columns."""

from anomaly.localise.changes import CorrelatedChange, Relation, ScopedChange, Span, correlate
from anomaly.localise.counts import localise_counts
from anomaly.localise.errors import BadInput, LocaliseError
from anomaly.localise.model import Cause, Combination, Equivalent, Localisation, Onset, Verdict
from anomaly.localise.ratio import localise_ratio
from anomaly.localise.settings import ChangeSettings, CountSettings, RatioSettings

__all__ = [
    "BadInput",
    "Cause",
    "ChangeSettings",
    "Combination",
    "CorrelatedChange",
    "CountSettings",
    "Equivalent",
    "Localisation",
    "LocaliseError",
    "Onset",
    "RatioSettings",
    "Relation",
    "ScopedChange",
    "Span",
    "Verdict",
    "correlate",
    "localise_counts",
    "localise_ratio",
]
