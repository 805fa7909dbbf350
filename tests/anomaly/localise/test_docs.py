"""The page for operators shows what the localiser says today."""

import xml.etree.ElementTree as ET
from pathlib import Path

from benchmarks.localise.picture import HISTORY, ISPS, MODELS, NOW, TOTAL, USUAL, svg
from dipper.localise_cli import main

DOCS = Path(__file__).parents[3] / "docs"


def test_the_picture_is_current():
    assert (DOCS / "localiser.svg").read_text(encoding="utf-8") == svg()
    ET.fromstring(svg())


def test_the_worked_example_is_current(tmp_path, capsys):
    rows = ["min,isp,model,bad,cnt"]
    for minute in range(HISTORY + 1):
        for i, isp in enumerate(ISPS):
            for m, model in enumerate(MODELS):
                bad = NOW[i][m] if minute == HISTORY else USUAL
                rows.append(f"{1_700_000_000 + 60 * minute},{isp},{model},{bad},{TOTAL}")
    case = tmp_path / "case.csv"
    case.write_text("\n".join(rows) + "\n")
    assert main(["localise", str(case), "--at", "1700000300", "--bad", "bad", "--total", "cnt"]) == 0
    table = capsys.readouterr().out.partition("\n\nisp=beta has")[0]
    page = (DOCS / "localiser.md").read_text(encoding="utf-8")
    for line in table.splitlines():
        assert line.strip() in page
