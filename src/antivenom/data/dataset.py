"""Dataset and Poison: values in, values out."""

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

    Rows come in four forms. Arrays are float32: (n, features), or images (n, channels, height, width). Tables that are
    mostly zeros may be sparse. Texts may be token rows, which a schema with a token column says. Tables of numbers and
    words are a DataFrame. `flat` and `dense` give numbers for all but token rows; `with_encoded` brings numbers back.

    Images of bytes (uint8, 0 to 255) are divided by 255, and images whose last axis holds the channels are turned
    around. Labels that are words become the places of the words in `classes`.

    Fields:
        x: the rows; finite, but for a DataFrame's numbers where the schema says that they may be missing.
        y: (n,) int64 in [0, c); for a regression, which has no classes, float64.
        classes: the c class names; () for a regression.
        name: what the rows are, for records.
        groups: (n,) int64, which source (person, sensor, time slice) each row came from; None if that is not known.
        schema: what the columns are; None is what can be told from the values, which `columns` gives.

    Raises:
        DataError: NaN or infinite numbers, labels out of range, lengths that differ, rows that the schema does not fit.
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
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused below
                x, y = read_only_rows(self.x, self.schema), _named(np.asarray(self.y), self.classes)
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
        # Without it, a copy would be writable.
        return type(self), (self.x, self.y, self.classes, self.name, self.groups, self.schema)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: np.ndarray | slice) -> Dataset:
        """The rows named by indices, a mask or a slice."""
        groups = None if self.groups is None else own(np.asarray(self.groups[rows]))
        x = self.x.iloc[rows] if self.is_frame else own(self.x[rows])
        return replace(self, x=x, y=own(np.asarray(self.y[rows])), groups=groups)

    @property
    def num_classes(self) -> int:
        """c.

        Raises:
            DataError: a regression has none; so whoever works class by class refuses it by asking.
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
        return bool(self.x.ndim == 4)

    @property
    def is_sparse(self) -> bool:
        return is_sparse(self.x)

    @property
    def is_frame(self) -> bool:
        return is_frame(self.x)

    @property
    def is_tokens(self) -> bool:
        return self.schema is not None and self.schema.is_tokens

    @property
    def is_regression(self) -> bool:
        return not self.classes

    @functools.cached_property
    def columns(self) -> Schema:
        """The schema; of rows without one, what can be told from their values."""
        return Schema.of(self.x) if self.schema is None else self.schema

    @functools.cached_property
    def encoded(self) -> Dataset:
        """The rows as numbers, for attacks and models that need them; itself unless the rows are a DataFrame."""
        if not self.is_frame or self.schema is None:
            return self
        return replace(self, x=own(self.schema.encode(self.x)), schema=self.schema.numbers)

    @property
    def dense(self) -> np.ndarray:
        """(n, ...) numbers, for those who cannot work on sparse rows; a DataFrame's encoded.

        Raises:
            DataError: the rows are sparse; making them dense could take all memory, so it is never done silently.
            NotApplicable: token rows, whose numbers are names.
        """
        if self.is_sparse:
            raise DataError("dense rows", f"sparse ones of shape {self.x.shape}", "use Dataset.x.toarray() if they fit")
        return np.asarray(self._numbers)

    @property
    def flat(self) -> Rows:
        """(n, features) numbers, dense or CSR, for those who can work on both; a DataFrame's encoded.

        Raises:
            NotApplicable: token rows, whose numbers are names.
        """
        if self.is_sparse:
            return self.x
        numbers = self._numbers
        return numbers.reshape(len(self), math.prod(numbers.shape[1:]))

    @property
    def inputs(self) -> np.ndarray:
        """(n, ...) as a torch network takes them: token numbers of token rows, the numbers of `dense` of all others."""
        return np.asarray(self.x) if self.is_tokens else self.dense

    @property
    def _numbers(self) -> np.ndarray:
        if self.is_tokens:
            raise NotApplicable("rows of numbers", f"token rows ({self.name})", "use the word counts of the same text")
        return np.asarray(self.encoded.x)

    def extend(self, x: Rows, y: np.ndarray) -> Dataset:
        """This data with rows appended; where groups are known, the added rows form a group of their own."""
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
        """The nearest rows to `x` that the schema allows, in this data's form.

        Args:
            x: (k, features), (k, ...) or CSR: encoded rows, as `flat` and `dense` have them.
            base: the k rows of this data that x was made from, if any; columns that cannot be written keep their values.
        """
        found = self.columns.decode(x, base)
        if self.is_sparse:
            return found if is_sparse(found) else sp.csr_array(found)
        if self.is_frame:
            return found.astype(self.x.dtypes.to_dict())
        return (found.toarray() if is_sparse(found) else found).reshape(x.shape[0], *self.shape)

    def with_encoded(self, x: Rows, rows: np.ndarray | None = None) -> Dataset:
        """This data with new rows: the nearest to the encoded rows `x` that the schema allows.

        Args:
            x: (n, ...) encoded rows, or (k, ...) if `rows` is given.
            rows: (k,) numbers of the rows that change; None is all.
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
        """From any arrays or a DataFrame. Class names default to the numbers that occur, or to the words in sorted order.

        Raises:
            DataError: rows that the schema does not allow, and what Dataset raises.
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
    if schema is None:
        return
    if schema.frame != is_frame(x):
        kind = "a DataFrame" if schema.frame else "an array"
        raise DataError(f"{kind}, as the schema says", form_of(x), "use Schema.of(rows)")
    width = math.prod(x.shape[1:])
    if not schema.frame and width != schema.size:
        raise DataError(f"{schema.size} columns, as the schema says", f"{width}", "give every column an entry")


def _named(y: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Labels as numbers; words by their place among the classes."""
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
    """(n,) as they are kept: classes as int64, a regression's numbers as float64."""
    if not num_classes and y.size:
        if y.dtype.kind not in "biuf" or not np.isfinite(y).all():
            raise DataError("finite numbers to predict, as there are no classes", f"{y.dtype}", "name the `classes`")
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
    """One data set in two parts. The test part belongs to the judge: no attack or defence sees it."""

    train: Dataset
    test: Dataset


@dataclass(frozen=True, eq=False)
class Poison:
    """What an attack made. Only the attacker and the judge see it whole; a defence sees `data`.

    Fields:
        data: the rows that training will get.
        mask: (n,) bool over `data`: rows that were changed or added.
        trigger: the trigger that the attack learned, or None; only for attacks registered with `learns_trigger`.
        wanted: the classes that the attacker wants, or None.
        subpopulation: maps (m, ...) inputs to (m,) bool, the part of the population that is meant, or None for all.
    """

    data: Dataset
    mask: np.ndarray
    trigger: Trigger | None = None
    wanted: Wanted | None = None
    subpopulation: Callable[[Rows], np.ndarray] | None = None

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
        return cls(data, np.zeros(len(data), dtype=bool))
