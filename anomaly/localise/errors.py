"""What the localiser refuses, in terms its caller can translate into a file, a row and a column."""


class LocaliseError(Exception):
    """Base of every error of `anomaly.localise`."""

    retriable = False


class BadInput(LocaliseError):
    """An array breaks the contract.

    `field` names the argument, `row` and `column` the first offending element (None: the whole argument).
    """

    def __init__(self, field: str, message: str, row: int | None = None, column: int | None = None) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
        self.row = row
        self.column = column
