"""Which series dipped, since when, and how sure that is: pure functions and plain arrays."""

from anomaly.detect.burn import BurnRate, BurnScores
from anomaly.detect.detector import Detector, Scores
from anomaly.detect.errors import BadInput, DetectError
from anomaly.detect.evidence import BurnEvidence, Evidence, explain
from anomaly.detect.model import Baseline, Counts, Verdict
from anomaly.detect.settings import (
    WORKBOOK_RULES,
    BurnRule,
    BurnSettings,
    CommonSettings,
    DetectSettings,
    DiscoverySettings,
    DispersionSettings,
    Scale,
    SeasonSettings,
    Severity,
    ShiftSettings,
)
from anomaly.detect.shift import Shift, ShiftScores

__all__ = [
    "WORKBOOK_RULES",
    "BadInput",
    "Baseline",
    "BurnEvidence",
    "BurnRate",
    "BurnRule",
    "BurnScores",
    "BurnSettings",
    "CommonSettings",
    "Counts",
    "DetectError",
    "DetectSettings",
    "Detector",
    "DiscoverySettings",
    "DispersionSettings",
    "Evidence",
    "Scale",
    "Scores",
    "SeasonSettings",
    "Severity",
    "Shift",
    "ShiftScores",
    "ShiftSettings",
    "Verdict",
    "explain",
]
