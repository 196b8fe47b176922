"""`antivenom sanitize` as its users meet it: real rows with flipped labels in a CSV file, and files of every bad kind."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from antivenom.cli import run
from antivenom.data.reading import delimiter_of, raw_rows, read_cells


def breast_cancer(path: Path, rows: slice = slice(None), flips: int = 0) -> set[int]:
    """Write the rows; the lines whose labels were flipped."""
    bunch = load_breast_cancer()
    x, y = bunch.data[rows], bunch.target[rows].copy()
    flipped = np.random.default_rng(0).choice(len(y), flips, replace=False)
    y[flipped] = 1 - y[flipped]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(["patient", *bunch.feature_names, "diagnosis"])
        for i, (row, label) in enumerate(zip(x, y, strict=True)):
            writer.writerow([f"patient {i}, ward {i % 3}", *map(float, row), bunch.target_names[label]])
    return {int(i) + 2 for i in flipped}


def table(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def test_flipped_labels_of_real_data_become_suspects_with_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data.csv", tmp_path / "out"
    flipped = breast_cancer(data, flips=30)
    before = data.read_bytes()
    assert run(["sanitize", str(data), "--label", "diagnosis", "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert said.err == ""
    assert data.read_bytes() == before
    suspects = table(out / "suspects.csv")
    found = {int(row["line"]) for row in suspects}
    assert len(found & flipped) >= 22
    assert len(found - flipped) <= 5  # the stated rate of false alarms: 1 % of 539 honest rows
    assert [int(row["rank"]) for row in suspects] == list(range(1, len(suspects) + 1))
    scores = [float(row["score"]) for row in suspects]
    assert scores == sorted(scores, reverse=True)
    top = suspects[0]
    other = {"benign": "malignant", "malignant": "benign"}[top["diagnosis"]]
    assert f"labelled '{top['diagnosis']}', but 10 of its 10 nearest rows are '{other}' (lines " in top["reason"]
    assert any("standard deviations" in row["reason"] for row in suspects)
    lines = before.decode().split("\r\n")
    kept = (out / "kept.csv").read_bytes().decode().split("\r\n")
    assert kept[:-1] == [line for i, line in enumerate(lines[:-1], 1) if i not in found]
    assert len(kept) + len(suspects) == len(lines)
    assert "569 rows, 30 columns of numbers, 1 of words, 0 cells missing" in said.out
    last = [line.split() for line in said.out.splitlines() if line.startswith("all ")]
    assert last == [["all", "569", str(len(suspects)), str(569 - len(suspects))]]


def test_trusted_rows_share_and_another_sanitizer(tmp_path: Path, capsys) -> None:
    data, trusted = tmp_path / "data.csv", tmp_path / "trusted.csv"
    flipped = breast_cancer(data, slice(0, 400), flips=40)
    breast_cancer(trusted, slice(400, None))
    arguments = ["sanitize", str(data), "--label", "diagnosis", "--ignore", "patient", "--trusted", str(trusted)]
    arguments += ["--sanitizer", "SlabSanitizer", "--share", "0.1", "--out", str(tmp_path / "out")]
    assert run(arguments) == 1
    found = {int(row["line"]) for row in table(tmp_path / "out" / "suspects.csv")}
    assert len(found & flipped) >= 30
    assert len(found - flipped) <= 80
    capsys.readouterr()
    assert run(arguments) == 4
    assert "which exists: choose another --out or add --force" in capsys.readouterr().err
    assert run([*arguments, "--force"]) == 1


def test_a_harmful_source_is_named_by_its_column(tmp_path: Path) -> None:
    bunch = load_breast_cancer()
    wards = np.random.default_rng(0).integers(0, 5, 569)
    lines = ["ward,a,b,c,y"] + [
        f"ward {w},{row[0]},{row[1]},{row[7]},{1 - label if w == 3 else label}"
        for w, row, label in zip(wards, bunch.data, bunch.target, strict=True)
    ]
    (tmp_path / "data.csv").write_text("\n".join(lines))
    arguments = ["sanitize", str(tmp_path / "data.csv"), "--label", "y", "--groups", "ward"]
    assert run([*arguments, "--sanitizer", "ProvenanceGroups", "--out", str(tmp_path / "out")]) == 3
    assert {row["ward"] for row in table(tmp_path / "out" / "suspects.csv")} == {"ward 3"}
    assert "ward 3" not in (tmp_path / "out" / "kept.csv").read_text()


def mixed(path: Path) -> None:
    """60 apples and pears with words, missing cells, quoted line ends and a byte-order mark; two labels are wrong."""
    rows = ["\ufeffcolour;weight;note;height;kind\n"]
    for i in range(60):
        apple = i % 2 == 0
        colour = ["red", "green"][not apple] if i % 7 else "?"
        weight = "NA" if i == 10 else str((100 if apple else 200) + i % 5)
        note = '"first\nsecond; third"' if i == 4 else ""
        kind = ("apple" if apple else "pear") if i not in (20, 31) else ("pear" if apple else "apple")
        rows.append(f"{colour};{weight};{note};{5 + i % 3};{kind}\n")
    path.write_bytes("".join(rows).encode("utf-8"))


def test_words_numbers_missing_cells_and_line_ends_in_quotes(tmp_path: Path, capsys) -> None:
    data, out = tmp_path / "data.csv", tmp_path / "out"
    mixed(data)
    assert run(["sanitize", str(data), "--label", "kind", "--out", str(out)]) == 1
    printed = capsys.readouterr().out
    assert "60 rows, 2 columns of numbers, 2 of words" in printed
    suspects = table(out / "suspects.csv", ";")
    assert {(row["line"], row["kind"]) for row in suspects} == {
        ("23", "pear"),
        ("34", "apple"),
    }  # a note has a line end
    kept = (out / "kept.csv").read_text(encoding="utf-8")
    assert kept.startswith("\ufeffcolour;")
    assert '"first\nsecond; third"' in kept
    assert kept.count("\n") == 1 + 58 + 1


def test_decimal_commas_other_bytes_and_parquet(tmp_path: Path, capsys) -> None:
    rows = [
        f"{'grün' if i % 2 else 'rot'};{(200 if i % 2 else 100) + i % 5},5;{'birne' if i % 2 else 'apfel'}"
        for i in range(40)
    ]
    rows[8] = rows[8].replace("apfel", "birne")
    (tmp_path / "d.csv").write_bytes("\n".join(["farbe;gewicht;art", *rows]).encode("latin-1"))
    arguments = ["sanitize", str(tmp_path / "d.csv"), "--label", "art", "--decimal", ",", "--encoding", "latin-1"]
    assert run([*arguments, "--out", str(tmp_path / "out")]) == 1
    assert "1 columns of numbers, 1 of words" in capsys.readouterr().out
    assert [row["line"] for row in table(tmp_path / "out" / "suspects.csv", ";")] == ["10"]
    read_cells(tmp_path / "d.csv", encoding="latin-1").to_parquet(tmp_path / "d.parquet")
    arguments = ["sanitize", str(tmp_path / "d.parquet"), "--label", "art", "--decimal", ","]
    assert run([*arguments, "--out", str(tmp_path / "parquet")]) == 1
    assert [row["line"] for row in table(tmp_path / "parquet" / "suspects.csv")] == ["9"]


def test_a_rare_word_is_a_reason(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["a,b,colour,y"] + [f"{a:.3f},{b:.3f},red,{i % 2}" for i, (a, b) in enumerate(rng.random((80, 2)))]
    lines[9] = lines[9].replace("red", "mauve")
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    arguments = ["sanitize", str(tmp_path / "d.csv"), "--label", "y", "--sanitizer", "SphereSanitizer"]
    assert run([*arguments, "--share", "0.5", "--out", str(tmp_path / "out")]) == 3
    reasons = [row["reason"] for row in table(tmp_path / "out" / "suspects.csv")]
    assert any("colour is 'mauve' in 1 of 40 rows of '0'" in reason for reason in reasons)


def test_the_cells_are_read_as_they_stand(tmp_path: Path) -> None:
    mixed(tmp_path / "d.csv")
    path = tmp_path / "d.csv"
    found = read_cells(path)
    assert list(found.columns) == ["colour", "weight", "note", "height", "kind"]
    assert delimiter_of(path) == ";"
    assert found.index[:6].tolist() == [2, 3, 4, 5, 6, 8]
    header, rows = raw_rows(path, found)
    assert header + "".join(rows) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "options", "code", "said"),
    [
        (b"a,y\n1,0\n2,1\n", ["--label", "z"], 4, "the name of a column, got 'z'"),
        (b"a,label\n1,0\n2,1\n", ["--label", "lable"], 4, "did you mean 'label'?"),
        (b"a,y\n1,0\n2,1\n3\n", ["--label", "y"], 2, "2 cells in every row"),
        (b"a,y\n1,0\n2,\n3,1\n", ["--label", "y"], 2, "none in line 3"),
        (b"a,a,y\n1,1,0\n", ["--label", "y"], 2, "'a' twice"),
        (b"a,y\n", ["--label", "y"], 2, "a header and rows"),
        (b"", ["--label", "y"], 2, "a header and rows in"),
        (b"\xff\xfe\x00", ["--label", "y"], 2, "text in utf-8"),
        (b"a\0,y\n", ["--label", "y"], 2, "binary content"),
        (b'a,y\n"1,0\n', ["--label", "y"], 2, "a quote in line 2 that is never closed"),
        (b"a,y\n5,0\n5,1\n5,1\n", ["--label", "y"], 2, "a column that varies"),
        (b"a,y\n1,0.1\n2,0.2\n3,0.3\n4,0.4\n", ["--label", "y"], 2, "name a column of classes"),
        (b"a,y\n1,0\n2,1\n", ["--label", "y", "--share", "0.1"], 4, "a sanitizer with a field `share`"),
        (b"a,y\n1,0\n2,1\n", ["--label", "y", "--sanitizer", "KNNSanitiser"], 4, "did you mean 'KNNSanitizer'?"),
        (b"a,y\n1,0\n2,1\n", ["--label", "y", "--sanitizer", "SphereSanitizer", "--share", "7"], 4, "from 0 to 1"),
        (b"a,y\n1,0\n2,1\n", [], 4, "--label"),
    ],
)
def test_bad_input_is_one_line_and_the_right_code(tmp_path: Path, capsys, content, options, code, said) -> None:
    (tmp_path / "d.csv").write_bytes(content)
    assert run(["sanitize", str(tmp_path / "d.csv"), "--out", str(tmp_path / "out"), *options]) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_files_that_are_not_there_or_not_alike(tmp_path: Path, capsys) -> None:
    breast_cancer(tmp_path / "d.csv", slice(0, 60))
    arguments = ["sanitize", str(tmp_path / "d.csv"), "--label", "diagnosis", "--out", str(tmp_path / "out")]
    arguments += ["--sanitizer", "KNNSanitizer"]
    assert run([*arguments, "--trusted", str(tmp_path / "absent.csv")]) == 2
    assert "No such file" in capsys.readouterr().err
    (tmp_path / "t.csv").write_text("a,diagnosis\n1,benign\n")
    assert run([*arguments, "--trusted", str(tmp_path / "t.csv")]) == 2
    assert "trusted rows with the same columns" in capsys.readouterr().err
    trusted = (tmp_path / "d.csv").read_text().replace("malignant", "unclear")
    (tmp_path / "t.csv").write_text(trusted)
    assert run([*arguments, "--trusted", str(tmp_path / "t.csv")]) == 2
    assert "trusted labels that the table has, got 'unclear'" in capsys.readouterr().err
    (tmp_path / "kept.csv").write_bytes((tmp_path / "d.csv").read_bytes())
    assert run(["sanitize", str(tmp_path / "kept.csv"), "--label", "diagnosis", "--out", str(tmp_path), "--force"]) == 4
    assert "an input" in capsys.readouterr().err


def test_trusted_rows_that_are_also_in_the_table_are_judged_like_any_other(tmp_path: Path) -> None:
    breast_cancer(tmp_path / "d.csv", slice(0, 200))
    breast_cancer(tmp_path / "t.csv", slice(0, 100))
    arguments = ["sanitize", str(tmp_path / "d.csv"), "--label", "diagnosis", "--trusted", str(tmp_path / "t.csv")]
    arguments += ["--sanitizer", "KNNSanitizer"]
    assert run([*arguments, "--out", str(tmp_path / "out")]) == 1
    assert len(table(tmp_path / "out" / "suspects.csv")) < 20
