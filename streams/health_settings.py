"""Policy numbers of the health job; those of the scores themselves stand in anomaly.health.settings."""

from __future__ import annotations

from dataclasses import dataclass

from streams.settings import SettingsError


@dataclass(frozen=True, slots=True)
class HealthJobSettings:
    """`expires_minutes`: how long a score holds. `renew_minutes`: a score that does not change is written again after
    this to twice this, spread over the boxes. `value_step`: a smaller change of a value waits for the renewal.
    `present_minutes`: a box without evidence and vitals for so long is away. `read_back_minutes`: how far inputs are
    read again at start. `memory_of_placement`: minutes a box's requests per customer are averaged over."""

    expires_minutes: int = 10
    renew_minutes: int = 2
    value_step: float = 0.05
    present_minutes: int = 5
    read_back_minutes: int = 15
    memory_of_placement: float = 15.0

    def __post_init__(self) -> None:
        for name in ("renew_minutes", "value_step", "present_minutes", "read_back_minutes", "memory_of_placement"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name}: expected above 0, got {getattr(self, name)}")
        if self.expires_minutes <= 2 * self.renew_minutes:
            raise SettingsError(
                f"expires_minutes: expected more than twice renew_minutes ({self.renew_minutes}), "
                f"got {self.expires_minutes}"
            )
