"""Rows from files: what is read, what is inferred, and what broken files say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from antivenom.core.errors import DataError, NotApplicable
from antivenom.core.registry import build, describe
from antivenom.core.streams import Streams
from antivenom.data import ColumnKind, ImageFolder, NpzFile, TableFile, TextFile, fingerprint, source_of
from antivenom.scenarios.central import Central

SAMPLES = Path(__file__).parent / "samples"
PEOPLE = TableFile(SAMPLES / "people.csv", "premium", ignore=("id",), decimal=",", encoding="latin-1")
PICTURES = ImageFolder(SAMPLES / "pictures", size=(4, 5), channels=3)
MAILS = TextFile(SAMPLES / "mails.jsonl")
ARRAYS = NpzFile(SAMPLES / "arrays.npz")


def written(folder: Path, text: str, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def whole(source: object) -> pd.DataFrame:
    split = source(Streams(0))  # type: ignore[operator]
    return pd.concat([split.train.x, split.test.x])


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_semicolon_table_with_decimal_commas_quotes_and_umlauts() -> None:
    split = PEOPLE(Streams(0))
    assert (len(split.train), len(split.test)) == (42, 18)
    kinds = {column.name: column.kind for column in split.train.columns.columns}
    assert kinds == {
        "age": ColumnKind.WHOLE,
        "income": ColumnKind.REAL,
        "job": ColumnKind.CATEGORY,
        "town": ColumnKind.CATEGORY,
    }
    rows = whole(PEOPLE)
    assert set(rows["town"]) == {"Köln; Süd", "Bonn"}
    assert rows["income"].isna().sum() == 2
    assert split.train.classes == ("no", "yes")
    columns = {column.name: column for column in split.train.columns.columns}
    assert columns["job"].categories == ("clerk", "driver", "nurse")
    assert (columns["income"].missing, columns["age"].missing) == (True, False)
    assert columns["income"].low == rows["income"].min()


def test_a_source_survives_its_record_and_its_fingerprint_follows_the_file(tmp_path: Path) -> None:
    for source in (PEOPLE, PICTURES, MAILS, ARRAYS):
        assert build(json.loads(json.dumps(describe(source)))) == source
        assert source_of(source) is source
    copy = TableFile(shutil.copy(SAMPLES / "people.csv", tmp_path), "premium", encoding="latin-1")
    before = fingerprint(copy)
    assert before == fingerprint(PEOPLE)
    with Path(copy.path).open("a") as file:
        file.write("99;30;1000,5;nurse;Bonn;no\n")
    assert fingerprint(copy) != before
    assert len(copy(Streams(0)).train) + len(copy(Streams(0)).test) == 61


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "csv.xz", "parquet"])
def test_every_kind_of_table_file_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame({"n": [1, 2, 3, 4], "w": ["a", "b, c", "a", "d"], "y": ["no", "yes", "no", "yes"]})
    path = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    data = TableFile(path, "y", test_share=0.5)(Streams(0))
    rows = pd.concat([data.train.x, data.test.x]).sort_values("n")
    assert rows["n"].tolist() == [1, 2, 3, 4]
    assert rows["w"].tolist() == ["a", "b, c", "a", "d"]


def test_words_groups_closed_columns_and_dropped_rows(tmp_path: Path) -> None:
    text = "zip,day,x,y\n10115,mon,1,a\n80331,tue,,b\n10115,mon,3,a\n80331,wed,4,b\n10115,mon,5,a\n80331,wed,6,b\n"
    source = TableFile(written(tmp_path, text), "y", group="day", words=("zip",), closed=("zip",), missing="drop")
    split = source(Streams(0))
    column = split.train.columns.columns[0]
    assert (column.kind, column.categories, column.editable) == (ColumnKind.CATEGORY, ("10115", "80331"), False)
    assert [c.name for c in split.train.columns.columns] == ["zip", "x"]
    assert len(split.train) + len(split.test) == 5
    groups = np.concatenate([split.train.groups, split.test.groups])
    assert sorted(groups.tolist()) == [0, 0, 0, 2, 2]  # mon, wed; tue was dropped


def test_a_test_file_is_read_by_the_schema_of_the_training_file(tmp_path: Path) -> None:
    train = written(tmp_path, "w,x,y\na,1,2\nb,2,10\na,3,2\nb,4,10\n", "train.csv")
    test = written(tmp_path, "y,x,w\n10,9,b\n", "test.csv")
    split = TableFile(train, "y", test=test)(Streams(0))
    assert split.train.classes == ("2", "10")  # numbers in their order
    assert split.test.x.to_dict("list") == {"w": ["b"], "x": [9]}
    assert split.test.y.tolist() == [1]
    unseen = written(tmp_path, "w,x,y\nc,1,2\n", "unseen.csv")
    with pytest.raises(
        DataError, match=r"2 categories of column w in the training rows, got 'c' in line 2 of .*unseen"
    ):
        TableFile(train, "y", test=unseen)(Streams(0))


def test_a_regression(tmp_path: Path) -> None:
    path = written(tmp_path, "x,y\n1,2.5\n2,3.5\n3,4.5\n4,1\n")
    split = TableFile(path, "y", regression=True)(Streams(0))
    assert split.train.is_regression
    assert sorted([*split.train.y, *split.test.y]) == [1, 2.5, 3.5, 4.5]


@pytest.mark.parametrize(
    ("text", "fields", "says"),
    [
        ("x,y\n1,a\n2\n", {}, "2 cells in every row of .*, got fewer in line 3: mend that line, or set the delimiter"),
        ("x,y\n1,a\n2,b,c\n", {}, "a table in .*Expected 2 fields in line 3, saw 3"),
        ('x,y\n1,a\n"2,b\n', {}, "a table in .*a quote in line 3 that is never closed"),
        ("x,x,y\n1,2,a\n", {}, "different names of columns .*'x' twice"),
        ("x,y\n", {}, "a header and rows"),
        ("", {}, "a header and rows in .*an empty file"),
        ("x,y\n1,a\n\n\n2\n", {}, "fewer in line 5"),
        ('x,y\n1,a\n"1\n2",b\n3\n', {}, "fewer in line 5"),
        ("x\0,y\n1,a\n", {}, "binary content"),
        ("x,y\n1,a\n2,\n", {}, "a label in every row of column y .*none in line 3"),
        ("x,y\n1,a\n2,b\n3,c\n4,d\n5,e\n6,f\n", {}, "classes in column y .*6 values in 6 rows: .*`regression`"),
        ("x,y\n1,a\n2,b\n", {"label": "Y"}, "name of a column of .*'Y': did you mean 'y'"),
        ("x,y\n1,a\n2,b\n", {"ignore": ("x",)}, "columns besides the label"),
        ("x,y\n1,a\n2,b\n", {"regression": True}, "numbers to predict in column y"),
        ("x,y\n1,a\n2,b\n", {"encoding": "utf8000"}, "text in utf8000"),
    ],
)
def test_broken_tables_are_told_so_in_one_line(tmp_path: Path, text: str, fields: dict, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(DataError, match=says) as caught:
        TableFile(**({"path": path, "label": "y"} | fields))(Streams(0))
    assert "\n" not in str(caught.value)


def test_other_bytes_and_absent_files_are_told_so(tmp_path: Path) -> None:
    path = written(tmp_path, "x,y\né,a\nü,b\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"text in utf-8 in .*: set the encoding, for instance --encoding latin-1"):
        TableFile(path, "y")(Streams(0))
    with pytest.raises(DataError, match=r"a readable file .*absent.csv, got No such file"):
        TableFile(tmp_path / "absent.csv", "y")(Streams(0))
    with pytest.raises(DataError, match=r"a source for a file, got 'rows.csv': write TableFile\(path, label\)"):
        source_of("rows.csv")


# --- images ----------------------------------------------------------------------------------------------------------


def test_a_folder_of_images_per_class() -> None:
    split = PICTURES(Streams(0))
    assert split.train.classes == ("cat", "dog")
    assert split.train.shape == (3, 4, 5)
    assert (len(split.train), len(split.test)) == (8, 4)
    assert split.train.columns.allows(split.train.x).all()
    cats = split.train.x[split.train.y == 0]
    assert cats[:, 1].mean() == pytest.approx(40 / 255, abs=1e-6)  # only the red channel has a line of 255
    grey = ImageFolder(SAMPLES / "pictures", size=(6, 5), channels=1)(Streams(0))
    assert grey.train.shape == (1, 6, 5)


def test_one_broken_image_is_named(tmp_path: Path) -> None:
    folder = shutil.copytree(SAMPLES / "pictures", tmp_path / "pictures")
    (folder / "dog" / "notes.txt").write_text("passed over")
    assert len(ImageFolder(folder, size=(4, 4))(Streams(0)).train) == 8
    (folder / "dog" / "7.png").write_bytes((folder / "dog" / "0.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"an image in .*dog/7\.png, got .*: mend or remove it") as caught:
        ImageFolder(folder, size=(4, 4))(Streams(0))
    assert "\n" not in str(caught.value)


def test_folders_without_images_and_odd_sizes_are_told_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one folder of images per class in .*no images"):
        ImageFolder(tmp_path, size=(4, 4))(Streams(0))
    with pytest.raises(DataError, match=r"no such folder"):
        ImageFolder(tmp_path / "absent", size=(4, 4))(Streams(0))
    with pytest.raises(DataError, match=r"channels: 1 or 3"):
        ImageFolder(tmp_path, size=(4, 4), channels=2)


# --- text ------------------------------------------------------------------------------------------------------------


def test_counts_and_tokens_of_the_same_text_use_the_same_words() -> None:
    counts = MAILS(Streams(0)).train
    tokens = TextFile(SAMPLES / "mails.jsonl", form="tokens", length=5)(Streams(0)).train
    words = counts.columns.vocabulary
    assert tokens.columns.vocabulary == ("<pad>", "<unknown>", *words)
    assert (tokens.x.dtype, tokens.shape) == (np.int64, (5,))
    for row in range(len(counts)):
        from_tokens = np.bincount(tokens.x[row], minlength=len(words) + 2)[2:]
        assert np.array_equal(from_tokens, counts.x[[row]].toarray()[0])
    assert counts.columns.allows(counts.x).all()
    raw = TextFile(SAMPLES / "mails.jsonl", form="raw")(Streams(0)).train
    assert raw.x["text"][0].split() == [tokens.columns.vocabulary[i] for i in tokens.x[0] if i]
    with pytest.raises(NotApplicable, match=r"free text in column text"):
        _ = raw.flat


def test_rare_words_are_unknown() -> None:
    few = TextFile(SAMPLES / "mails.jsonl", form="tokens", most_words=2, length=3)(Streams(0)).train
    assert len(few.columns.vocabulary) == 4
    assert (few.x == 1).any()


def test_text_in_tables_and_folders(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (SAMPLES / "mails.jsonl").read_text().splitlines()]
    pd.DataFrame(rows).to_csv(tmp_path / "mails.csv", index=False)
    for number, row in enumerate(rows):
        (tmp_path / "mails" / row["label"]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "mails" / row["label"] / f"{number}.txt").write_text(row["text"])
    sums = {MAILS(Streams(0)).train.x.sum() + MAILS(Streams(0)).test.x.sum()}
    for path in (tmp_path / "mails.csv", tmp_path / "mails"):
        split = TextFile(path)(Streams(0))
        assert split.train.classes == ("ham", "spam")
        sums.add(split.train.x.sum() + split.test.x.sum())
    assert len(sums) == 1


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("t.jsonl", '{"text": "a b"\n', "one JSON object with 'text' and 'label' .*JSONDecodeError"),
        ("t.jsonl", '{"text": "a b"}\n', "keys 'text' and 'label' in line 1"),
        ("t.csv", "text,kind\na,b\n", "a column 'label' in .*got text, kind: name the columns of text and class"),
        ("t.jsonl", '{"text": ".", "label": "a"}\n{"text": "!", "label": "b"}\n', "texts with words"),
    ],
)
def test_broken_text_is_told_so_in_one_line(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        TextFile(written(tmp_path, text, name))(Streams(0))
    assert "\n" not in str(caught.value)


# --- arrays ----------------------------------------------------------------------------------------------------------


def test_arrays(tmp_path: Path) -> None:
    split = ARRAYS(Streams(0))
    assert (len(split.train), len(split.test)) == (14, 6)
    np.savez(tmp_path / "parts.npz", a=np.zeros((3, 2)), b=[0, 1, 1], c=np.ones((1, 2)), d=[1])
    parts = NpzFile(tmp_path / "parts.npz", "a", "b", "c", "d")(Streams(0))
    assert parts.test.x.tolist() == [[1, 1]]
    np.savez(tmp_path / "objects.npz", x=np.array([{}, {}], dtype=object), y=[0, 1])
    with pytest.raises(DataError, match=r"plain arrays at .*Python objects, which are not loaded"):
        NpzFile(tmp_path / "objects.npz")(Streams(0))
    with pytest.raises(DataError, match=r"an array 'rows' in .*, got x, y"):
        NpzFile(SAMPLES / "arrays.npz", "rows")(Streams(0))


# --- in scenarios ----------------------------------------------------------------------------------------------------


def test_scenarios_take_files_by_mapping() -> None:
    spec = {"name": "NpzFile", "path": str(SAMPLES / "arrays.npz")}
    scenario = Central(data=spec, goal="availability", clean_rows=2)
    assert scenario.data == ARRAYS
    assert describe(scenario)["data"]["name"] == "NpzFile"
    assert scenario.run(None, None, 0).metrics["test_rows"] == 6


def test_a_line_ends_with_a_line_feed_alone(tmp_path: Path) -> None:
    texts = ["a\u2028b", "c\x85d", "e\x0cf", "g h"]  # other characters that `str.splitlines` takes for ends of lines
    lines = [json.dumps({"text": text, "label": "ab"[i % 2]}, ensure_ascii=False) for i, text in enumerate(texts)]
    (tmp_path / "t.jsonl").write_bytes("\r\n".join(lines).encode())
    assert TextFile(tmp_path / "t.jsonl", form="raw").unsplit().x["text"].tolist() == texts
    cells = "text\tn\tlabel\n" + "".join(
        f'{text} "{i}" x\t{i}\t{"ab"[i % 2]}\n"q\t1\ta\n' for i, text in enumerate(texts)
    )
    (tmp_path / "t.tsv").write_bytes(cells.encode())
    found = TableFile(str(tmp_path / "t.tsv"), "label").unsplit().x["text"].tolist()
    assert found[::2] == [f'{text} "{i}" x' for i, text in enumerate(texts)]
    assert found[1::2] == ['"q'] * 4
