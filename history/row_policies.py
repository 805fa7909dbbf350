"""Row policies of a ClickHouse server: a customer's own programs may ask it, and it shows them that customer's rows.

Which tables a customer reads is decided here once; a test holds what history.tenant asks, and every table with rows of
customers, against it.
"""

from __future__ import annotations

import re

from contracts.auth import check_id
from contracts.errors import ContractError

OWN = (
    "minutes", "hours", "days", "stream_minutes", "coverage_minutes", "restatements", "objective_versions",
    "sla_statements", "sla_seals",
)  # fmt: skip
"""Tables of which each row is of the one customer in its column `customer`, and names no box: granted."""
WITHHELD = {
    "slices": "names boxes",
    "exemplars": "single requests, with boxes and addresses of content",
    "device_minutes": "names boxes",
    "cell_minutes": "kinds of boxes: models, firmware, cohorts",
    "cell_hours": "as cell_minutes",
    "cell_days": "as cell_minutes",
    "signals": "what detectors think, before anybody looked",
    "imported_minutes": "for detectors alone, no figures",
    "incidents": "several customers in a row; history.tenant tells each its part",
    "dirty_minutes": "of no customer; history.tenant tells which minutes are provisional",
    "heard_minutes": "of no customer: how many boxes of the whole network reported",
}
"""Other tables with rows of customers, or that history.tenant asks: why they are not granted."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ESCAPES = str.maketrans({"\\": "\\\\", "`": "\\`", "'": "\\'"})


def user_of(customer: str) -> str:
    """The name of a customer's account on the server."""
    return f"dipper_{check_id('customer', customer)}"


def statements(
    customer: str, password_sha256: str, database: str, own_user: str, cluster: str | None = None
) -> list[str]:
    """What an administrator of the server runs, in this order, as often as they like: the account, its policies, its
    grants. `own_user`: the account Dipper uses, to which policies leave every row; `cluster`: as in the servers'
    configuration. Raises ContractError for a customer's id or a hash that is none."""
    user = _name(user_of(customer))
    if not _SHA256.fullmatch(password_sha256):
        raise ContractError("bad_hash", "password_sha256", "64 hex digits in lower case", password_sha256)
    on = f" ON CLUSTER {_text(cluster)}" if cluster else ""
    tables = [f"{_name(database)}.{_name(t)}" for name in OWN for t in ([name, f"{name}_local"] if cluster else [name])]
    # Read-only also keeps settings as they are: some change what a policy covers.
    found = [
        f"CREATE USER OR REPLACE {user}{on} IDENTIFIED WITH sha256_hash BY '{password_sha256}' SETTINGS readonly = 1"
    ]
    for table in tables:
        # A server may show no rows at all to accounts without a policy, once a table has one.
        for name, condition, to in (
            ("`dipper`", "1", _name(own_user)),
            (user, f"customer = {_text(customer)}", user),
        ):
            found.append(f"CREATE ROW POLICY OR REPLACE {name}{on} ON {table} USING {condition} TO {to}")
    # Last, so that no row is granted before it is confined.
    return found + [f"GRANT{on} SELECT ON {table} TO {user}" for table in tables]


def _name(text: str) -> str:
    return f"`{text.translate(_ESCAPES)}`"


def _text(text: str) -> str:
    return f"'{text.translate(_ESCAPES)}'"
