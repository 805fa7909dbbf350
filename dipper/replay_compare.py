"""Two lists of incidents beside each other: which are the same trouble, and what differs between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.incidents import Incident
from contracts.times import MINUTE_MS, rfc3339
from history.query_alert_quality import FALSE, TRUE, UNLABELLED

BOTH, BEFORE, AFTER = "both", "only_before", "only_after"
_SLACK_MS = 5 * MINUTE_MS  # ends are seen minutes late, and not at the same minute with other settings


@dataclass(frozen=True, slots=True)
class Pair:
    """An incident on either side, None where there is none."""

    before: Incident | None
    after: Incident | None

    @property
    def status(self) -> str:
        """BOTH, BEFORE or AFTER."""
        if self.before is None:
            return AFTER
        return BEFORE if self.after is None else BOTH

    @property
    def differs(self) -> tuple[str, ...]:
        """What differs of an incident that both have."""
        if self.before is None or self.after is None:
            return ()
        a, b = facts(self.before), facts(self.after)
        return tuple(name for name in a if a[name] != b[name])


def facts(incident: Incident) -> dict[str, Any]:
    """What an incident is compared by."""
    return {
        "kind": incident.kind,
        "onset": incident.onset,
        "detected_at": incident.detected_at,
        "severity": incident.severity.level,
        "cause": cause(incident),
        "customers": sorted(incident.customers),
        "measures": sorted(incident.measures),
    }


def cause(incident: Incident) -> Mapping[str, str] | None:
    """The first cause of the answer; of silence, which boxes; None: not known."""
    answer = next((dict(c.where) for c in incident.causes if c.answer), None)
    if answer is None and incident.where:
        return dict(incident.where)
    if answer is None and len(incident.devices) == 1:
        return {"device": incident.devices[0]}
    return answer


def paired(before: Sequence[Incident], after: Sequence[Incident]) -> list[Pair]:
    """Each incident once, in the order of detection: matched with the one on the other side that is the same trouble,
    best first (the same cause, then how soon after each other)."""
    candidates = sorted(
        (cause(b) != cause(a), abs(b.detected_at - a.detected_at), abs(b.onset - a.onset), i, j)
        for i, b in enumerate(before)
        for j, a in enumerate(after)
        if same_trouble(b, a)
    )
    partner: dict[int, int] = {}
    taken: set[int] = set()
    for *_, i, j in candidates:
        if i not in partner and j not in taken:
            partner[i] = j
            taken.add(j)
    pairs = [Pair(b, after[partner[i]] if i in partner else None) for i, b in enumerate(before)]
    pairs += [Pair(None, a) for j, a in enumerate(after) if j not in taken]
    return sorted(pairs, key=_when)


def _when(pair: Pair) -> tuple[int, str]:
    one = pair.before or pair.after
    assert one is not None
    return one.detected_at, one.id


def same_trouble(one: Incident, other: Incident) -> bool:
    """Of one kind (silences tell theirs only at their end), at one time, with a customer or a box in common."""
    if one.kind.split(".")[0] != other.kind.split(".")[0]:
        return False
    if one.onset > _over(other) or other.onset > _over(one):
        return False
    mine, its = {*one.customers, *one.devices}, {*other.customers, *other.devices}
    return mine == its or bool(mine & its)


def _over(incident: Incident) -> int:
    return max(incident.newest, incident.detected_at) + _SLACK_MS


def as_row(pair: Pair, labels: Mapping[str, str]) -> dict[str, Any]:
    """A pair as JSON values, times in RFC 3339. `labels`: by id of the incident on the left."""
    said = UNLABELLED if pair.before is None else labels.get(pair.before.id, UNLABELLED)
    return {
        "status": pair.status,
        "label": said,
        "differs": list(pair.differs),
        "before": None if pair.before is None else _told(pair.before),
        "after": None if pair.after is None else _told(pair.after),
    }


def _told(incident: Incident) -> dict[str, Any]:
    told = facts(incident)
    return {
        "id": incident.id,
        **told,
        "onset": rfc3339(told["onset"]),
        "detected_at": rfc3339(told["detected_at"]),
        "devices": len(incident.devices),
    }


def counts(pairs: Sequence[Pair], labels: Mapping[str, str]) -> dict[str, int]:
    """How many of each status; of labelled ones, how many are still found."""
    of = [(pair, labels.get(pair.before.id, UNLABELLED) if pair.before else UNLABELLED) for pair in pairs]
    found = {status: sum(p.status == status for p in pairs) for status in (BOTH, BEFORE, AFTER)}
    return {
        **found,
        "unchanged": sum(p.status == BOTH and not p.differs for p in pairs),
        "true": sum(said == TRUE for _, said in of),
        "true_still_found": sum(said == TRUE and p.status == BOTH for p, said in of),
        "false": sum(said == FALSE for _, said in of),
        "false_still_found": sum(said == FALSE and p.status == BOTH for p, said in of),
    }
