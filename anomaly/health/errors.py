"""What the health scores refuse, in terms of the argument that is wrong."""


class HealthError(Exception):
    """Base of every error of `anomaly.health`."""

    retriable = False


class BadInput(HealthError):
    """An argument breaks the contract. `field` names it, `row` the first offending box (None: all of it)."""

    def __init__(self, field: str, message: str, row: int | None = None) -> None:
        where = field if row is None else f"{field}[{row}]"
        super().__init__(f"{where}: {message}")
        self.field = field
        self.message = message
        self.row = row
