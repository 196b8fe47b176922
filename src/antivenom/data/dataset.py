"""Dataset, Split and Poison: rows and labels as read-only values."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from antivenom.core.errors import DataError, NotApplicable
from antivenom.data.forms import Rows, form_of, frozen, is_frame, own, read_only_rows, stacked
from antivenom.data.schema import Schema, is_sparse

if TYPE_CHECKING:
    from antivenom.core.protocols.central import Trigger, Wanted


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows and labels.

    There are four forms of rows:

    - a float32 array: a table (n, features), or images (n, channels, height, width);
    - a sparse CSR table, for word counts and the like;
    - int64 token rows (n, length), if the schema has a token column;
    - a DataFrame, for tables of numbers and words.

    `flat` and `dense` return numbers for all forms except token rows; `with_encoded` converts numbers back.

    Images of bytes (uint8, 0 to 255) are divided by 255, and images with the channels in the last axis are transposed.
    Labels that are words are replaced by the index of the word in `classes`.

    Fields:
        x: the rows. Numbers must be finite, except in columns of a DataFrame whose numbers may be missing by the schema.
        y: (n,) int64 from 0 to c - 1; float64 for a regression.
        classes: the names of the c classes; () for a regression.
        name: the name of the data, for records and messages.
        groups: (n,) int64, the source (person, sensor, time slice) of each row, or None if it is unknown.
        schema: the schema of the columns. None infers one from the values when it is needed; see `columns`.

    Raises:
        DataError: NaN or infinite numbers, labels out of range, different lengths, or a schema that does not fit the rows.

    Example:
        >>> data = Dataset([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], ["cat", "dog", "cat"], ("cat", "dog"))
        >>> len(data), data.num_classes, data.y.tolist()
        (3, 2, [0, 1, 0])
        >>> data[data.y == 0].x
        array([[0., 1.],
               [4., 5.]], dtype=float32)
    """

    x: Rows
    y: np.ndarray
    classes: tuple[str, ...]
    name: str = "data"
    groups: np.ndarray | None = None
    schema: Schema | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        if is_frame(self.x) and self.schema is None:
            object.__setattr__(self, "schema", Schema.of(self.x))
        try:
            with np.errstate(over="ignore"):  # numbers too large for float32 become infinite, which is refused below
                x, y = read_only_rows(self.x, self.schema), _numbered(np.asarray(self.y), self.classes)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise DataError("arrays of numbers", str(error), "give a DataFrame if columns hold words") from error
        if x.ndim < 2 or y.ndim != 1 or x.shape[0] != len(y):
            raise DataError("x of shape (n, ...) and y of shape (n,)", f"{x.shape} and {y.shape}", "one label per row")
        if not is_frame(x) and not np.isfinite(x.data if is_sparse(x) else x).all():
            finite = np.isfinite(x.toarray() if is_sparse(x) else x).reshape(len(y), -1)
            bad = int((~finite).any(axis=1).sum())
            raise DataError(
                "finite features", f"NaN or infinity in {bad} of {len(y)} rows", "drop or impute those rows"
            )
        _check_fits(x, self.schema)
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", _labels(y, len(self.classes)))
        if self.groups is not None:
            groups = np.asarray(self.groups)
            if groups.shape != y.shape or (groups.dtype.kind not in "iu" and groups.size):
                raise DataError(
                    "groups: a whole number per row", f"{groups.dtype} {groups.shape}", "number the sources"
                )
            object.__setattr__(self, "groups", frozen(groups, np.int64))

    def __reduce__(self) -> tuple[type[Dataset], tuple[object, ...]]:
        # Copies and pickles go through the constructor, because a copied array would be writable.
        return type(self), (self.x, self.y, self.classes, self.name, self.groups, self.schema)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: np.ndarray | slice) -> Dataset:
        """The rows selected by indices, a mask or a slice, as a data set."""
        groups = None if self.groups is None else own(np.asarray(self.groups[rows]))
        x = self.x.iloc[rows] if self.is_frame else own(self.x[rows])
        return replace(self, x=x, y=own(np.asarray(self.y[rows])), groups=groups)

    @property
    def num_classes(self) -> int:
        """The number of classes c.

        Raises:
            DataError: the data is a regression. So code that needs classes refuses a regression without a check of its own.
        """
        if self.is_regression:
            raise DataError("rows with classes", f"the regression {self.name}", "use a classification data set")
        return len(self.classes)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return tuple(self.x.shape[1:])

    @property
    def is_image(self) -> bool:
        """Whether the rows are images (n, channels, height, width)."""
        return bool(self.x.ndim == 4)

    @property
    def is_sparse(self) -> bool:
        """Whether the rows are a sparse CSR table."""
        return is_sparse(self.x)

    @property
    def is_frame(self) -> bool:
        """Whether the rows are a DataFrame."""
        return is_frame(self.x)

    @property
    def is_tokens(self) -> bool:
        """Whether the rows are sequences of token numbers."""
        return self.schema is not None and self.schema.is_tokens

    @property
    def is_regression(self) -> bool:
        """Whether the labels are numbers to predict instead of classes."""
        return not self.classes

    @functools.cached_property
    def columns(self) -> Schema:
        """The schema; for rows without one, the schema inferred from their values (see `Schema.of`)."""
        return Schema.of(self.x) if self.schema is None else self.schema

    @functools.cached_property
    def encoded(self) -> Dataset:
        """The data with a DataFrame's rows encoded as numbers; other forms are numbers already and are returned as is."""
        if not self.is_frame or self.schema is None:
            return self
        return replace(self, x=own(self.schema.encode(self.x)), schema=self.schema.numbers)

    @property
    def dense(self) -> np.ndarray:
        """(n, ...) numbers, for methods that cannot work on sparse rows; a DataFrame is encoded.

        Raises:
            DataError: the rows are sparse. They are never made dense silently, because that could take all memory.
            NotApplicable: the rows are tokens, whose numbers are indices into a vocabulary.
        """
        if self.is_sparse:
            raise DataError("dense rows", f"sparse ones of shape {self.x.shape}", "use Dataset.x.toarray() if they fit")
        return np.asarray(self._numbers)

    @property
    def flat(self) -> Rows:
        """(n, features) numbers, dense or CSR, for methods that can work on both; a DataFrame is encoded.

        Raises:
            NotApplicable: the rows are tokens, whose numbers are indices into a vocabulary.
        """
        if self.is_sparse:
            return self.x
        numbers = self._numbers
        return numbers.reshape(len(self), math.prod(numbers.shape[1:]))

    @property
    def inputs(self) -> np.ndarray:
        """(n, ...) the inputs of a torch network: token numbers for token rows, otherwise `dense`.

        Raises:
            DataError: the rows are sparse.
        """
        return np.asarray(self.x) if self.is_tokens else self.dense

    @property
    def _numbers(self) -> np.ndarray:
        if self.is_tokens:
            raise NotApplicable("rows of numbers", f"token rows ({self.name})", "use the word counts of the same text")
        return np.asarray(self.encoded.x)

    def extend(self, x: Rows, y: np.ndarray) -> Dataset:
        """This data with rows appended. If groups are known, the added rows form a new group.

        Args:
            x: (k, ...) rows in this data's form.
            y: (k,) their labels.

        Raises:
            DataError: the rows have another form or shape.
        """
        if self.is_sparse != is_sparse(x) or self.is_frame != is_frame(x):
            raise DataError(f"{form_of(self.x)} rows", form_of(x), "append rows of the same form")
        more = Dataset(x, y, self.classes, schema=self.schema)
        if more.shape != self.shape:
            raise DataError(f"rows of shape {self.shape}", f"{more.shape}", "append rows of the same form")
        groups = self.groups
        if groups is not None:
            groups = own(np.concatenate([groups, np.full(len(more), groups.max(initial=-1) + 1)]))
        y = own(np.concatenate([self.y, more.y]))
        return replace(self, x=stacked(self.x, more.x), y=y, groups=groups)

    def decoded(self, x: Rows, base: Rows | None = None) -> Rows:
        """The rows nearest to `x` that the schema allows, in this data's form.

        Args:
            x: (k, features), (k, ...) or CSR: encoded rows, as `flat` and `dense` return them.
            base: the k rows of this data from which x was made, or None. Columns that are not editable keep their values.
        """
        found = self.columns.decode(x, base)
        if self.is_sparse:
            return found if is_sparse(found) else sp.csr_array(found)
        if self.is_frame:
            return found.astype(self.x.dtypes.to_dict())
        return (found.toarray() if is_sparse(found) else found).reshape(x.shape[0], *self.shape)

    def with_encoded(self, x: Rows, rows: np.ndarray | None = None) -> Dataset:
        """This data with new rows: those nearest to the encoded rows `x` that the schema allows.

        Args:
            x: (n, ...) encoded rows, or (k, ...) if `rows` is given.
            rows: (k,) indices of the rows that change, or None for all.
        """
        if rows is None:
            return replace(self, x=self.decoded(x, self.x))
        if self.is_frame:
            new = self.x.copy()
            changed = self.decoded(x, self.x.iloc[rows].reset_index(drop=True))
            for place, name in enumerate(new.columns):
                new.iloc[rows, place] = changed[name].to_numpy()
        else:
            new = self.x.tolil() if self.is_sparse else self.x.copy()
            new[rows] = self.decoded(x, self.x[rows])
        return replace(self, x=new)

    @classmethod
    def from_arrays(
        cls,
        x: Rows,
        y: np.ndarray,
        classes: tuple[str, ...] | None = None,
        name: str = "data",
        schema: Schema | None = None,
    ) -> Dataset:
        """A data set from any arrays or a DataFrame, with every row checked against the schema.

        Args:
            x: the rows.
            y: the labels.
            classes: the class names. None takes the words among the labels in sorted order, or, for numbers, "0" up to the
                largest label.
            name: the name of the data.
            schema: the schema, or None to infer it when it is needed.

        Raises:
            DataError: the schema does not allow a row, or whatever Dataset raises.
        """
        if classes is None:
            labels = np.asarray(y)
            if labels.dtype.kind in "OUST":
                classes = tuple(sorted({str(label) for label in labels.ravel()}))
            else:
                top = labels.max() if labels.size and labels.dtype.kind in "biuf" and np.isfinite(labels).all() else 0
                classes = tuple(str(c) for c in range(int(top) + 1))
        made = cls(x, y, classes, name, schema=schema)
        if schema is not None:
            from antivenom.data.checks import check_rows

            check_rows(made)
        return made


def _check_fits(x: Rows, schema: Schema | None) -> None:
    """Check form and number of columns, not the values, which `check_rows` does."""
    if schema is None:
        return
    if schema.frame != is_frame(x):
        kind = "a DataFrame" if schema.frame else "an array"
        raise DataError(f"{kind}, as the schema says", form_of(x), "use Schema.of(rows)")
    width = math.prod(x.shape[1:])
    if not schema.frame and width != schema.size:
        raise DataError(f"{schema.size} columns, as the schema says", f"{width}", "describe every column in it")


def _numbered(y: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Labels as numbers; a word becomes its index among the classes."""
    if y.dtype == object and all(isinstance(label, (int, float, np.number)) for label in y.ravel()):
        return np.array(y.tolist())
    if y.dtype.kind not in "OUST" or not classes:
        return y
    place = {name: number for number, name in enumerate(classes)}
    known = [place.get(str(label)) for label in y.ravel()]
    if None in known:
        unknown = y.ravel()[known.index(None)]
        raise DataError(f"labels among {', '.join(classes[:5])}", repr(str(unknown)), "name every class in `classes`")
    return np.array(known, dtype=np.int64)


def _labels(y: np.ndarray, num_classes: int) -> np.ndarray:
    """(n,) checked and read-only labels: classes as int64, a regression's numbers as float64."""
    if not num_classes and y.size:
        if y.dtype.kind not in "biuf" or not np.isfinite(y).all():
            raise DataError("finite numbers to predict, since `classes` is empty", f"{y.dtype}", "name the `classes`")
        return frozen(y, np.float64)
    if y.dtype.kind not in "biuf" or (y.dtype.kind == "f" and not (np.isfinite(y).all() and (y % 1 == 0).all())):
        got = "NaN, infinity or fractions" if y.dtype.kind == "f" else f"labels of type {y.dtype}"
        raise DataError("whole-number labels", got, "encode classes as 0, 1, 2, ...")
    if len(y) and (y.min() < 0 or y.max() >= num_classes):
        raise DataError(
            f"labels from 0 to {num_classes - 1}", f"{y.min()} to {y.max()}", "name every class in `classes`"
        )
    return frozen(y, np.int64)


@dataclass(frozen=True, eq=False)
class Split:
    """Training and test rows of one data set. The test rows belong to the judge: no attack or defence sees them."""

    train: Dataset
    test: Dataset


@dataclass(frozen=True, eq=False)
class Poison:
    """The result of a data attack. Only the attacker and the judge see all of it; a defence sees `data`.

    Fields:
        data: the poisoned training rows.
        mask: (n,) bool over `data`: True for rows that were changed or added.
        trigger: the trigger that the attack learned, or None; only for attacks registered with `learns_trigger`.
        wanted: the classes that the attacker wants, or None.
        subpopulation: (m, ...) inputs -> (m,) bool, the inputs that the attack aims at, or None for all.
        measured: names and values that the attack measured, such as the loss of its search; the record calls a value
            `attack_` and its name.
    """

    data: Dataset
    mask: np.ndarray
    trigger: Trigger | None = None
    wanted: Wanted | None = None
    subpopulation: Callable[[Rows], np.ndarray] | None = None
    measured: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        mask = np.asarray(self.mask)
        if mask.shape != (len(self.data),) or (mask.dtype != bool and mask.size):
            raise DataError(
                f"a mask of shape ({len(self.data)},) and type bool",
                f"{mask.shape} and {mask.dtype}",
                "one flag per row of the poisoned data",
            )
        object.__setattr__(self, "mask", frozen(mask, bool))

    @classmethod
    def none(cls, data: Dataset) -> Poison:
        """No poison: the data with a mask that is False everywhere."""
        return cls(data, np.zeros(len(data), dtype=bool))
