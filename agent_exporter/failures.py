"""The failure table: which answers of a box count as its failures, and of which class. One pure function.

The rows below are the whole rule; `docs/agent.md` shows the same table, and a test compares the two by behaviour.
"""

from __future__ import annotations

F_SERVER = "f_server"
F_TIMEOUT = "f_timeout"
F_RESET = "f_reset"
F_INCOMPLETE = "f_incomplete"
NO_FAILURE = ""

NO_ANSWER = (0, 444)  # nginx logs 000 or 444 when it closed the connection without an answer
GATEWAY_TIMEOUT = 504
BODILESS = (204, 304)


def failure_of(status: int, method: str, completed: bool, promised_bytes: int | None, sent_bytes: int) -> str:
    """Failure class of one request, or an empty string.

    `completed`: nginx's `$request_completion` is OK. nginx sets it when it finished the request itself, also when an
    upstream broke off in the middle; it is empty when the client went away. `promised_bytes`: Content-Length of the
    answer, None when it had none. `sent_bytes`: bytes of the body that were sent.
    """
    if status in NO_ANSWER:
        return F_RESET
    if status == GATEWAY_TIMEOUT:
        return F_TIMEOUT
    if status >= 500:
        return F_SERVER
    if not 200 <= status < 300 or status in BODILESS or method == "HEAD" or promised_bytes is None:
        return NO_FAILURE
    # A client that left early is not our failure, however little it got.
    return F_INCOMPLETE if completed and sent_bytes < promised_bytes else NO_FAILURE


# What a task or an app reports about itself, and the failure class it counts as.
OUTCOMES = {
    "ok": NO_FAILURE,
    "cancelled": NO_FAILURE,  # by the one who asked for it
    "error": F_SERVER,
    "timeout": F_TIMEOUT,
    "lost": F_RESET,
    "incomplete": F_INCOMPLETE,
}
