"""Health of boxes: scores from failures observed and expected, joined with vitals, within a removal budget."""

from anomaly.health.budget import Capacity, Removal, remove
from anomaly.health.errors import BadInput, HealthError
from anomaly.health.memory import DRAINED, NEVER, REDUCED, RETURNING, SERVING, Memory
from anomaly.health.score import Evidence, Scores, fold, judge, shares
from anomaly.health.settings import BudgetSettings, HealthSettings
from anomaly.health.vitals import SIGNS

__all__ = [
    "DRAINED",
    "NEVER",
    "REDUCED",
    "RETURNING",
    "SERVING",
    "SIGNS",
    "BadInput",
    "BudgetSettings",
    "Capacity",
    "Evidence",
    "HealthError",
    "HealthSettings",
    "Memory",
    "Removal",
    "Scores",
    "fold",
    "judge",
    "remove",
    "shares",
]
