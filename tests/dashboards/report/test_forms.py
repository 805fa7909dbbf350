"""The report as PDF, page and CSV: read back by other programs."""

import csv
import io
import re
import subprocess

import pytest

from dashboards.report.content import content
from dashboards.report.fonts import NoFont, fonts_for
from dashboards.report.page import page
from dashboards.report.pdf import pdf
from dashboards.report.table import COLUMNS, table
from tests.dashboards.report.documents import ALL_KINDS, SHA256, account, classes, document

NOW = 1_793_664_000_000


def text_of(data, tmp_path):
    """Text of a PDF, page by page, by poppler."""
    file = tmp_path / "report.pdf"
    file.write_bytes(data)
    found = subprocess.run(["pdftotext", "-layout", file, "-"], capture_output=True, text=True, check=True, timeout=60)
    return [re.sub(r"\s+", " ", text) for text in found.stdout.split("\f")[:-1]]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_pdf_holds_every_figure_on_one_or_two_pages(language, tmp_path):
    doc = document(account(ALL_KINDS), account(measure="stalled_sessions", name="stalls"), name="Acme 视频")
    said = content(doc, language)
    pages = text_of(pdf(said, now_ms=NOW), tmp_path)
    assert 1 <= len(pages) <= 2
    whole = re.sub(r"\s", "", "".join(pages))
    texts = [said.title, said.customer, said.headline, *said.details, said.status, *said.method, *said.seals]
    texts += [t for r in said.rows for t in (r.promised, r.attained, r.coverage, r.budget, r.credit, r.verdict)]
    texts += [t for r in said.lost for t in (r.when, r.lost)]
    for text in texts:
        # Cells that stand side by side are broken into lines between each other.
        parts = re.sub(r"\s", "", text) if len(text) < 40 else re.sub(r"\s", "", text[:12])
        assert parts in whole, text
    assert SHA256 in whole


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_month_of_one_objective_takes_one_page_its_seal_included(language, tmp_path):
    (page,) = text_of(pdf(content(document(account(ALL_KINDS)), language), now_ms=NOW), tmp_path)
    assert SHA256 in page


def test_the_same_report_makes_the_same_file():
    said = content(document(), "en")
    assert pdf(said, now_ms=NOW) == pdf(said, now_ms=NOW)


def test_a_hundred_objectives_take_more_pages_and_lose_nothing(tmp_path):
    accounts = [account(classes(), name=f"o{i}", service=f"service-{i:03d}") for i in range(100)]
    pages = text_of(pdf(content(document(*accounts), "en"), now_ms=NOW), tmp_path)
    assert all(f"service-{i:03d}" in "".join(pages) for i in range(100))
    assert f"Page {len(pages)} of {len(pages)}" in pages[-1]


def test_fonts_that_are_not_there_are_asked_for():
    with pytest.raises(NoFont, match="DIPPER_REPORT_FONT: expected a font file, or two as REGULAR:BOLD, got '/none'"):
        fonts_for("a", "/none")
    assert fonts_for("视频").regular.is_file()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_escapes_what_comes_from_data_and_needs_nothing_else(language):
    evil = '<script>alert("x")</script>'
    html = page(content(document(account(service=evil, name="x"), name=evil), language))
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert not re.search(r"(src|href)=|url\(|@import", html)
    assert html.count('<td class="good">') + html.count('much">') > 20


def test_csv_holds_months_days_and_lost_minutes():
    rows = list(csv.DictReader(io.StringIO(table(document(account(ALL_KINDS), account(name="other"))))))
    assert list(rows[0]) == list(COLUMNS)
    months = [r for r in rows if r["row"] == "month"]
    assert [r["objective"] for r in months] == ["vod-failures", "other"]
    assert (months[0]["bad"], months[0]["unmeasured"], months[0]["sha256"]) == ("81", "22", SHA256)
    days = [r for r in rows if r["row"] == "day" and r["objective"] == "vod-failures"]
    assert sum(int(r["bad"]) for r in days) == 81
    assert [r["start"] for r in days][:2] == ["2026-10-01", "2026-10-02"]
    lost = [r for r in rows if r["row"] == "lost" and r["objective"] == "vod-failures"]
    assert [(r["start"], r["incidents"]) for r in lost] == [
        ("2026-10-08T12:03:00.000Z", "inc-7"),
        ("2026-10-12T19:00:00.000Z", ""),
    ]


def test_csv_gives_no_spreadsheet_a_formula():
    rows = list(csv.DictReader(io.StringIO(table(document(account(service="=cmd()"))))))
    assert rows[0]["service"] == "'=cmd()"
