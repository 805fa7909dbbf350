"""What crosses a boundary is documented: topics, columns, words, folders. The generated page is current."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from contracts import columns, entities, report, times, topics
from contracts.columns import CELL_DIMENSIONS, FAILURE_NAMES, OTHER, TABLES, UNKNOWN
from contracts.entities import MEASURES
from tools import make_reference

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "contracts-tables.md"
GLOSSARY = ROOT / "docs" / "glossary.md"
FOLDERS_WITHOUT_README = {"docs", "tools"}  # docs/ is prose itself; tools/ serves the Makefile, which explains itself


def rows_below(heading: str, text: str) -> dict[str, list[str]]:
    """Rows of the first table below a heading, by their first cell without backticks."""
    section = re.split(r"^#{2,3} ", text.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
    return {row[0].strip("`"): row for row in cells}


def test_the_generated_page_is_current() -> None:
    assert PAGE.read_text() == make_reference.render(), "run `make reference`"


def test_every_topic_stands_in_the_page() -> None:
    rows = rows_below("Topics", PAGE.read_text())
    assert set(rows) == {topic.name for topic in topics.ALL}
    for topic in topics.ALL:
        assert topic.holds in rows[topic.name]
        assert topic.key in rows[topic.name]


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_column_stands_in_the_page_with_dtype_unit_and_meaning(table: str) -> None:
    rows = rows_below(table, PAGE.read_text())
    assert list(rows) == [column.name for column in TABLES[table]]
    for column in TABLES[table]:
        meaning = column.meaning.replace("|", "\\|")
        assert rows[column.name] == [f"`{column.name}`", column.dtype, column.unit, meaning]


def test_every_limit_stands_in_the_page_with_its_value() -> None:
    rows = {name.split(".")[1]: row[1] for name, row in rows_below("Limits", PAGE.read_text()).items()}
    limits = {n: v for m in (columns, entities, report, times) for n, v in vars(m).items() if n.startswith("MAX_")}
    assert len(limits) > 10
    for name, value in limits.items():
        assert rows[name].split(" ")[0] == f"{value:,}"


def test_a_stale_page_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stale = tmp_path / "contracts-tables.md"
    monkeypatch.setattr(make_reference, "PAGE", stale)
    assert make_reference.main(["--check"]) == 1
    stale.write_text(make_reference.render() + "edited by hand\n")
    assert make_reference.main(["--check"]) == 1
    assert make_reference.main([]) == 0
    assert make_reference.main(["--check"]) == 0


def test_make_reference_runs_as_the_makefile_runs_it() -> None:
    subprocess.run([sys.executable, "tools/make_reference.py", "--check"], cwd=ROOT, check=True, timeout=60)


DROP_CAUSES = [value for name, value in vars(report).items() if name.startswith("DROP_")]


@pytest.mark.parametrize("word", [*CELL_DIMENSIONS, *MEASURES, OTHER, UNKNOWN])
def test_dimensions_and_measures_are_defined_in_the_glossary(word: str) -> None:
    assert re.search(rf"\*\*{word}\*\*", GLOSSARY.read_text())


@pytest.mark.parametrize("word", [*FAILURE_NAMES, *DROP_CAUSES])
def test_identifiers_of_failures_and_drops_are_explained_in_the_glossary(word: str) -> None:
    assert f"`{word}`" in GLOSSARY.read_text()


def test_no_word_is_defined_twice() -> None:
    words = re.findall(r"\*\*(.+?)\*\*", GLOSSARY.read_text())
    assert len(words) > 60
    assert sorted(w for w in set(words) if words.count(w) > 1) == []


def test_every_folder_has_a_readme_that_says_what_enters_and_leaves() -> None:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    tops = {name.split("/")[0] for name in listing.stdout.split("\0") if "/" in name and not name.startswith(".")}
    assert {"contracts", "ingest", "tests"} <= tops
    wanting = [
        top for top in sorted(tops - FOLDERS_WITHOUT_README)
        if not (page := ROOT / top / "README.md").is_file() or len(page.read_text().split()) < 30
    ]  # fmt: skip
    assert wanting == []
