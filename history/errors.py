"""What a history store raises beyond contracts.protocols: every class descends from its StoreError, and what a caller
may retry descends from StoreUnavailable."""

from __future__ import annotations

import re

from contracts.protocols import StoreError, StoreFull, StoreUnavailable


class StoreLocked(StoreError):
    """Another process holds the history. Not retriable: stop that process or choose another path."""


class QueryTimeout(StoreUnavailable):
    """A query ran longer than it may; ask for less, or later."""


class SchemaMismatch(StoreError):
    """The tables were made by other migrations than the ones this program has."""


class BadStoreUrl(StoreError):
    """A connection string that names no store this program can open."""


_CODE = re.compile(r"Code: (\d+)\. DB::(?:Err)?[Ee]xception: (.*)", re.DOTALL)
_TIMEOUT_CODES = {159}
_FULL_CODES = {243}
# Memory limit, too many parts, too many queries, cannot allocate, network and socket errors, shutdown.
_BUSY_CODES = {241, 252, 202, 173, 209, 210, 236, 439}
MAX_MESSAGE_CHARS = 600


def from_engine(error: BaseException) -> StoreError:
    """The store's error for what the engine raised: its sentence without a stack, in the right class."""
    text = str(error)
    match = _CODE.search(text)
    code, sentence = (int(match[1]), match[2]) if match else (0, text)
    message = sentence.split("Stack trace")[0].strip()[:MAX_MESSAGE_CHARS]
    if code in _FULL_CODES or "No space left on device" in text:
        return StoreFull(f"history: no space left on its disk ({message})")
    if code in _TIMEOUT_CODES:
        return QueryTimeout(f"history: the query took too long ({message})")
    if code in _BUSY_CODES:
        return StoreUnavailable(f"history: the engine is overloaded ({message})")
    return StoreError(f"history: {message} (code {code})")
