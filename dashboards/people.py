"""Who looks, and what they may do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

VIEWER, OPERATOR, ADMIN = "viewer", "operator", "admin"
ROLES = (VIEWER, OPERATOR, ADMIN)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at a page. `name` is what actions are logged under."""

    name: str
    role: str = VIEWER

    @property
    def may_act(self) -> bool:
        """Whether actions on incidents are theirs to take."""
        return self.role in (OPERATOR, ADMIN)
