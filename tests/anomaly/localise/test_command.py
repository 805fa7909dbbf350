"""`dipper localise` from file to exit code, in process."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from dipper.localise_cli import main
from tests.anomaly.localise.builders import full_cube

AT = 1_600_000_300
RATIO = ["--at", str(AT), "--bad", "bad", "--total", "cnt"]
COUNTS = ["--real", "real", "--forecast", "predict"]


def ratio_rows():
    """(minute, isp, model, bad, cnt): isp b with model y fails 100 of 1000 in the last two minutes, else 20."""
    rows = []
    for minute in range(6):
        for isp in "abc":
            for model in "xyz":
                broken = minute >= 4 and isp == "b" and model == "y"
                rows.append((AT - 300 + 60 * minute, isp, model, 100 if broken else 20, 1000))
    return rows


def write_csv(path, rows, header="min,isp,model,bad,cnt", bom=False):
    text = "\n".join([header, *(",".join(str(v) for v in row) for row in rows)]) + "\n"
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.encode())
    return str(path)


@pytest.fixture
def case(tmp_path):
    return write_csv(tmp_path / "case.csv", ratio_rows())


def answer_of(capsys):
    document = json.loads(capsys.readouterr().out)
    return document, [cause["where"] for cause in document["causes"] if cause["answer"]]


def test_ratio_case_as_json(case, capsys):
    assert main(["localise", case, *RATIO, "--json"]) == 0
    document, answer = answer_of(capsys)
    assert document["verdict"] == "localised"
    assert answer == [{"isp": "b", "model": "y"}]
    first = document["causes"][0]
    assert first["bad"] == 100
    assert first["onset"] == {"at": AT - 60, "earliest": AT - 60, "latest": AT - 60}
    assert [c["answer"] for c in document["causes"]] == [True] + [False] * (len(document["causes"]) - 1)


def test_a_bom_and_the_order_of_rows_change_nothing(case, tmp_path, capsys):
    main(["localise", case, *RATIO, "--json"])
    plain = capsys.readouterr().out
    marked = write_csv(tmp_path / "marked.csv", ratio_rows()[::-1], bom=True)
    main(["localise", marked, *RATIO, "--json"])
    assert capsys.readouterr().out == plain


def test_parquet_gives_what_csv_gives(case, tmp_path, capsys):
    main(["localise", case, *RATIO, "--json"])
    from_csv = capsys.readouterr().out
    columns = list(zip(*ratio_rows(), strict=True))
    names = ["min", "isp", "model", "bad", "cnt"]
    path = tmp_path / "case.parquet"
    pyarrow.parquet.write_table(pa.table({n: list(c) for n, c in zip(names, columns, strict=True)}), path)
    main(["localise", str(path), *RATIO, "--json"])
    assert capsys.readouterr().out == from_csv


def test_the_table_says_it_in_a_sentence(case, capsys):
    assert main(["localise", case, *RATIO]) == 0
    out = capsys.readouterr().out
    assert out.startswith("localised: ")
    assert "isp=b and model=y has 100 where 20 were expected" in out
    assert "since 2020-09-13 12:30 UTC" in out


def test_changes_are_joined_with_the_cause(case, tmp_path, capsys):
    changes = [
        {"id": "r1", "kind": "scheduling_rule", "scope": {"model": "y"}, "start": (AT - 120) * 1000, "author": "ops"},
        {"id": "r2", "kind": "scheduling_rule", "scope": {"model": "x"}, "start": (AT - 120) * 1000, "author": "ops"},
        {"id": "r3", "kind": "scheduling_rule", "scope": {"model": "y"}, "start": (AT + 600) * 1000, "author": "ops"},
    ]
    path = tmp_path / "changes.json"
    path.write_text(json.dumps(changes))
    assert main(["localise", case, *RATIO, "--changes", str(path), "--json"]) == 0
    document, _ = answer_of(capsys)
    (change,) = document["causes"][0]["changes"]
    # One of the three leaves of model y suffers; the change came a minute before.
    assert (change["id"], change["relation"], change["delay_s"]) == ("r1", "contains", 60)
    assert change["share_of_scope"] == pytest.approx(1 / 3)
    assert change["share_of_cause"] == pytest.approx(1)


def test_counts_case(tmp_path, capsys):
    codes = full_cube(5, 4)
    rng = np.random.default_rng(0)
    forecast = rng.uniform(80, 120, 20)
    real = forecast * rng.uniform(0.97, 1.03, 20) * np.where(codes[:, 0] == 3, 0.5, 1)
    rows = [(f"p{a}", f"q{b}", r, f) for (a, b), r, f in zip(codes, real, forecast, strict=True)]
    path = write_csv(tmp_path / "counts.csv", rows, header="p,q,real,predict")
    assert main(["localise", path, *COUNTS, "--json"]) == 0
    _, answer = answer_of(capsys)
    assert answer == [{"p": "p3"}]


def test_a_constant_dimension_beside_varying_ones_changes_nothing(tmp_path, capsys):
    rows = [(m, i, model, "eu", bad, cnt) for m, i, model, bad, cnt in ratio_rows()]
    path = write_csv(tmp_path / "constant.csv", rows, header="min,isp,model,region,bad,cnt")
    assert main(["localise", path, *RATIO, "--json"]) == 0
    assert answer_of(capsys)[1] == [{"isp": "b", "model": "y"}]


@pytest.mark.parametrize("rows", [["a,x,5,9"], ["a,x,5,9", "a,x,7,9"]], ids=["one row", "constant"])
def test_counts_of_one_row_or_one_combination_are_refused(rows, tmp_path, capsys):
    path = tmp_path / "counts.csv"
    path.write_text("\n".join(["p,q,real,predict", *rows]) + "\n")
    assert main(["localise", str(path), *COUNTS, "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    named = ", row 2: expected at least two rows" if len(rows) == 1 else ", columns 'p', 'q': expected a dimension"
    assert printed.err.startswith(f"dipper localise: {path}{named}")


def test_a_parquet_file_of_one_row_is_refused(tmp_path, capsys):
    path = tmp_path / "one.parquet"
    pyarrow.parquet.write_table(pa.table({"min": [AT], "isp": ["a"], "bad": [1], "cnt": [10]}), path)
    assert main(["localise", str(path), *RATIO]) == 2
    assert f"{path}, row 1: expected at least two rows" in capsys.readouterr().err


def test_values_of_mixed_kinds_are_read_as_text(tmp_path, capsys):
    rows = [(m, {"a": "1", "b": "x"}.get(i, ""), model, bad, cnt) for m, i, model, bad, cnt in ratio_rows()]
    path = write_csv(tmp_path / "mixed.csv", rows)
    assert main(["localise", path, *RATIO, "--json"]) == 0
    assert answer_of(capsys)[1] == [{"isp": "x", "model": "y"}]


GOOD = f"{AT},a,x,1,10"
BAD_CASES = {
    "empty file": ("", "empty"),
    "header only": ("min,isp,bad,cnt\n", "at least one row"),
    "missing column": ("min,isp,bad\n1,a,1\n", "no column 'cnt'"),
    "row too long": (f"min,isp,model,bad,cnt\n{GOOD}\n{GOOD},9\n", "row 3: expected 5 columns as in the header, got 6"),
    "row too short": (f"min,isp,model,bad,cnt\n{AT},a\n", "row 2: expected 5 columns as in the header, got 2"),
    "text as count": (f"min,isp,model,bad,cnt\n{GOOD}\n{AT},a,x,many,10\n", "row 3, column 'bad': expected"),
    "blank lines": (f"min,isp,model,bad,cnt\n\n{GOOD}\n\n{AT},a,x,1,?\n", "row 5, column 'cnt': expected"),
    "empty count": (f"min,isp,model,bad,cnt\n{AT},a,x,,10\n", "row 2, column 'bad'"),
    "negative": (f"min,isp,model,bad,cnt\n{GOOD}\n{AT},a,x,-1,10\n", "row 3, column 'bad'"),
    "not a number": (f"min,isp,model,bad,cnt\n{AT},a,x,1,NaN\n", "row 2, column 'cnt'"),
    "infinite": (f"min,isp,model,bad,cnt\n{AT},a,x,1,inf\n", "row 2, column 'cnt'"),
    "fraction": (f"min,isp,model,bad,cnt\n{AT},a,x,1.5,10\n", "row 2, column 'bad': expected a whole number, got 1.5"),
    "bad above total": (f"min,isp,model,bad,cnt\n{AT},a,x,11,10\n", "row 2, column 'bad': expected at most the 10"),
    "other moment": (f"min,isp,model,bad,cnt\n{AT - 60},a,x,1,10\n", f"column 'min': the moment {AT} is not"),
    "one row": (f"min,isp,model,bad,cnt\n{GOOD}\n", "row 2: expected at least two rows to compare, got this one only"),
    "constant dimensions": (
        f"min,isp,model,bad,cnt\n{AT - 60},a,x,1,10\n{GOOD}\n",
        "columns 'isp', 'model': expected a dimension with at least two values, got only 'a', 'x' in every row",
    ),
    "constant dimension": (
        f"min,isp,bad,cnt\n{AT - 60},a,1,10\n{AT},a,1,10\n",
        "column 'isp': expected a dimension with at least two values, got only 'a' in every row",
    ),
    "no dimensions": (f"min,bad,cnt\n{AT},1,10\n", "at least one column of dimension values"),
    "same name twice": (f"min,isp,isp,bad,cnt\n{GOOD}\n", "column 3: the name 'isp' occurs twice"),
    "nameless column": (f"min,isp,,bad,cnt\n{GOOD}\n", "column 3: expected a name"),
    "too many dimensions": (
        ",".join(["min", *"abcdefghijklm", "bad", "cnt"]) + f"\n{AT}" + ",v" * 13 + ",1,2\n",
        "at most 12 dimensions, got 13",
    ),
}


@pytest.mark.parametrize(("text", "sentence"), BAD_CASES.values(), ids=BAD_CASES.keys())
def test_bad_input_is_named_in_a_sentence(text, sentence, tmp_path, capsys):
    path = tmp_path / "broken.csv"
    path.write_text(text)
    assert main(["localise", str(path), *RATIO, "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"dipper localise: {path}")
    assert sentence in printed.err
    assert printed.err.count("\n") == 1


def test_bytes_that_are_no_utf8_are_located(tmp_path, capsys):
    path = tmp_path / "latin.csv"
    path.write_bytes(f"min,isp,model,bad,cnt\n{GOOD}\n{AT},a,".encode() + b"\xff,1,10\n")
    assert main(["localise", str(path), *RATIO]) == 2
    assert "row 3, column 3: expected UTF-8" in capsys.readouterr().err


def test_a_broken_parquet_file_and_no_file_are_named(tmp_path, capsys):
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    assert main(["localise", str(path), *RATIO]) == 2
    assert "not a readable Parquet file" in capsys.readouterr().err
    assert main(["localise", str(tmp_path / "none.csv"), *RATIO]) == 2
    assert "there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--at", "1", "--bad", "b"], [*RATIO, *COUNTS], ["--real", "r"]])
def test_half_a_question_is_refused(case, options, capsys):
    assert main(["localise", case, *options]) == 2
    assert "give either --at, --bad and --total, or --real and --forecast" in capsys.readouterr().err


def test_an_impossible_order_is_refused(case, capsys):
    assert main(["localise", case, *RATIO, "--max-order", "9"]) == 2
    assert "max_order: expected 1 to 5" in capsys.readouterr().err
