"""What Kafka's and Faust's client libraries may say in our logs: nothing of connections that come and go.

While a broker is away they write dozens of lines a second, some with tracebacks; our own processes say once that Kafka
is away and once that it is back. What else they warn of is passed on without its traceback, each kind once a minute.
"""

from __future__ import annotations

import logging
import re

# They log every connection at INFO; fontTools every table of a font that a PDF embeds.
LIBRARIES = ("aiokafka", "faust", "fontTools", "kafka", "mode")
REPEAT_AFTER_S = 60.0
MOST_KINDS = 1_000
_OUTAGE = re.compile(
    r"ECONNREFUSED|Connect call failed|[Ss]ocket disconnected|[Cc]onnection reset|Connection (lost|failed|at .* closed)"
    r"|network data|Broken pipe|[Bb]ootstrap|No node available|NodeNotReady|NodeDisconnected|update metadata"
    r"|metadata from|Metadata refresh|KafkaConnectionError"
    r"|[Cc]oordinator|[Hh]eartbeat|rebalanc|NotLeader|RequestTimedOut|KafkaTimeout|timed? ?out"
    r"|ran for \S+ \(>|Timer \S+ is overlapping"
)
_REFUSED = re.compile(r"SSL|TLS|SASL|[Cc]ertificate|[Aa]uth(enti|ori)")  # waiting mends none of these
_LIFE_OF_A_SERVICE = "[^"  # how the library mode begins a line of a service of ours


class LibraryLogs(logging.Filter):
    """For handlers, because a logger's filter does not see what loggers below it write."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written."""
        if record.levelno <= logging.INFO and str(record.msg).startswith(_LIFE_OF_A_SERVICE):
            return False
        if record.name.partition(".")[0] not in LIBRARIES:
            return True
        message = record.getMessage()
        if record.levelno < logging.WARNING or (_OUTAGE.search(message) and not _REFUSED.search(message)):
            return False
        record.exc_info = record.exc_text = record.stack_info = None
        return self._first_of_its_kind(record)

    def _first_of_its_kind(self, record: logging.LogRecord) -> bool:
        kind = record.name, str(record.msg)
        last = self._said.get(kind)
        if last is not None and record.created - last < REPEAT_AFTER_S:
            return False
        if len(self._said) >= MOST_KINDS:
            self._said.clear()
        self._said[kind] = record.created
        return True


def tame() -> None:
    """From now on, for every handler of the root logger."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    told = LibraryLogs()
    for handler in logging.getLogger().handlers:
        handler.addFilter(told)
