"""What the pages are given by the process that serves them. Streamlit runs the script in that same process, so the
context is process-global: set once before serving, read on every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from contracts.entities import Change, Customer
from contracts.health import BudgetState, Score
from contracts.incidents import Action, Incident
from contracts.protocols import Registry
from contracts.releases import Release
from contracts.sla import Month
from contracts.thresholds import Thresholds
from dashboards.model import Books, CustomerSeries, Fleet, Intake, Sums
from dashboards.people import CUSTOMER, OPERATOR, Person
from dashboards.tenant_view import TenantBackend, TenantRegistry, TenantView
from history.query_box import BoxStory
from history.query_cells import CellAnswer, CellQuestion
from history.query_model import Exemplar
from history.query_raw import Scan


class DashboardError(Exception):
    """Base of what the pages raise themselves."""


class NotReady(DashboardError):
    """The pages were opened before their data was set; retry later."""


class NotSignedIn(NotReady):
    """Somebody has to say who they are first, or to say it again."""


class Releases(Protocol):
    """Roll-outs and the verdicts on them."""

    def recent(self) -> Sequence[Change]:
        """Roll-outs of the last thirty days, newest first. Raises contracts.protocols.StoreError."""

    def judge(self, change_id: str) -> Release:
        """One by the id of its change. Raises ContractError `unknown_release`, `no_release`; StoreError."""


class ScoreChange(Protocol):
    """What a box's score became at a time (ms UTC); `reasons`: codes of contracts.health.REASONS."""

    at: int
    value: float
    state: str
    share: float
    reasons: tuple[str, ...]


class Scores(Protocol):
    """The current health scores. Called from many threads at once."""

    @property
    def ready(self) -> bool:
        """Whether everything published so far is known."""

    def all(self) -> Sequence[Score]:
        """Every box's, unordered."""

    def budget(self) -> BudgetState | None:
        """How much is removed, None before anything was published."""

    def of(self, device: str) -> Score | None:
        """One box's."""

    def changes(self, device: str) -> Sequence[ScoreChange]:
        """What happened to a box since it first was anything but healthy, newest first."""


class Backend(Protocol):
    """Where the pages' data comes from: `data.HistoryBackend` in the product. Called from many threads at once.
    Raises contracts.protocols.StoreError when history cannot answer."""

    def fleet(self, start: int, end: int, step_ms: int) -> Fleet:
        """All customers over a range, their present and its reference, ISPs and regions."""

    def services(self, customer: str) -> tuple[str, ...]:
        """Services a customer has had traffic for, by name."""

    def customer(self, customer: str, service: str | None, start: int, end: int, step_ms: int) -> CustomerSeries:
        """One customer over a range; service None: all its services."""

    def books(self, now: int) -> Books:
        """The ledger and what was refused."""

    def cells(self, question: CellQuestion) -> CellAnswer:
        """Any measure by any dimensions. Raises ContractError for a question whose answer would be too large."""

    def values(self, dimension: str, start: int, end: int) -> tuple[str, ...]:
        """Values of a dimension in [start, end), most traffic first."""

    def incidents(self, start: int, end: int) -> tuple[Incident, ...]:
        """Incidents that were not over before `start`, newest first."""

    def incident(self, incident_id: str) -> Incident | None:
        """One by its id, or None."""

    def signals(self, customer: str, service: str, measure: str, start: int, end: int) -> Mapping[str, list[Any]]:
        """Columns of contracts.columns.SIGNALS of one series by minute; what is not known is None."""

    def exemplars(self, start: int, end: int, customer: str | None) -> tuple[Exemplar, ...]:
        """Single requests, failed ones first."""

    def changes(self, start: int, end: int) -> tuple[Change, ...]:
        """What people changed."""

    def promised_months(self, customer: str, now: int) -> Sequence[Month]:
        """Months up to now for which a customer has a service level, newest first."""

    def report(self, customer: Customer, month: Month, now: int) -> Mapping[str, Any]:
        """A customer's month against its objectives: history.sla_report's document."""

    def intake(self, start: int, end: int, step_ms: int, now: int) -> Intake:
        """How well what boxes report comes in, over [start, end)."""

    def coverage(self, start: int, end: int, customers: tuple[str, ...] = ()) -> Sums:
        """Requests of some customers (none named: of all), measured and not; failures are left out."""

    def boxes_concerned(self, where: Mapping[str, tuple[str, ...]], start: int, end: int) -> tuple[int, int, int, int]:
        """(boxes that served a combination, those with failures, start, end) over the newest minutes of a span."""

    def rule_places(
        self, question: CellQuestion, rule: str = "", apart: tuple[str, ...] = ()
    ) -> Mapping[str, list[Any]]:
        """Sums of every rule (or one) against the others but those `apart`: history.query_rules.by_place."""

    def rule_steps(self, question: CellQuestion, rule: str, apart: tuple[str, ...] = ()) -> Mapping[str, list[Any]]:
        """The same of one rule per step of the question."""

    def rule_customers(self, rule: str, start: int, end: int) -> tuple[str, ...]:
        """Customers that a rule served in [start, end)."""

    def box(self, device: str, start: int, end: int) -> BoxStory:
        """What a box reported in [start, end)."""

    def scan(self, question: CellQuestion) -> Iterator[Scan]:
        """Sums by box, read from slices piece by piece; slow. Raises ContractError."""


@dataclass(frozen=True, slots=True)
class Context:
    """`now`: clock in ms UTC, the fleet's own time when that is simulated. `status`: the pipeline's state, quick to
    ask, with any of the keys of PIPELINE_KEYS; what is absent or None is shown as "no data".
    `report_font`: what report.fonts is asked for.
    `act`: records what somebody does to an incident, raises contracts.protocols.LogError when it cannot; None: these
    pages only read. `person`: who looks, None while nobody has to say; raises NotSignedIn; None: nobody ever has to,
    whoever reaches these pages is an operator. `tenant`: what a customer may see of history. `audit` notes who did
    what (who, customer, what, status). `share`: makes a link to a report (customer, month, language). `accounts`: those
    of people, for admins (access.Account). `releases`: roll-outs and verdicts; `scores`: health scores; either None:
    this process does not have them. `thresholds`: those that detection has in force without a promise."""

    backend: Backend
    registry: Registry
    now: Callable[[], int]
    status: Callable[[], Mapping[str, float | None]] = field(default=dict)
    demo: bool = False
    report_font: str | None = None
    act: Callable[[Action], None] | None = None
    person: Callable[[], Person | None] | None = None
    tenant: Callable[[Customer], TenantView] | None = None
    audit: Callable[[str, str, str, int], None] | None = None
    share: Callable[[str, Month, str], str] | None = None
    accounts: Callable[[], Sequence[Any]] | None = None
    releases: Releases | None = None
    scores: Scores | None = None
    thresholds: Callable[[], Thresholds] = Thresholds

    def who(self, local_name: str) -> Person:
        """Who looks; `local_name` for whoever has no account because there are none. Raises NotSignedIn."""
        person = None if self.person is None else self.person()
        return person or Person(local_name, OPERATOR)

    def threshold(self, customer: str, service: str, measure: str) -> float | None:
        """From where on detection calls a request of a customer's service bad, in ms or kB/s; None for a measure that
        needs no threshold. Without a customer what counts without a promise, without a service that of deliveries."""
        known = self.registry.customer(customer) if customer else None
        return self.thresholds().in_force(known.objectives if known else (), service, measure)

    def scoped(self, person: Person) -> Context:
        """All that a customer's account may see: nothing but what is named here, whatever fields there will be."""
        customer = self.registry.customer(person.customer)
        tenant = None if customer is None or self.tenant is None else self.tenant(customer)
        return Context(
            backend=TenantBackend(tenant),  # type: ignore[arg-type]  # what it lacks is refused
            registry=TenantRegistry(customer),
            now=self.now,
            report_font=self.report_font,
            person=lambda: person,
        )


# freshness_s: end of the newest interval that queries see, to now; stream_s: end of the newest minute the streams
# emitted, to now; lag_s: age of the oldest message of the log not yet stored (0: none; left out where the process that
# stores is another one); rejected: refusals in the last hour.
PIPELINE_KEYS = ("freshness_s", "stream_s", "lag_s", "rejected")

_context: Context | None = None


def set_context(context: Context) -> None:
    """Give the pages their data. Call before serving; a later call replaces it for every following run."""
    global _context  # noqa: PLW0603
    _context = context


def clear_context() -> None:
    """Take the data away, for whoever set it and closes its store."""
    global _context  # noqa: PLW0603
    _context = None


def current() -> Context:
    """What whoever looks may see of the context that was set: customers see a part of it that holds nothing of others.
    Every page gets its data here. Raises NotReady before it was set, NotSignedIn."""
    if _context is None:
        raise NotReady("the pages have no data source yet; call dashboards.context.set_context first")
    person = None if _context.person is None else _context.person()
    return _context.scoped(person) if person is not None and person.role == CUSTOMER else _context
