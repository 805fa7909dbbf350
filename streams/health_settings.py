"""Policy numbers of the health job; those of the scores themselves stand in anomaly.health.settings."""

from __future__ import annotations

from dataclasses import dataclass

from streams.settings import SettingsError


@dataclass(frozen=True, slots=True)
class HealthJobSettings:
    """`expires_minutes`: how long a score holds. `renew_minutes`: a score that does not change is written again after
    this to twice this, spread over the boxes. `value_step`: a smaller change of a value waits for the renewal.
    `present_minutes`: a box without evidence and vitals for so long is away; older evidence steers nobody.
    `left_hours`: one away for so long has left, its score is taken back; `left_removed_hours` of one that was reduced
    or drained: it shall not come back as if nothing had been. `read_back_minutes`: how far inputs are read again at
    start. `memory_of_placement`: minutes a box's requests per customer are averaged over."""

    expires_minutes: int = 10
    renew_minutes: int = 2
    value_step: float = 0.05
    present_minutes: int = 5
    left_hours: float = 24.0
    left_removed_hours: float = 720.0
    read_back_minutes: int = 15
    memory_of_placement: float = 15.0

    def __post_init__(self) -> None:
        times = ("renew_minutes", "present_minutes", "left_hours", "left_removed_hours", "read_back_minutes")
        for name in (*times, "value_step", "memory_of_placement"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name}: expected above 0, got {getattr(self, name)}")
        if self.expires_minutes <= 2 * self.renew_minutes:
            raise SettingsError(
                f"expires_minutes: expected more than twice renew_minutes ({self.renew_minutes}), "
                f"got {self.expires_minutes}"
            )
