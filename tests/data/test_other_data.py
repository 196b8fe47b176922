"""Files as people have them: semicolons, decimal commas, other encodings, keys of other names. Each is read, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from antivenom.cli import run
from antivenom.cli.rows import RowOptions, source_from
from antivenom.core.errors import AntivenomError
from antivenom.core.streams import Streams
from antivenom.data import NpzFile, TableFile
from antivenom.data.reading import decimal_of
from antivenom.pipelines.looking import look

N = 40
LINES = [f"{i};{i % 7},{i % 9};{'grün' if i % 2 else 'rot'};{i % 2}" for i in range(N)]


def written(path: Path, lines: list[str], encoding: str = "utf-8") -> str:
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return str(path)


@pytest.mark.parametrize(
    ("cells", "sign"),
    [
        (["1,5", "2", "-0,25", ""], ","),
        (["1.234,5", "12,75"], ","),
        (["1.5", "2"], "."),
        (["1,5", "1.5"], "."),
        (["1,500", "20,000"], "."),
        (["1,5", "red"], "."),
        (["red", "a,b"], "."),
        (["1", "2"], "."),
    ],
    ids=["commas", "points for thousands", "points", "both", "thousands", "a word", "words", "whole numbers"],
)
def test_the_decimal_sign_is_found_in_the_cells(cells: list[str], sign: str) -> None:
    assert decimal_of(pd.Series(cells)) == sign


def test_semicolons_and_decimal_commas_need_no_option(tmp_path: Path) -> None:
    rows = TableFile(written(tmp_path / "t.csv", ["nr;pay;farbe;y", *LINES]), "y")
    frame = rows.unsplit().x
    assert [frame[name].dtype.kind for name in frame] == ["i", "f", "O"]
    assert frame["pay"].tolist()[:3] == [0.0, 1.1, 2.2]
    found = look(rows)
    assert found.numbering == ("nr",)
    assert "Numbers of rows in nr, from which no model should learn: --ignore nr." in found.remarks


def test_an_encoding_is_named_by_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "t.csv", ["nr;pay;farbe;y", *LINES], "latin-1")
    assert run(["audit", "--data", path, "--label", "y", "--dry-run"]) == 2
    assert "--encoding latin-1" in capsys.readouterr().err
    asked = ["audit", "--data", path, "--label", "y", "--ignore", "nr,pay", "--encoding", "latin-1", "--dry-run"]
    assert run(asked) == 0
    assert "table of 1 column, 2 classes" in capsys.readouterr().out


def test_numbers_to_predict_are_no_classes(tmp_path: Path) -> None:
    numbers = [f"{i},{i % 60 * 1.5}" for i in range(200)]
    with pytest.raises(AntivenomError, match="got 60 numbers in 200 rows: name a column of classes"):
        TableFile(written(tmp_path / "a.csv", ["x,y", *numbers]), "y").unsplit()
    words = [f"{i},class {i % 60}" for i in range(200)]
    assert len(TableFile(written(tmp_path / "b.csv", ["x,y", *words]), "y").unsplit().classes) == 60
    digits = [f"{i},{i % 60}" for i in range(600)]  # ten rows for each number
    assert len(TableFile(written(tmp_path / "c.csv", ["x,y", *digits]), "y").unsplit().classes) == 60


def archive(folder: Path, **arrays: object) -> str:
    np.savez(folder / "a.npz", **{name: np.asarray(array) for name, array in arrays.items()})
    return str(folder / "a.npz")


ROWS, LABELS = np.arange(2.0 * N).reshape(N, 2), np.arange(N) % 2


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("x", "y"), ("x", "y", "", "")),
        (("X", "y"), ("X", "y", "", "")),
        (("data", "target"), ("data", "target", "", "")),
        (("x_train", "y_train"), ("x_train", "y_train", "", "")),
        (("x_train", "y_train", "x_test", "y_test"), ("x_train", "y_train", "x_test", "y_test")),
        (("train_images", "train_labels", "test_images", "test_labels"),) * 2,
    ],
    ids=lambda names: " ".join(names),
)
def test_the_usual_names_of_arrays_are_found(tmp_path: Path, names: tuple[str, ...], found: tuple[str, ...]) -> None:
    path = archive(tmp_path, **{name: (ROWS, LABELS)[i % 2] for i, name in enumerate(names)})
    assert source_from(RowOptions(npz=path)) == NpzFile(path, *found)


def test_other_names_of_arrays_are_named_by_options(tmp_path: Path) -> None:
    path = archive(tmp_path, pixels=ROWS, kind=LABELS)
    with pytest.raises(AntivenomError, match="got pixels, kind: --column ROWS --label LABELS"):
        source_from(RowOptions(npz=path))
    assert source_from(RowOptions(npz=path, column="pixels", label="kind")) == NpzFile(path, "pixels", "kind")


def test_grey_images_need_no_channel(tmp_path: Path) -> None:
    path = archive(tmp_path, x=np.full((N, 8, 6), 255, dtype=np.uint8), y=LABELS)
    assert look(NpzFile(path)).form == "images"
    assert NpzFile(path)(Streams(0)).train.shape == (1, 8, 6)
    assert NpzFile(archive(tmp_path, x=np.zeros((N, 5, 3)), y=LABELS)).unsplit().shape == (5, 3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("t.jsonl", "give it as --text"),
        ("t.npz", "give it as --npz"),
        ("photos", "give it as --images"),
        ("mails", "give it as --text"),
        ("nothing", "a table file, or a folder that `datasets` has saved"),
    ],
)
def test_other_files_than_tables_are_told_their_option(tmp_path: Path, name: str, said: str) -> None:
    for file in ("t.jsonl", "t.npz", "photos/a/1.png", "mails/a/1.txt", "nothing/b"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    with pytest.raises(AntivenomError, match=said):
        source_from(RowOptions(data=str(tmp_path / name), label="y"))


def test_texts_with_other_keys_are_told_which_they_have(tmp_path: Path) -> None:
    path = written(tmp_path / "t.jsonl", [json.dumps({"body": "a b", "stars": i % 2}) for i in range(N)])
    with pytest.raises(AntivenomError, match=r"keys 'text' and 'label' in line 1 of .*, got 'body', 'stars': name"):
        source_from(RowOptions(text=path)).unsplit()
    assert len(source_from(RowOptions(text=path, column="body", label="stars")).unsplit()) == N
    whole = written(tmp_path / "t.json", [json.dumps([{"text": "a", "label": "b"}])])
    with pytest.raises(AntivenomError, match="one document of JSON: write one object on each line"):
        source_from(RowOptions(text=whole)).unsplit()
