"""Schemas describe the columns of a data set: kinds, ranges, categories, and which of them an attacker can change."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from antivenom.core.errors import DataError

MODALITIES = ("table", "image", "text", "audio")
BYTES = 255  # steps of the pixels of 8 bit images
STEP_TOLERANCE = 1e-3  # by which a float32 pixel may miss its step, as a share of the step
TOLERANCE = 1e-6  # by which a float32 number may exceed its range, relative to the width of the range (at least 1)


def is_sparse(rows: object) -> bool:
    """Whether rows are of one of scipy's sparse forms."""
    return bool(sp.issparse(rows))


class ColumnKind(enum.StrEnum):
    """The kind of values in a column."""

    REAL = "real"  # any number in the range
    WHOLE = "whole"  # whole numbers in the range: counts, years
    BINARY = "binary"  # 0 or 1
    CATEGORY = (
        "category"  # one of the categories; encoded as one-hot: one column per category, exactly one of which is 1
    )
    PIXEL = "pixel"  # a number in the range, part of an image
    TEXT = "text"  # free text in a DataFrame; it cannot be encoded
    TOKEN = "token"  # the index of a word in the vocabulary


@dataclass(frozen=True)
class Column:
    """One column, or a block of adjacent columns with equal properties.

    Fields:
        name: the column's name.
        kind: the kind of its values.
        low, high: the range of its numbers; infinite if there is no bound.
        categories: the words of a category column, in the order of the encoded columns; () for other kinds.
        editable: whether an attacker can change it.
        width: the number of columns in the block (pixels of an image, words of a vocabulary); 1 for one column.
        missing: whether numbers of a DataFrame may be missing (NaN). The column is then encoded as two: the number, and a
            flag that is 1 where the number is missing.
        fill: the number by which a missing one is encoded.
        steps: into how many equal steps the range of a pixel is divided when the image is saved, 255 for 8 bit; 0 if every
            number in the range can be saved.
    """

    name: str
    kind: ColumnKind = ColumnKind.REAL
    low: float = -math.inf
    high: float = math.inf
    categories: tuple[str, ...] = ()
    editable: bool = True
    width: int = 1
    missing: bool = False
    fill: float = 0.0
    steps: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", ColumnKind(self.kind))
        if self.steps and (self.kind is not ColumnKind.PIXEL or self.steps < 0 or not self.high - self.low < math.inf):
            got = f"{self.steps} in {self.name}, {self.kind} from {self.low:g} to {self.high:g}"
            raise DataError("steps > 0, and only of pixels with a finite range", got)
        if self.kind is ColumnKind.BINARY:
            object.__setattr__(self, "low", 0.0)
            object.__setattr__(self, "high", 1.0)
        if not self.low <= self.high or self.width < 1:
            got = f"{self.low:g} to {self.high:g} in {self.width} columns"
            raise DataError(f"a range with low <= high and a width >= 1 in column {self.name}", got)
        if (self.kind is ColumnKind.CATEGORY) != bool(self.categories):
            raise DataError(f"categories in a category column, and only there ({self.name})", f"{self.categories}")

    @property
    def size(self) -> int:
        """The number of its encoded columns."""
        return len(self.categories) or self.width + self.missing


@dataclass(frozen=True)
class Schema:
    """The columns of a data set, and the conversion between its rows and numbers.

    Rows are arrays or CSR of `size` numbers, token rows (n, length), or, with `frame`, a DataFrame whose columns have
    these names. Attacks and models that need numbers work on `encode(rows)`. For any point that they find, `decode` returns
    the nearest row that the schema allows.

    Fields:
        columns: the columns, in the order of the rows.
        modality: table, image, text or audio.
        vocabulary: the words whose counts are the columns, or whose indices are the tokens; () for other data.
        frame: whether rows are a DataFrame. Its bounded numbers are then encoded from 0 to 1.

    Raises:
        DataError: an unknown modality, or two columns of the same name.

    Example:
        >>> schema = Schema((Column("age", "whole", 0, 120), Column("colour", "category", categories=("red", "blue"))))
        >>> schema.decode(np.array([[31.6, 0.2, 0.7]]))
        array([[32.,  0.,  1.]], dtype=float32)
    """

    columns: tuple[Column, ...]
    modality: str = "table"
    vocabulary: tuple[str, ...] = ()
    frame: bool = False

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise DataError(f"modality: {', '.join(MODALITIES)}", repr(self.modality))
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError("different names of columns", f"{twice!r} twice", "rename one")

    @property
    def texts(self) -> tuple[str, ...]:
        """Names of the columns that hold free text."""
        return tuple(column.name for column in self.columns if column.kind is ColumnKind.TEXT)

    @property
    def writable_texts(self) -> tuple[str, ...]:
        """Names of the columns of free text that an attacker can write."""
        return tuple(column.name for column in self.columns if column.kind is ColumnKind.TEXT and column.editable)

    @cached_property
    def size(self) -> int:
        """The number of encoded columns."""
        return sum(column.size for column in self.columns)

    @property
    def is_tokens(self) -> bool:
        """Whether rows are sequences of token numbers."""
        return any(column.kind is ColumnKind.TOKEN for column in self.columns)

    @cached_property
    def numbers(self) -> Schema:
        """The schema of the encoded rows."""
        if not self.frame:
            return self
        found: list[Column] = []
        for column in self.columns:
            if self._scaled(column) and column.kind is not ColumnKind.BINARY:
                found.append(replace(column, kind=ColumnKind.REAL, low=0.0, high=1.0, missing=False))
            else:
                found.append(replace(column, missing=False))
            if column.missing:
                flag = Column(f"{column.name} is missing", ColumnKind.BINARY, 0, 1, editable=column.editable)
                found.append(flag)
        return replace(self, columns=tuple(found), frame=False)

    @cached_property
    def editable(self) -> np.ndarray:
        """(size,) bool: the encoded columns that an attacker can change."""
        return self._spread([column.editable for column in self.columns])

    @cached_property
    def ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """(size,) lowest and (size,) highest encoded values."""
        low, high = np.zeros(self.size), np.ones(self.size)  # right for one-hot columns and flags of missing numbers
        for column, start in self._placed:
            if not column.categories:
                block = slice(start, start + column.width)
                low[block], high[block] = (0, 1) if self._scaled(column) else (column.low, column.high)
        return low, high

    def encode(self, rows: Any) -> Any:
        """The rows as float32 numbers, dense or CSR; rows that are not a DataFrame are returned as they are.

        Raises:
            DataError: a word is not among its column's categories, or a number is missing where none may be.
        """
        if not self.frame:
            return rows
        from antivenom.data.frames import encoded

        return encoded(self, rows)

    def decode(self, x: Any, base: Any = None) -> Any:
        """The nearest rows that the schema allows, in the form of the data.

        Numbers are clipped to their range, whole numbers and the steps of pixels are rounded, and of each one-hot group the
        largest entry becomes 1.

        Args:
            x: (n, size), (n, ...) or CSR: encoded rows.
            base: the rows from which x was made, or None. Columns that are not editable keep their values, and so do the
                cells of a DataFrame whose encoded numbers did not change.
        """
        if is_sparse(x) and self._groups:
            return sp.csr_array(self.decode(x.toarray(), None if base is None else base.toarray()))
        if is_sparse(x):
            return self._decoded_sparse(x, base)
        flat = np.array(x, dtype=np.float64).reshape(len(x), math.prod(np.shape(x)[1:]))
        self._check_width(flat.shape[1])
        if base is not None and not self.editable.all():
            kept = np.asarray(self.encode(base)).reshape(flat.shape)
            flat[:, ~self.editable] = kept[:, ~self.editable]
        for start, stop in self._groups:
            best = flat[:, start:stop].argmax(axis=1)
            flat[:, start:stop] = np.eye(stop - start)[best]
        low, high = self.ranges
        np.clip(flat, low, high, out=flat)
        flat[:, self._rounded] = np.floor(flat[:, self._rounded] + 0.5)
        self._step(flat)
        if self.frame:
            from antivenom.data.frames import decoded

            return decoded(self, flat, base)
        return flat.reshape(np.shape(x)).astype(np.int64 if self.is_tokens else np.float32)

    def saved(self, x: Any) -> Any:
        """The rows, in the form of the data, after saving and reading: pixels are moved to the steps of their range."""
        if self.frame or is_sparse(x) or not self._stepped:
            return x
        flat = np.array(x, dtype=np.float64).reshape(len(x), math.prod(np.shape(x)[1:]))
        self._check_width(flat.shape[1])
        self._step(flat)
        return flat.reshape(np.shape(x)).astype(np.float32)

    def _step(self, flat: np.ndarray) -> None:
        """Move the numbers (n, size), in place, to the nearest step of their range."""
        for column, block in self._stepped:
            width = column.high - column.low
            place = (np.clip(flat[:, block], column.low, column.high) - column.low) / width * column.steps
            flat[:, block] = column.low + np.floor(place + 0.5) * width / column.steps

    def allows(self, rows: Any) -> np.ndarray:
        """(n,) bool: whether a row, in the form of the data, has the kind and range of every column."""
        if self.frame:
            from antivenom.data.frames import allowed

            return allowed(self, rows)
        low, high = self.ranges
        slack = TOLERANCE * np.where(np.isfinite(high - low), np.maximum(high - low, 1), 1)
        if is_sparse(rows) and not self._groups:
            rows = sp.csr_array(rows)
            values, at = rows.data, rows.indices
            wrong = (values < low[at] - slack[at]) | (values > high[at] + slack[at])
            wrong |= self._rounded[at] & (values != np.floor(values))
            found = np.ones(rows.shape[0], dtype=bool)
            found[np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))[wrong]] = False
            return found
        flat = np.asarray(rows.toarray() if is_sparse(rows) else rows).reshape(rows.shape[0], math.prod(rows.shape[1:]))
        self._check_width(flat.shape[1])
        fine = ((flat >= low - slack) & (flat <= high + slack)).all(axis=1)
        whole = flat[:, self._rounded]
        fine &= (whole == np.floor(whole)).all(axis=1)
        for column, block in self._stepped:
            place = (flat[:, block] - column.low) / (column.high - column.low) * column.steps
            fine &= (np.abs(place - np.rint(place)) < STEP_TOLERANCE).all(axis=1)
        for start, stop in self._groups:
            group = flat[:, start:stop]
            fine &= ((group == 0) | (group == 1)).all(axis=1) & (group.sum(axis=1) == 1)
        return np.asarray(fine)

    def fault(self, row: Any) -> str:
        """The first column of a row (1, ...) whose value is not allowed, as text for a message."""
        if self.frame:
            from antivenom.data.frames import fault

            return fault(self, row)
        flat = np.asarray(row.toarray() if is_sparse(row) else row).ravel()
        for column, start in self._placed:
            block = replace(self, columns=(column,))
            if not block.allows(flat[None, start : start + column.size])[0]:
                return (
                    f"{column.name} = {_cell(flat[start : start + column.size], column)}, not {expected_values(column)}"
                )
        return "no fault"

    @classmethod
    def of(cls, x: Any) -> Schema:
        """The schema inferred from the values; state a schema if that is not enough.

        - Images whose pixels lie in [0, 1] get that range.
        - A column of a table is binary if it holds only 0 and 1, and both; whole if it holds only whole numbers; else real.
        - A constant column has the kind of the other columns if these all have the same kind; otherwise it is real.
        - All columns of a sparse table have the same kind, because in a small table many words occur at most once, so that
          their columns alone would look binary.
        - A range is inferred only if it probably holds for unseen rows too: [0, 1] for real columns within it, and >= 0 for
          whole columns without negative numbers.
        """
        if is_sparse(x):
            binary, whole = bool((x.data == 1).all()), bool((x.data == np.floor(x.data)).all())
            kind = ColumnKind.BINARY if binary else ColumnKind.WHOLE if whole else ColumnKind.REAL
            low = 0.0 if whole and x.data.min(initial=0) >= 0 else -math.inf
            return cls((Column("x0", kind, low, width=x.shape[1]),))
        if type(x).__module__.partition(".")[0] == "pandas":
            from antivenom.data.frames import schema_of

            return schema_of(x)
        if x.ndim > 2:
            inside = x.size == 0 or (x.min() >= 0 and x.max() <= 1)
            low, high = (0.0, 1.0) if inside else (-math.inf, math.inf)
            return cls.pixels(x.shape[1:], low, high)
        from antivenom.data.inferred import columns_of

        return cls(columns_of(x))

    @classmethod
    def pixels(cls, shape: Sequence[int], low: float = 0.0, high: float = 1.0, steps: int = 0) -> Schema:
        """The schema of images of this shape; `steps` is 255 for images that are saved as 8 bit."""
        pixels = Column("pixel", ColumnKind.PIXEL, low, high, width=math.prod(shape), steps=steps)
        return cls((pixels,), "image")

    @classmethod
    def words(cls, vocabulary: Sequence[str], binary: bool = False) -> Schema:
        """The schema of word counts; with `binary`, of tables that hold 1 for every word that a text contains."""
        kind = ColumnKind.BINARY if binary else ColumnKind.WHOLE
        words = Column("word", kind, 0, width=len(vocabulary))
        return cls((words,), "text", tuple(map(str, vocabulary)))

    @classmethod
    def tokens(cls, vocabulary: Sequence[str], length: int) -> Schema:
        """The schema of token rows (n, length), whose numbers are indices into the vocabulary."""
        column = Column("token", ColumnKind.TOKEN, 0, len(vocabulary) - 1, width=length)
        return cls((column,), "text", tuple(map(str, vocabulary)))

    @cached_property
    def _placed(self) -> tuple[tuple[Column, int], ...]:
        """(column, index of its first encoded column) for each column."""
        starts = np.cumsum([0, *(column.size for column in self.columns)])
        return tuple(zip(self.columns, starts[:-1].tolist(), strict=True))

    @cached_property
    def _groups(self) -> tuple[tuple[int, int], ...]:
        """(start, stop) of each one-hot group among the encoded columns."""
        return tuple((start, start + column.size) for column, start in self._placed if column.categories)

    @cached_property
    def _rounded(self) -> np.ndarray:
        """(size,) bool: the encoded columns that hold whole numbers, which decoding rounds."""
        kinds = (ColumnKind.WHOLE, ColumnKind.BINARY, ColumnKind.TOKEN)
        found = self._spread(
            [
                column.kind is ColumnKind.BINARY or (column.kind in kinds and not self._scaled(column))
                for column in self.columns
            ]
        )
        for column, start in self._placed:
            found[start + column.width : start + column.size] |= column.missing and not column.categories
        return found

    @cached_property
    def _stepped(self) -> tuple[tuple[Column, slice], ...]:
        """(column, its place) of each column with steps."""
        return tuple((column, slice(start, start + column.size)) for column, start in self._placed if column.steps)

    def _scaled(self, column: Column) -> bool:
        """Whether the column's numbers are scaled to [0, 1] by the encoding."""
        return self.frame and not column.categories and 0 < column.high - column.low < math.inf

    def _spread(self, values: list[bool]) -> np.ndarray:
        """(size,) one value per encoded column, of one value per column."""
        return np.repeat(np.array(values, dtype=bool), [column.size for column in self.columns])

    def _check_width(self, width: int) -> None:
        if width != self.size:
            raise DataError(f"{self.size} columns, as the schema says", f"{width}", "describe every column in it")

    def _decoded_sparse(self, x: Any, base: Any) -> Any:
        """Decode a sparse table by changing its stored values only; zeros are valid in every column of a sparse table."""
        rows = sp.csr_array(x, dtype=np.float32, copy=True)
        self._check_width(rows.shape[1])
        if base is not None and not self.editable.all():
            keep = sp.diags_array((~self.editable).astype(np.float32))
            rows = sp.csr_array(rows @ sp.diags_array(self.editable.astype(np.float32)) + base @ keep)
        low, high = self.ranges
        rows.data = np.clip(rows.data, low[rows.indices], high[rows.indices])
        whole = self._rounded[rows.indices]
        rows.data[whole] = np.floor(rows.data[whole] + 0.5)
        rows.eliminate_zeros()
        return rows


def _cell(values: np.ndarray, column: Column) -> str:
    """The values of one column or block as text: all of a one-hot group, otherwise the first three wrong ones."""
    if len(values) == 1:
        return f"{values[0]:g}"
    alone = replace(Schema((replace(column, width=1, categories=()),)) if not column.categories else Schema((column,)))
    wrong = values if column.categories else [v for v in values if not alone.allows(np.array([[v]]))[0]]
    return ", ".join(f"{value:g}" for value in wrong[:3]) + (", ..." if len(wrong) > 3 else "")


def expected_values(column: Column) -> str:
    """The values that a column allows, as text for a message."""
    if column.categories:
        return f"one of its {len(column.categories)} categories"
    if column.kind is ColumnKind.BINARY:
        return "0 or 1"
    if column.steps:
        return f"a multiple of 1/{column.steps} of the range from {column.low:g} to {column.high:g}"
    words = "a whole number" if column.kind in (ColumnKind.WHOLE, ColumnKind.TOKEN) else "a number"
    if column.low == -math.inf and column.high == math.inf:
        return words
    return f"{words} from {column.low:g} to {column.high:g}" if column.high < math.inf else f"{words} >= {column.low:g}"
