"""What a history store raises beyond contracts.protocols: every class descends from its StoreError, and what a caller
may retry descends from StoreUnavailable."""

from __future__ import annotations

import re

from contracts.protocols import StoreError, StoreFull, StoreUnavailable


class StoreLocked(StoreError):
    """Another process holds the history. Not retriable: stop that process or choose another path."""


class RowsRefused(StoreError):
    """Rows that a table cannot take, today or ever. Only this is the rows' own fault: whatever else a store raises may
    pass, or wants an operator, and says nothing of them."""


class QueryTimeout(StoreUnavailable):
    """A query ran longer than it may; ask for less, or later."""


class ReplicaAway(StoreUnavailable):
    """One server cannot be reached, went away or cannot take part now; another may. `sent`: it may have run what it was
    given, so only what may be repeated may be given to another."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class SchemaMismatch(StoreError):
    """The tables were made by other migrations than the ones this program has."""


class SchemaBehind(SchemaMismatch, StoreUnavailable):
    """Migrations of this program are not applied yet; whoever may create tables will do it."""


class BadStoreUrl(StoreError):
    """A connection string that names no store this program can open."""


_CODE = re.compile(r"Code: (\d+)\. DB::(?:Err)?[Ee]xception: (.*)", re.DOTALL)
# Time limit, too slow to go on.
_TIMEOUT_CODES = {159, 160}
_FULL_CODES = {243}
# What one replica says and another need not: unknown host, socket timeout, network error, Keeper away or in error,
# aborted (shutdown), read-only (it lost its Keeper), no active replicas, no live remote, unknown status of an insert,
# too few replicas for the quorum, not in the quorum, cancelled, Keeper's own errors.
_AWAY_CODES = {198, 209, 210, 225, 236, 242, 244, 254, 279, 285, 286, 289, 319, 394, 999}
# Cannot allocate, quota used up, too many queries, no free connection, memory limit, too many parts, cannot schedule,
# the object storage behind it failed, overloaded.
_BUSY_CODES = {173, 201, 202, 203, 241, 252, 439, 499, 745}
# What an engine says of the values of a block: cannot be parsed (text, format, number) or converted, wrong type,
# incorrect data, too large an array or string, out of range, NULL where there is none, a constraint violated.
_VALUE_CODES = {6, 27, 53, 70, 72, 117, 128, 131, 321, 349, 469}
MAX_MESSAGE_CHARS = 600


def from_engine(error: BaseException, *, rows: bool = False) -> StoreError:
    """The store's error for what the engine raised: its sentence without a stack, in the right class. `rows`: as of
    from_code."""
    text = str(error)
    match = _CODE.search(text)
    return from_code(int(match[1]), match[2], rows=rows) if match else from_code(0, text)


def from_code(code: int, text: str, *, rows: bool = False) -> StoreError:
    """The store's error for one of the engine's codes and what it said; 0: no code of the engine's. `rows`: it was said
    of a block of rows, so that it may be their fault; of a query the same code is the query's."""
    message = text.split("Stack trace", maxsplit=1)[0].strip().rstrip(".")[:MAX_MESSAGE_CHARS]
    if code in _FULL_CODES or "No space left on device" in text:
        return StoreFull(f"history: no space left on its disk ({message})")
    if code in _TIMEOUT_CODES:
        return QueryTimeout(f"history: the query took too long ({message})")
    if code in _AWAY_CODES:
        return ReplicaAway(f"history: the server cannot take part now ({message})")
    if code in _BUSY_CODES:
        return StoreUnavailable(f"history: the engine cannot take more now ({message})")
    if rows and code in _VALUE_CODES:
        return RowsRefused(f"history: rows refused: {message} (code {code})")
    return StoreError(f"history: {message} (code {code})")
