from __future__ import annotations

import re

import pytest

from contracts import arrow, columns
from contracts.columns import TABLES, Column

DTYPES = {"int64", "float64", "string", "text", "bytes", "bool", "list<uint8>", "list<uint32>"}


@pytest.mark.parametrize("table", sorted(TABLES))
def test_columns_are_named_once_with_a_known_dtype_and_a_meaning(table: str) -> None:
    names = columns.names(TABLES[table])
    assert len(set(names)) == len(names)
    for column in TABLES[table]:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", column.name)
        assert column.dtype in DTYPES
        assert column.meaning


def test_every_declared_table_is_registered() -> None:
    def is_table(value: object) -> bool:
        return isinstance(value, tuple) and bool(value) and all(isinstance(c, Column) for c in value)

    parts = {"COUNTS", "HISTOGRAM_COLUMNS", "VITALS_MEASURES", "EXEMPLARS_MEASURES"}
    declared = {n for n, value in vars(columns).items() if n.isupper() and n[0] != "_" and is_table(value)}
    assert {name.lower() for name in declared - parts} == set(TABLES)


def test_dtypes_of_the_docstring_are_those_arrow_knows() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    every = tuple(Column(f"c{i}", dtype, "", "") for i, dtype in enumerate(sorted(DTYPES)))
    assert len(arrow.schema(every, pyarrow)) == len(DTYPES)
    assert all(f"`{dtype}`" in (columns.__doc__ or "") for dtype in DTYPES)


def test_dimensions_of_a_cell_are_disjoint_and_leave_the_device_out() -> None:
    assert len(set(columns.CELL_DIMENSIONS)) == len(columns.CELL_DIMENSIONS) == 12
    assert "device" not in columns.CELL_DIMENSIONS
