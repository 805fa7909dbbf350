"""The box's clock, and what the server taught about it.

Small errors are left alone: the gateway corrects event times by `received_at - sent_at`. A clock so wrong that the
gateway refuses its signatures is corrected here, for interval times and `sent_at` alike, in whole steps of the grid.
"""

from __future__ import annotations

from collections.abc import Callable

from contracts.times import AUTH_WINDOW_MS, SECOND_MS, shift_for_offset

# A refusal is put down to the clock when the difference comes this close to the gateway's window.
BLAMED_ABOVE_MS = AUTH_WINDOW_MS - 10 * SECOND_MS


class Clock:
    """`system`: the box's own clock, ms UTC. `correction_ms` is added to it; `offset_ms` is the server's clock minus
    the box's own as last learnt, None before."""

    def __init__(self, system: Callable[[], int], correction_ms: int = 0, offset_ms: int | None = None) -> None:
        self.system = system
        self.correction_ms = correction_ms
        self.offset_ms = offset_ms

    def now(self) -> int:
        """Corrected time, ms UTC."""
        return self.system() + self.correction_ms

    def learn(self, server_ms: int, sent_system_ms: int, received_system_ms: int) -> None:
        """Remember the offset that an answer shows; the server's time is put in the middle of the exchange."""
        self.offset_ms = server_ms - (sent_system_ms + received_system_ms) // 2

    def correct(self) -> bool:
        """After a refused signature: adopt the learnt offset if the clock can be the reason. Returns whether it
        changed anything, so that another attempt may succeed."""
        if self.offset_ms is None or abs(self.offset_ms - self.correction_ms) < BLAMED_ABOVE_MS:
            return False
        before = self.correction_ms
        self.correction_ms = shift_for_offset(self.offset_ms) if abs(self.offset_ms) >= BLAMED_ABOVE_MS else 0
        return self.correction_ms != before
