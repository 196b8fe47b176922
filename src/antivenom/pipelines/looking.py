"""A look at the rows that a user gives: their form, columns, classes, duplicates and missing cells."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from antivenom.auditing.trial import Record
from antivenom.core.errors import DataError
from antivenom.core.protocols import Source
from antivenom.core.streams import Streams
from antivenom.data import Dataset, Split
from antivenom.data.schema import ColumnKind
from antivenom.defences.crossfit import keys_of

RARE = 0.02  # share of the rows below which a class is called rare
_LEAST_NUMBERED = 20  # rows, below which numbers in a row may be chance
_MOST_COLUMNS = 200  # that a record names


@dataclass(frozen=True, eq=False)
class Look:
    """What was found in the rows.

    Fields:
        split: the rows, split with seed 0.
        form: "table" (numbers, or numbers and words), "images", "texts" (raw), "counts" (sparse) or "tokens".
        duplicates: the number of training rows that equal an earlier one, labels aside.
        conflicts: how many of these have another label than the row that they equal.
        missing: the number of missing cells of a table.
    """

    split: Split
    form: str
    duplicates: int
    conflicts: int
    missing: int

    @property
    def train(self) -> Dataset:
        return self.split.train

    @property
    def classes(self) -> tuple[tuple[str, int], ...]:
        """(name, number of training rows) of each class."""
        counts = np.bincount(self.train.y, minlength=self.train.num_classes)
        return tuple(zip(self.train.classes, map(int, counts), strict=True))

    @property
    def largest(self) -> int:
        """The number of the class with the most training rows; of several, the first."""
        return int(np.bincount(self.train.y, minlength=self.train.num_classes).argmax())

    @property
    def texts(self) -> tuple[str, ...]:
        """The names of the columns that hold free text, which cannot be encoded as numbers."""
        return self.train.columns.texts

    @property
    def numbering(self) -> tuple[str, ...]:
        """The names of the columns that only number the rows, as an index does that was saved with them."""
        if not self.train.is_frame:
            return ()
        found = []
        for name in self.train.x.columns:
            parts = [part.x[name] for part in (self.split.train, self.split.test)]
            if all(part.dtype.kind in "iu" for part in parts):
                values = np.sort(np.concatenate([part.to_numpy() for part in parts]))
                if len(values) >= _LEAST_NUMBERED and (np.diff(values) == 1).all():
                    found.append(str(name))
        return tuple(found)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences about what makes the rows special."""
        return tuple(self._remarks())

    def _remarks(self) -> Iterator[str]:
        n = len(self.train)
        rare = [f"{name} ({_counted(rows, 'row')})" for name, rows in self.classes if rows < RARE * n]
        if rare:
            yield f"Rare classes: {', '.join(rare[:5])}{' and more' if len(rare) > 5 else ''}."
        if self.conflicts:
            yield f"{_counted(self.conflicts, 'row')} with another label than an equal row."
        elif self.duplicates:
            yield f"{_counted(self.duplicates, 'row')} equal to an earlier one."
        if self.texts and self.form == "table":
            yield (
                f"Free text or ids in {', '.join(self.texts)}: methods that need numbers do not apply; "
                f"--ignore {self.texts[0]} leaves a column out."
            )
        if self.numbering:
            names = ", ".join(self.numbering)
            yield f"Numbers of rows in {names}, from which no model should learn: --ignore {self.numbering[0]}."
        if self.missing:
            yield f"{_counted(self.missing, 'missing cell')}."
        if n < 200:
            yield f"{n} training rows are few: verdicts will be uncertain."

    @property
    def summary(self) -> str:
        """The rows in one line, such as "3,907 + 1,675 rows, table of 14 columns, 2 classes: ham 60 %, spam 40 %"."""
        train, test = self.split.train, self.split.test
        counts = self.classes
        shares = [f"{name} {rows / max(len(train), 1):.0%}" for name, rows in counts[:4]]
        more = f" and {len(counts) - 4} more" if len(counts) > 4 else ""
        return f"{len(train):,} + {len(test):,} rows, {self._shape}, {len(counts)} classes: {', '.join(shares)}{more}"

    @property
    def _shape(self) -> str:
        shape = self.train.shape
        if self.form == "images":
            return f"images of {shape[1]} x {shape[2]} pixels, {'colour' if shape[0] == 3 else 'grey'}"
        if self.form == "texts":
            return "texts"
        if self.form == "tokens":
            return f"texts of {shape[0]} tokens"
        return f"{'counts' if self.form == 'counts' else 'table'} of {_counted(math.prod(shape), 'column')}"

    def record(self) -> Record:
        """The part `data` of the line "given" in records.jsonl."""
        columns = self.train.columns.columns[:_MOST_COLUMNS]
        return {
            "name": self.train.name,
            "form": self.form,
            "rows": len(self.split.train),
            "test_rows": len(self.split.test),
            "columns": [{"name": c.name, "kind": str(c.kind), "editable": c.editable} for c in columns],
            "classes": [{"name": name, "rows": rows} for name, rows in self.classes],
            "duplicates": self.duplicates,
            "missing": self.missing,
            "summary": self.summary,
            "remarks": list(self.remarks),
        }


def _counted(number: int, noun: str) -> str:
    """A number of things, such as "1 row" or "2,000 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def look(source: Source) -> Look:
    """Read the rows once and look at them.

    Raises:
        DataError: the rows cannot be read or used: a regression, or fewer than two classes.
    """
    split = source(Streams(0))
    train = split.train
    if train.is_regression:
        raise DataError(
            "rows with classes",
            f"the regression {train.name}",
            "write a scenario file for RegressionPoisoning: antivenom show RegressionPoisoning",
        )
    present = np.unique(train.y)
    if len(present) < 2 or len(split.test) == 0:
        got = f"{len(present)} in {len(train)} training and {len(split.test)} test rows"
        raise DataError("training rows of two classes at least, and test rows", got)
    _, first, which = np.unique(keys_of(train), return_index=True, return_inverse=True)
    repeated = first[which] != np.arange(len(train))
    conflicts = repeated & (train.y != train.y[first[which]])
    return Look(split, _form(train), int(repeated.sum()), int(conflicts.sum()), _missing(train))


def _form(data: Dataset) -> str:
    if data.is_tokens:
        return "tokens"
    if data.is_sparse:
        return "counts"
    if data.is_image:
        return "images"
    return "texts" if _is_text(data) else "table"


def _is_text(data: Dataset) -> bool:
    """Whether the rows are a DataFrame with free text and nothing else."""
    return data.is_frame and all(column.kind is ColumnKind.TEXT for column in data.columns.columns)


def _missing(data: Dataset) -> int:
    return int(data.x.isna().to_numpy().sum()) if data.is_frame else 0
