"""Who looks, and what they may do and see. Pure; every question of the kind is answered here."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.incidents import FALSE_ALARM, REAL_CAUSE

VIEWER, OPERATOR, ADMIN, CUSTOMER = "viewer", "operator", "admin", "customer"
ROLES = (VIEWER, OPERATOR, ADMIN, CUSTOMER)

# What can be done, and by whom.
ACT, LABEL, SHARE, ACCOUNTS = "act", "label", "share", "accounts"
DEEDS = {
    ACT: (OPERATOR, ADMIN),  # acknowledge, mute, note, resolve, reopen an incident
    LABEL: (OPERATOR, ADMIN),  # say that it was a false alarm, or what the real cause was
    SHARE: (OPERATOR, ADMIN),  # make a link to a customer's report
    ACCOUNTS: (ADMIN,),  # see who has an account, and what was done with it
}
CUSTOMER_PAGES = ("sla",)
ADMIN_PAGES = ("accounts",)


class NotAllowed(Exception):
    """Somebody's role does not cover what they tried."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at a page. `name` is what actions are logged under; `customer`: whose data alone they see, empty unless
    their role is CUSTOMER; `leaves`: how they log out, `local` (our session), `oidc` (the provider's) or empty."""

    name: str
    role: str = VIEWER
    customer: str = ""
    leaves: str = ""

    def may(self, deed: str) -> bool:
        """Whether something of DEEDS is theirs to do."""
        return self.role in DEEDS[deed]

    def require(self, deed: str) -> None:
        """Raises NotAllowed."""
        if not self.may(deed):
            raise NotAllowed(f"{self.name} ({self.role}) may not {deed}")

    def sees(self, page: str) -> bool:
        """Whether a page is theirs to see. A new page is seen by everybody but customers."""
        if self.role == CUSTOMER:
            return page in CUSTOMER_PAGES
        return page not in ADMIN_PAGES or self.role == ADMIN


def deed_of(verb: str) -> str:
    """What an action on an incident counts as."""
    return LABEL if verb in (FALSE_ALARM, REAL_CAUSE) else ACT
