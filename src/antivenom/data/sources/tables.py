"""Rows from table files."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from antivenom.core.errors import DataError, did_you_mean
from antivenom.core.registry import source
from antivenom.core.streams import Streams
from antivenom.data.dataset import Dataset, Split
from antivenom.data.fingerprints import of_files
from antivenom.data.schema import ColumnKind, Schema
from antivenom.data.splitting import split_by_seed

_MOST_NUMBERS, _ROWS_EACH = 20, 10  # more numbers, with fewer rows for each, are no classes


@source(cite="the user's own file, read by pandas")
class TableFile:
    """A CSV, TSV or Parquet file with a column of labels. The other columns become a DataFrame of numbers and words.

    A column holds numbers if all its cells that are not missing are numbers. Empty cells, NA, NaN, null, none, ? and
    infinities are missing. Classes are the labels in sorted order.

    Fields:
        path: the file, whose suffix tells the format. Parquet needs the extra `parquet`.
        label: the name of the column with the labels.
        test: a second file with the test rows; "" splits the rows of `path`.
        test_share: share of the rows that become test rows, above 0 and below 1, if there is no second file.
        ignore: columns to leave out, such as a customer's number.
        group: the column that names the source (person, sensor, day) of each row; "" if there is none. It is no feature.
        words: columns that hold words although they look like numbers, such as postal codes.
        closed: columns that an attacker cannot change.
        missing: "keep" missing numbers, or "drop" the rows that have any.
        regression: whether the label is a number to predict instead of a class.
        delimiter: the character between cells; "" finds it in the first line.
        decimal: the decimal sign, "." or ","; "" finds it in the cells.
        encoding: the text encoding, such as utf-8, latin-1 or cp1252.
    """

    path: str
    label: str
    test: str = ""
    test_share: float = 0.3
    ignore: tuple[str, ...] = ()
    group: str = ""
    words: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    missing: str = "keep"
    regression: bool = False
    delimiter: str = ""
    decimal: str = ""
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", str(self.path))
        object.__setattr__(self, "test", str(self.test))
        for name in ("ignore", "words", "closed"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.missing not in ("keep", "drop") or self.decimal not in ("", ".", ","):
            raise DataError('missing: keep or drop, decimal: "", "." or ","', f"{self.missing!r} and {self.decimal!r}")
        if not 0 < self.test_share < 1:
            raise DataError("test_share above 0 and below 1", f"{self.test_share}")

    def __call__(self, streams: Streams) -> Split:
        train, test = _parts(self, self.fingerprint())
        return split_by_seed(train, streams, self.test_share) if test is None else Split(train, test)

    def unsplit(self) -> Dataset:
        """The rows of `path` in the order of the file."""
        return _parts(self, self.fingerprint())[0]

    def fingerprint(self) -> str:
        """The SHA-256 of the file, or of both files."""
        return of_files([Path(path) for path in (self.path, self.test) if path])


@functools.lru_cache(maxsize=2)  # every trial calls it; the second argument, the fingerprint, changes with the files
def _parts(table: TableFile, _: str) -> tuple[Dataset, Dataset | None]:
    train = _dataset(table, table.path, None)
    return train, _dataset(table, table.test, train) if table.test else None


def _dataset(table: TableFile, path: str, train: Dataset | None) -> Dataset:
    """The rows of one file. The rows of a test file get the schema and the classes of the training rows, `train`."""
    from antivenom.data.reading import is_missing, read_cells, typed

    cells = read_cells(Path(path), table.delimiter, table.encoding)
    names = [str(name) for name in cells.columns]
    cells = cells.set_axis(names, axis=1)
    wanted = (table.label, *([table.group] if table.group else []), *table.ignore, *table.words, *table.closed)
    for name in wanted:
        if name not in names:
            raise DataError(f"the name of a column of {path}", repr(name), did_you_mean(name, names))
    labels = cells[table.label]
    empty = labels.index[is_missing(labels)]
    if len(empty):
        raise DataError(
            f"a label in every row of column {table.label} of {path}",
            f"none in line {empty[0]}",
            "label or remove those rows",
        )
    rows = cells.drop(columns=[*{table.label, *table.ignore, *([table.group] if table.group else [])}])
    if train is not None and train.schema is not None:
        expected = [column.name for column in train.schema.columns]
        absent = next((name for name in expected if name not in rows.columns), None)
        if absent is not None:
            raise DataError(f"the training file's columns in {path}", f"no column {absent!r}", "give both the same")
        rows = rows[expected]
    rows = typed(rows, table.decimal, table.words)
    if not len(rows.columns):
        raise DataError(f"columns besides the label in {path}", "none", "name fewer in `ignore`")
    groups = None if not table.group else np.unique(cells[table.group].astype(str).str.strip(), return_inverse=True)[1]
    if table.missing == "drop":
        kept = np.flatnonzero(~(rows.isna() | (rows == "")).any(axis=1))
        rows, labels = rows.iloc[kept], labels.iloc[kept]
        groups = None if groups is None else groups[kept]
    schema = _closed(Schema.of(rows), table.closed) if train is None else train.schema
    y, classes = _labelled(table, path, labels, train)
    if train is not None:
        _known_categories(schema, rows, path)
    return Dataset(_in_types_of(schema, rows, path), y, classes, Path(path).stem, groups, schema)


def _closed(schema: Schema, names: tuple[str, ...]) -> Schema:
    """The schema with these columns marked as not editable."""
    columns = [dataclasses.replace(column, editable=column.name not in names) for column in schema.columns]
    return dataclasses.replace(schema, columns=tuple(columns))


def _labelled(table: TableFile, path: str, labels: Any, train: Dataset | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels and class names; for a test file, the class names of the training rows."""
    words = labels.astype(str).str.strip().to_numpy()
    if table.regression:
        from antivenom.data.reading import typed

        numbers = typed(labels.to_frame(), table.decimal).iloc[:, 0]
        if numbers.dtype.kind not in "iufb":
            raise DataError(f"numbers to predict in column {table.label} of {path}", "words", "drop `regression`")
        return numbers.to_numpy(dtype=np.float64), ()
    found = tuple(sorted({*words.tolist()}, key=_by_number_or_word))
    many = len(found) > max(2, len(words) // 2)
    if train is None and (many or _are_measurements(found, len(words))):
        raise DataError(
            f"classes in column {table.label} of {path}",
            f"{len(found)} {'values' if many else 'numbers'} in {len(words)} rows",
            "name a column of classes; numbers to predict need `regression` in a scenario file of RegressionPoisoning",
        )
    return words, found if train is None else train.classes


def _are_measurements(found: tuple[str, ...], rows: int) -> bool:
    """Whether values look like a number to predict: many numbers, each of which only a few rows have."""
    return len(found) > _MOST_NUMBERS and rows < _ROWS_EACH * len(found) and all(map(_is_number, found))


def _is_number(word: str) -> bool:
    return _by_number_or_word(word)[0] != np.inf


def _by_number_or_word(word: str) -> tuple[float, str]:
    """A sort key that puts 2 before 10, and numbers before words."""
    try:
        return float(word), word
    except ValueError:
        return np.inf, word


def _in_types_of(schema: Schema | None, rows: Any, path: str) -> Any:
    """The rows of a file with the types of the schema, in case a column of words holds only digits in a test file."""
    for column in schema.columns if schema is not None else ():
        values = rows[column.name]
        worded = column.kind in (ColumnKind.CATEGORY, ColumnKind.TEXT)
        if worded and values.dtype.kind in "iufb":
            rows[column.name] = values.astype(str).astype(object)
        elif not worded and values.dtype.kind not in "iufb":
            word = next(word for word in values if word)
            raise DataError(f"numbers in column {column.name} of {path}, as in training", repr(word), "mend that cell")
    return rows


def _known_categories(schema: Schema | None, rows: Any, path: str) -> None:
    """Refuse test rows with a category that does not occur in the training rows."""
    for column in schema.columns if schema is not None else ():
        if column.kind is ColumnKind.CATEGORY:
            words = rows[column.name].astype(str)
            unknown = words.index[~words.isin(column.categories)]
            if len(unknown):
                raise DataError(
                    f"one of the {len(column.categories)} categories of column {column.name} in the training rows",
                    f"{words[unknown[0]]!r} in line {unknown[0]} of {path}",
                    "drop that row, or give all rows in one file",
                )
