"""What the pages are given by the process that serves them. Streamlit runs the script in that same process, so the
context is process-global: set once before serving, read on every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from contracts.protocols import Registry
from dashboards.model import Books, CustomerSeries, Fleet
from history.query_cells import CellAnswer, CellQuestion
from history.query_raw import Scan


class DashboardError(Exception):
    """Base of what the pages raise themselves."""


class NotReady(DashboardError):
    """The pages were opened before their data was set; retry later."""


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

    def scan(self, question: CellQuestion) -> Iterator[Scan]:
        """Sums by box, read from slices piece by piece; slow. Raises ContractError."""


@dataclass(frozen=True, slots=True)
class Context:
    """`now`: clock in ms UTC, the fleet's own time when that is simulated. `status`: the pipeline's state, quick to
    ask, with any of the keys of PIPELINE_KEYS; what is absent or None is shown as "no data"."""

    backend: Backend
    registry: Registry
    now: Callable[[], int]
    status: Callable[[], Mapping[str, float | None]] = field(default=dict)
    demo: bool = False


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
    """The context that was set. Raises NotReady before that."""
    if _context is None:
        raise NotReady("the pages have no data source yet; call dashboards.context.set_context first")
    return _context
