"""Which reasons a score has, as bits for all boxes at once, and with their numbers for the few that are published."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from anomaly.health import RETURNING, SERVING, SIGNS, HealthSettings, Memory, Scores
from contracts.health import REASONS, Reason

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_CODE_OF_SIGN = {
    "temperature_c": "temperature",
    "memory_used_ratio": "memory",
    "flash_used_ratio": "flash_full",
    "flash_written_gb_per_day": "flash_wear",
    "cpu_ratio": "saturation",
    "reboots_per_hour": "reboots",
    "clock_offset_s": "clock",
}
_BIT = {code: 1 << i for i, code in enumerate(REASONS)}
_NOTABLE = 0.9  # a sign that leaves more is not worth a word
_NOTABLE_QUALITY = 0.1


def reason_bits(memory: Memory, scores: Scores, settings: HealthSettings) -> Ints:
    """Bits per box, (n,), in the order of REASONS."""
    requests = scores.sums[0]
    removed = memory.phase != SERVING
    told = {
        "failures": (scores.certain > _NOTABLE_QUALITY) | (removed & (memory.by_vitals == 0)),
        "no_evidence": requests < settings.ratio.neutral_requests,
        "stale_evidence": (scores.age > settings.ratio.fresh_minutes) & np.isfinite(scores.age),
        "waiting_for_evidence": removed,
        "slow_start": memory.phase == RETURNING,
        "budget": scores.held,
    }
    for sign, code in _CODE_OF_SIGN.items():
        told[code] = scores.factors[SIGNS.index(sign)] < _NOTABLE
    bits = np.zeros(len(memory), np.int64)
    for code, mask in told.items():
        bits |= np.where(mask, _BIT[code], 0)
    return bits


def reasons_of(
    i: int, bits: int, memory: Memory, scores: Scores, signs: Floats, settings: HealthSettings
) -> tuple[Reason, ...]:
    """The reasons of a box with their numbers, the weightiest kinds first."""
    return tuple(
        Reason(code, tuple(round(n, 4) for n in _numbers(code, i, memory, scores, signs, settings)))
        for code in REASONS
        if bits & _BIT[code]
    )


def _numbers(
    code: str, i: int, memory: Memory, scores: Scores, signs: Floats, settings: HealthSettings
) -> tuple[float, ...]:
    requests, failures, expected = (float(x) for x in scores.sums[:, i])
    if code == "failures":
        return failures, requests, expected, float(scores.theta[i])
    if code == "no_evidence":
        return (requests,)
    if code == "stale_evidence":
        return (float(scores.age[i]),)
    if code == "waiting_for_evidence":
        return float(memory.gathered[i]), settings.state.return_evidence, float(memory.tested[i])
    if code == "slow_start":
        return (float(scores.share[i]),)
    if code == "budget":
        return (settings.budget.share,)
    sign = next(sign for sign, of in _CODE_OF_SIGN.items() if of == code)
    return (float(signs[SIGNS.index(sign), i]),)
