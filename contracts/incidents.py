"""Incidents: what they state, what people and the system may do to them, and what that leads to.

An incident is a value; whatever happens to it is an `Action`, and `apply` is the only way from one state to another.
All times are milliseconds UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from contracts.auth import check_id
from contracts.columns import CELL_DIMENSIONS
from contracts.entities import MEASURES
from contracts.errors import ContractError
from contracts.plain import from_plain, to_plain
from contracts.report import MAX_TEXT
from contracts.times import DAY_MS, MAX_TIME_MS

QUALITY = "quality"
SILENCE_BOX, SILENCE_UPLINK, SILENCE_AGENT = "silence.box", "silence.uplink", "silence.agent"
SILENCE_REGION = "silence.region"
SELF_LAG, SELF_TEST, HEALTH_BUDGET = "self.lag", "self.test", "health.budget"
KINDS = (
    QUALITY, SILENCE_BOX, SILENCE_UPLINK, SILENCE_AGENT, SILENCE_REGION, SELF_LAG, SELF_TEST, HEALTH_BUDGET,
)  # fmt: skip

OPEN, ACKNOWLEDGED, MUTED, RESOLVED = "open", "acknowledged", "muted", "resolved"
STATES = (OPEN, ACKNOWLEDGED, MUTED, RESOLVED)

ACKNOWLEDGE, MUTE, UNMUTE, NOTE, RESOLVE = "acknowledge", "mute", "unmute", "note", "resolve"
FALSE_ALARM, REAL_CAUSE, REOPEN = "false_alarm", "real_cause", "reopen"
VERBS_OF_PEOPLE = (ACKNOWLEDGE, MUTE, UNMUTE, NOTE, RESOLVE, FALSE_ALARM, REAL_CAUSE, REOPEN)
END, RETURN, MERGE, SPLIT = "end", "return", "merge", "split"
VERBS_OF_SYSTEM = (END, RETURN, MERGE, SPLIT)
SYSTEM = "dipper"
"""Author of what the system does by itself. A mute that is over is an `unmute` of this author."""

TRANSITIONS: Mapping[tuple[str, str], str] = {
    **{(verb, state): state for verb in (NOTE, REAL_CAUSE, SPLIT) for state in STATES},
    **{(verb, state): RESOLVED for verb in (FALSE_ALARM, MERGE) for state in STATES},
    **{(verb, state): RESOLVED for verb in (RESOLVE, END) for state in (OPEN, ACKNOWLEDGED, MUTED)},
    **{(MUTE, state): MUTED for state in (OPEN, ACKNOWLEDGED, MUTED)},
    (ACKNOWLEDGE, OPEN): ACKNOWLEDGED,
    (UNMUTE, MUTED): OPEN,
    **{(verb, RESOLVED): OPEN for verb in (REOPEN, RETURN)},
}
"""(verb, state) -> state afterwards; what is not listed is refused. Two things come on top: an incident that was merged
into another takes notes only, and one that returns while its mute lasts is muted."""

VERDICTS = ("localised", "diffuse", "quiet", "insufficient_data", "none")
"""Of the localiser; `none`: this kind of incident is not localised."""
LEVELS = ("low", "medium", "high", "critical")
WHERE_DIMENSIONS = (*CELL_DIMENSIONS, "device")

SENTENCES: Mapping[str, tuple[str, ...]] = {
    "quality.localised": ("customers", "measures", "factor", "since", "where", "share", "causes"),
    "quality.diffuse": ("customers", "measures", "factor", "since"),
    "quality.unexplained": ("customers", "measures", "factor", "since"),
    "silence.box": ("boxes", "device", "since"),
    "silence.uplink": ("boxes", "device", "since"),
    "silence.agent": ("boxes", "device", "since"),
    "silence.region": ("boxes", "where", "share", "since"),
    "self.lag": ("lag_s", "since"),
    "self.test": ("fault", "since"),
    "self.test.absent": ("since",),
    "health.budget": ("where", "used", "allowed", "since"),
}
"""Headlines by key with the names of their parameters; pages and commands have the words in each language. `customers`,
`measures`: lists; `where`: combination; `factor`: bad over expected; `share`: 0..1; `since`: ms UTC; `causes`,
`boxes`: counts."""

MAX_HISTORY = 1_000
MAX_ACTION_CHARS = 2_000
MAX_MUTE_MS = 30 * DAY_MS
_BAD = "bad_incident"

Param = int | float | str | tuple[str, ...] | Mapping[str, str]


def check_where(path: str, where: Mapping[str, str]) -> None:
    """Refuse what is no combination of dimension values (and `device`). Raises ContractError `bad_incident`."""
    for dimension, value in where.items():
        if dimension not in WHERE_DIMENSIONS:
            raise ContractError(_BAD, f"{path}.{dimension}", f"a dimension among {WHERE_DIMENSIONS}", dimension)
        if not 1 <= len(value) <= MAX_TEXT or not value.isprintable():
            raise ContractError(_BAD, f"{path}.{dimension}", f"a printable text of 1 to {MAX_TEXT} characters", value)


def _one_of(path: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ContractError(_BAD, path, f"one of {', '.join(allowed)}", value)


def _times(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if value is not None and not 0 <= value <= MAX_TIME_MS:
            raise ContractError(_BAD, name, f"a time in ms UTC from 0 to {MAX_TIME_MS}", value)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A headline to be said in any language: a key of SENTENCES and its parameters."""

    key: str
    params: Mapping[str, Param] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _one_of("key", self.key, tuple(SENTENCES))
        if set(self.params) != set(SENTENCES[self.key]):
            raise ContractError(_BAD, "params", f"exactly {', '.join(SENTENCES[self.key])}", sorted(self.params))


@dataclass(frozen=True, slots=True)
class Severity:
    """How bad, with the arithmetic. Of the incident's whole time: `customer_minutes` in which a customer's service was
    affected, `excess_bad` additional bad events, `lost_minutes` = sum over those minutes of excess over total (a minute
    in which a tenth of the requests was additionally bad counts a tenth). Of its newest minute: `at_stake_per_minute`
    requests of the affected traffic, `traffic_share` of all traffic, `excess_ratio` of what was affected."""

    level: str
    customer_minutes: int = 0
    excess_bad: float = 0.0
    lost_minutes: float = 0.0
    at_stake_per_minute: float = 0.0
    traffic_share: float = 0.0
    excess_ratio: float = 0.0

    def __post_init__(self) -> None:
        _one_of("level", self.level, LEVELS)


@dataclass(frozen=True, slots=True)
class Equivalent:
    """Another combination that selects the same rows, or nearly; by how many cells the two differ."""

    where: Mapping[str, str]
    cells_only_in_cause: int = 0
    cells_only_in_equivalent: int = 0

    def __post_init__(self) -> None:
        check_where("where", self.where)


@dataclass(frozen=True, slots=True)
class Cause:
    """A combination of dimension values with its counts over the minutes that were localised. `share` of the excess,
    `gain` nats, `purity` 0..1 (see docs/localiser.md); `answer`: part of the answer, else a further candidate."""

    where: Mapping[str, str]
    share: float
    bad: float
    expected: float
    total: float
    answer: bool
    measure: str
    gain: float = 0.0
    purity: float = 1.0
    onset: int | None = None
    equivalents: tuple[Equivalent, ...] = ()

    def __post_init__(self) -> None:
        check_where("where", self.where)
        _one_of("measure", self.measure, MEASURES)
        _times(self, "onset")


@dataclass(frozen=True, slots=True)
class RelatedChange:
    """What people did before it began, in the traffic it hit. `relation`: matches, contains, within; `delay_ms` from
    the change's start to the onset."""

    id: str
    kind: str
    relation: str
    start: int
    delay_ms: int
    score: float
    share_of_scope: float
    share_of_cause: float
    scope: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_id("id", self.id)
        _one_of("relation", self.relation, ("matches", "contains", "within"))
        _times(self, "start")


@dataclass(frozen=True, slots=True)
class SeriesEvidence:
    """One measure of one customer's service in this incident: since when until when, counts since the onset, and what
    the detector said when it was surest (`nats` of evidence, chance `p`, `limit` of that minute)."""

    customer: str
    service: str
    measure: str
    onset: int
    newest: int
    bad: float
    total: float
    expected: float
    nats: float
    p: float | None
    limit: float | None
    reasons: tuple[str, ...] = ()
    baseline: str = ""
    dispersion: float = 1.0
    allowed: float | None = None

    def __post_init__(self) -> None:
        _one_of("measure", self.measure, MEASURES)
        _times(self, "onset", "newest")


@dataclass(frozen=True, slots=True)
class Transition:
    """A line of an incident's history: who did what, when and why. `action`: id of the action; `other`: the incident
    merged into, or split off."""

    action: str
    verb: str
    author: str
    at: int
    before: str
    after: str
    text: str = ""
    until: int | None = None
    other: str | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """Something done to an incident. `id` names it for ever: applying it twice changes nothing. `text`: why; `until`:
    of a mute; `cause`: of real_cause, a combination of dimension values; `other`: of merge the incident merged into,
    of split the one split off."""

    id: str
    incident: str
    verb: str
    author: str
    at: int
    text: str = ""
    until: int | None = None
    cause: Mapping[str, str] | None = None
    other: str | None = None

    def __post_init__(self) -> None:
        check_id("id", self.id)
        check_id("incident", self.incident)
        _one_of("verb", self.verb, VERBS_OF_PEOPLE + VERBS_OF_SYSTEM)
        _times(self, "at", "until")
        if not 1 <= len(self.author) <= MAX_TEXT or not self.author.isprintable():
            raise ContractError(_BAD, "author", f"a printable text of 1 to {MAX_TEXT} characters", self.author)
        if self.verb in VERBS_OF_SYSTEM and self.author != SYSTEM:
            raise ContractError(_BAD, "author", f"{SYSTEM} for {self.verb}", self.author)
        if len(self.text) > MAX_ACTION_CHARS or (self.verb == NOTE and not self.text.strip()):
            least = 1 if self.verb == NOTE else 0
            raise ContractError(_BAD, "text", f"{least} to {MAX_ACTION_CHARS} characters", self.text)
        self._check_until()
        if (self.cause is not None) != (self.verb == REAL_CAUSE):
            raise ContractError(_BAD, "cause", "a combination for real_cause, else none", self.cause)
        check_where("cause", self.cause or {})
        if (self.other is not None) != (self.verb in (MERGE, SPLIT)):
            raise ContractError(_BAD, "other", "an incident for merge and split, else none", self.other)

    def _check_until(self) -> None:
        if self.verb != MUTE and self.until is not None:
            raise ContractError(_BAD, "until", "none except for mute", self.until)
        if self.verb == MUTE and (self.until is None or not self.at < self.until <= self.at + MAX_MUTE_MS):
            expected = f"after {self.at}, at most {MAX_MUTE_MS // DAY_MS} days later"
            raise ContractError(_BAD, "until", expected, self.until)


@dataclass(frozen=True, slots=True)
class Incident:
    """One cause of trouble, whatever the number of customers and measures it hit.

    `id` is given once. `where`: of silence, which boxes (their common dimension values); `devices`: the first of them.
    `version` counts up with each change of any field; of two the higher counts. `resolved_at` is None unless resolved.
    `false_alarm`, `real_cause`: what operators said of it. `newest`: the newest minute that belongs to it.
    """

    id: str
    kind: str
    state: str
    onset: int
    detected_at: int
    newest: int
    headline: Sentence
    severity: Severity
    version: int = 1
    resolved_at: int | None = None
    customers: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    verdict: str = "none"
    reason: str = ""
    causes: tuple[Cause, ...] = ()
    changes: tuple[RelatedChange, ...] = ()
    series: tuple[SeriesEvidence, ...] = ()
    where: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    history: tuple[Transition, ...] = ()
    reopened: int = 0
    muted_until: int | None = None
    muted_by: str | None = None
    merged_into: str | None = None
    split_from: str | None = None
    false_alarm: bool = False
    real_cause: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        check_id("id", self.id)
        _one_of("kind", self.kind, KINDS)
        _one_of("state", self.state, STATES)
        _one_of("verdict", self.verdict, VERDICTS)
        for measure in self.measures:
            _one_of("measures", measure, MEASURES)
        _times(self, "onset", "detected_at", "newest", "resolved_at", "muted_until")
        if (self.resolved_at is not None) != (self.state == RESOLVED):
            raise ContractError(_BAD, "resolved_at", "a time exactly when resolved", self.resolved_at)
        if self.state == MUTED and (self.muted_until is None or self.muted_by is None):
            raise ContractError(_BAD, "muted_until", "until when and by whom it is muted", self.muted_until)
        if self.version < 1:
            raise ContractError(_BAD, "version", "1 or more", self.version)
        check_where("where", self.where)

    @property
    def active(self) -> bool:
        """Whether it still goes on, or nobody said that it is over."""
        return self.state != RESOLVED

    @property
    def closed_by_people(self) -> bool:
        """Whether people ended it, and not Dipper: what they closed does not come back by itself."""
        ends = [line for line in self.history if line.verb in (RESOLVE, FALSE_ALARM, END)]
        return bool(ends) and ends[-1].author != SYSTEM


class IllegalTransition(ContractError):
    """An action that the incident's state does not allow; reason `illegal_transition`."""


def permitted(incident: Incident, verb: str) -> bool:
    """Whether the table allows a verb now: what a page asks before it shows a button."""
    if incident.merged_into is not None:
        return verb == NOTE
    return (verb, incident.state) in TRANSITIONS


def apply(incident: Incident, action: Action) -> Incident:
    """The incident after an action; unchanged when the action was applied before. Raises IllegalTransition."""
    if action.incident != incident.id:
        raise IllegalTransition("illegal_transition", "incident", incident.id, action.incident)
    if any(line.action == action.id for line in incident.history):
        return incident
    if not permitted(incident, action.verb):
        state = f"merged into {incident.merged_into}" if incident.merged_into else incident.state
        allowed = ", ".join(verb for verb in VERBS_OF_PEOPLE if permitted(incident, verb))
        raise IllegalTransition(
            "illegal_transition", "verb", f"one of {allowed} ({incident.id} is {state})", action.verb
        )
    if len(incident.history) >= MAX_HISTORY and action.verb in (NOTE, REAL_CAUSE, SPLIT):
        raise IllegalTransition("illegal_transition", "history", f"fewer than {MAX_HISTORY} lines", action.verb)
    after = TRANSITIONS[action.verb, incident.state]
    changed: dict[str, Any] = _consequences(incident, action)
    if action.verb == RETURN and incident.muted_until is not None and action.at < incident.muted_until:
        after = MUTED
    line = Transition(
        action.id, action.verb, action.author, action.at, incident.state, after, action.text, action.until, action.other
    )
    resolved_at = (incident.resolved_at or action.at) if after == RESOLVED else None
    return replace(
        incident,
        **{"state": after, "resolved_at": resolved_at} | changed,
        history=(*incident.history, line),
        version=incident.version + 1,
    )


def _consequences(incident: Incident, action: Action) -> dict[str, Any]:
    if action.verb == MUTE:
        return {"muted_until": action.until, "muted_by": action.author}
    if action.verb == UNMUTE:
        return {"muted_until": None, "muted_by": None}
    if action.verb == FALSE_ALARM:
        return {"false_alarm": True}
    if action.verb == REAL_CAUSE:
        return {"real_cause": dict(action.cause or {}), "false_alarm": False}
    if action.verb == REOPEN:
        return {"reopened": incident.reopened + 1, "false_alarm": False, "muted_until": None, "muted_by": None}
    if action.verb == RETURN:
        return {"reopened": incident.reopened + 1}
    if action.verb == MERGE:
        return {"merged_into": action.other}
    return {}


def incident_to_json(incident: Incident) -> dict[str, Any]:
    """JSON values, times ms UTC: a record of topic `incidents`, and what `incident_from_json` reads."""
    document: dict[str, Any] = to_plain(incident)
    return document


def incident_from_json(document: object) -> Incident:
    """A validated incident. Raises ContractError `bad_incident` with the field's path, or `bad_id`."""
    return from_plain(Incident, document, _BAD)


def action_to_json(action: Action) -> dict[str, Any]:
    """JSON values, times ms UTC: a record of topic `incident.actions`."""
    document: dict[str, Any] = to_plain(action)
    return document


def action_from_json(document: object) -> Action:
    """A validated action. Raises ContractError `bad_incident` with the field's path, or `bad_id`."""
    return from_plain(Action, document, _BAD)
