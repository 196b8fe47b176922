"""Rows from text: raw, as counts of words, or as sequences of word numbers."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

from antivenom.core.errors import DataError
from antivenom.core.registry import source
from antivenom.core.streams import Streams
from antivenom.data import limits
from antivenom.data.dataset import Dataset, Split
from antivenom.data.files import read_bytes
from antivenom.data.fingerprints import of_files
from antivenom.data.schema import Column, ColumnKind, Schema
from antivenom.data.splitting import split_by_seed
from antivenom.data.text import RESERVED, token_rows

FORMS = ("raw", "counts", "tokens")
_OPTIONS = "fields `text` and `label` of TextFile, or --column and --label"


@source(cite="the user's own text, split into words by scikit-learn")
class TextFile:
    """Texts with labels: lines of JSON, a column of a table file, or a folder with one folder of .txt files per class.

    The vocabulary of counts and tokens is the same: the most frequent words of all texts, test rows included. Texts are
    divided into words as scikit-learn's CountVectorizer does it. Classes are the labels in sorted order.

    Fields:
        path: a .jsonl file (also .jsonl.gz and .jsonl.xz), a .csv, .tsv or .parquet file, or a folder.
        form: "raw" makes a DataFrame with the column `text`, of which an estimator gets the texts as strings, as scikit-learn's
            vectorizers take them; "counts" makes a sparse
            table of word counts; "tokens" makes rows of token numbers, 0 for padding and 1 for words outside the vocabulary.
        text: key or column of the text.
        label: key or column of the label.
        most_words: size of the vocabulary.
        length: number of tokens per row; longer texts are cut.
        test_share: share of the texts that become test rows, above 0 and below 1.
        encoding: encoding of table files and .txt files.
    """

    path: str
    form: str = "counts"
    text: str = "text"
    label: str = "label"
    most_words: int = 20_000
    length: int = 256
    test_share: float = 0.3
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", str(self.path))
        if self.form not in FORMS:
            raise DataError(f"form: {', '.join(FORMS)}", repr(self.form))
        if self.most_words < 1 or self.length < 1 or not 0 < self.test_share < 1:
            got = f"{self.most_words}, {self.length} and {self.test_share}"
            raise DataError("most_words and length >= 1, test_share above 0 and below 1", got)

    def __call__(self, streams: Streams) -> Split:
        return split_by_seed(_dataset(self, self.fingerprint()), streams, self.test_share)

    def unsplit(self) -> Dataset:
        """The texts in the order of the file, or sorted by class and file name for a folder."""
        return _dataset(self, self.fingerprint())

    def fingerprint(self) -> str:
        """The SHA-256 of the file, or of all files of the folder and of their paths in it."""
        path = Path(self.path)
        files = _folder(path) if path.is_dir() else [path]
        return of_files(files, [str(file.relative_to(path)) for file in files] if path.is_dir() else None)


@functools.lru_cache(maxsize=2)  # every trial calls it; the second argument, the fingerprint, changes with the files
def _dataset(file: TextFile, _: str) -> Dataset:
    texts, labels = _read(file)
    classes = tuple(sorted({*labels}))
    if len(classes) > max(2, len(labels) // 2):
        got = f"{len(classes)} values in {len(labels)} texts"
        raise DataError(f"classes as {file.label!r} of {file.path}", got, "name the key or column of the classes")
    x, schema = _rows(file, texts)
    return Dataset(x, np.array(labels), classes, Path(file.path).name.partition(".")[0], schema=schema)


def _rows(file: TextFile, texts: list[str]) -> tuple[object, Schema]:
    if file.form == "raw":
        import pandas as pd

        return pd.DataFrame({"text": texts}), Schema((Column("text", ColumnKind.TEXT),), "text", frame=True)
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(max_features=file.most_words, dtype=np.float32)
    try:
        counts = counter.fit_transform(texts)
    except ValueError as error:
        raise DataError(f"texts with words in {file.path}", str(error), "check `text`, the key or column") from error
    words = counter.get_feature_names_out().tolist()
    if file.form == "counts":
        return counts, Schema.words(words)
    place = {word: number for number, word in enumerate(words, start=len(RESERVED))}
    analyse = counter.build_analyzer()
    rows = token_rows((analyse(text) for text in texts), place, file.length)
    return rows, Schema.tokens([*RESERVED, *words], file.length)


def _read(file: TextFile) -> tuple[list[str], list[str]]:
    """The texts and their labels, in the same order."""
    path = Path(file.path)
    if path.is_dir():
        files = _folder(path)
        return [_decoded(each, file.encoding) for each in files], [each.relative_to(path).parts[0] for each in files]
    if ".jsonl" in path.suffixes:
        return _lines(file, path)
    if path.suffix == ".json":
        raise DataError(f"texts in {path}", "one document of JSON", "write one object on each line of a .jsonl file")
    from antivenom.data.reading import read_cells

    cells = read_cells(path, encoding=file.encoding)
    for name in (file.text, file.label):
        if name not in cells.columns:
            raise DataError(
                f"a column {name!r} in {path}",
                ", ".join(map(str, cells.columns)),
                f"name the columns of text and class ({_OPTIONS})",
            )
    return cells[file.text].astype(str).tolist(), cells[file.label].astype(str).str.strip().tolist()


def _folder(path: Path) -> list[Path]:
    found = sorted(file for file in path.glob("*/**/*.txt") if file.is_file())
    if not found:
        raise DataError(f"one folder of .txt files per class in {path}", "none", "put each class in its own folder")
    return found


def _decoded(path: Path, encoding: str) -> str:
    try:
        return read_bytes(path).decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise DataError(f"text in {encoding} in {path}", str(error), "set `encoding`, for instance latin-1") from error


def _lines(file: TextFile, path: Path) -> tuple[list[str], list[str]]:
    content = read_bytes(path)
    texts, labels, number = [], [], 0
    try:
        content = limits.unpacked(content, path.suffix if path.suffix == ".xz" else "")
        for number, line in enumerate(content.split(b"\n"), start=1):  # noqa: B007 - the error names the line
            if line.strip():
                row = json.loads(line.decode("utf-8-sig"))
                texts.append(str(row[file.text]))
                labels.append(str(row[file.label]))
    except KeyError as error:
        raise DataError(
            f"keys {file.text!r} and {file.label!r} in line {number} of {path}",
            ", ".join(map(repr, row)) or "no keys",
            f"name the keys ({_OPTIONS})",
        ) from error
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise DataError(
            f"one JSON object with {file.text!r} and {file.label!r} on each line of {path}",
            f"{type(error).__name__} in line {number}: {error}",
            "mend that line",
        ) from error
    return texts, labels
