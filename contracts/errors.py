"""The error every validation of this package raises: which field, what was expected, what came."""

from __future__ import annotations

MAX_SHOWN_CHARS = 120


def shorten(value: object) -> str:
    """`repr` of a value, cut to a length that is safe to log, store and send back."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deep, or an integer with too many digits to print
        text = f"a {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 1] + "…"


class ContractError(ValueError):
    """Data that breaks a contract. Never retriable: the same bytes will fail again.

    `reason` is a stable identifier (counted and stored), `field` a path such as `slices.requests[3]`.
    """

    def __init__(self, reason: str, field: str, expected: str, got: object) -> None:
        self.reason = reason
        self.field = field
        self.expected = expected
        self.got = shorten(got)
        super().__init__(f"{field}: expected {expected}, got {self.got}")

    def below(self, path: str) -> ContractError:
        """The same refusal, its field in a larger whole: `path` is put in front."""
        return ContractError(self.reason, f"{path}{self.field}", self.expected, _Shown(self.got))


class _Shown(str):
    """What `shorten` has made already."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
