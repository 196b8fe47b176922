"""Dataset and Poison: values in, values out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from antivenom.core.errors import DataError

if TYPE_CHECKING:
    from antivenom.core.protocols.central import Trigger, Wanted

Rows: TypeAlias = Any  # (n, ...) float32: a numpy array, or a scipy.sparse.csr_array for tables that are mostly zeros


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows and labels.

    Fields:
        x: (n, features) or (n, channels, height, width), float32, finite; tables may be sparse (any scipy format, kept as
            CSR).
        y: (n,) int64 in [0, c); for a regression, which has no classes, float64.
        classes: the c class names; () for a regression.
        name: what the rows are, for records.
        groups: (n,) int64, which source (person, sensor, time slice) each row came from; None if that is not known.

    Raises:
        DataError: NaN or infinite numbers, labels out of range, lengths that differ.
    """

    x: Rows
    y: np.ndarray
    classes: tuple[str, ...]
    name: str = "data"
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        try:
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused below
                x, y = _rows(self.x), np.asarray(self.y)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError("arrays of numbers", str(error), "encode the rows; categories one-hot") from error
        if x.ndim < 2 or y.ndim != 1 or x.shape[0] != len(y):
            raise DataError("x of shape (n, ...) and y of shape (n,)", f"{x.shape} and {y.shape}", "one label per row")
        if not np.isfinite(x.data if _sparse(x) else x).all():
            finite = np.isfinite(x.toarray() if _sparse(x) else x).reshape(len(y), -1)
            bad = int((~finite).any(axis=1).sum())
            raise DataError(
                "finite features", f"NaN or infinity in {bad} of {len(y)} rows", "drop or impute those rows"
            )
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", _labels(y, len(self.classes)))
        object.__setattr__(self, "classes", tuple(self.classes))
        if self.groups is not None:
            groups = np.asarray(self.groups)
            if groups.shape != y.shape or (groups.dtype.kind not in "iu" and groups.size):
                raise DataError(
                    "groups: a whole number per row", f"{groups.dtype} {groups.shape}", "number the sources"
                )
            object.__setattr__(self, "groups", _frozen(groups, np.int64))

    def __reduce__(self) -> tuple[type[Dataset], tuple[object, ...]]:
        return type(self), (self.x, self.y, self.classes, self.name, self.groups)  # else a copy would be writable

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: np.ndarray | slice) -> Dataset:
        """The rows named by indices, a mask or a slice."""
        groups = None if self.groups is None else _own(np.asarray(self.groups[rows]))
        return replace(self, x=_own(self.x[rows]), y=_own(np.asarray(self.y[rows])), groups=groups)

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
        return _sparse(self.x)

    @property
    def is_regression(self) -> bool:
        return not self.classes

    @property
    def dense(self) -> np.ndarray:
        """(n, ...), for those who cannot work on sparse rows.

        Raises:
            DataError: the rows are sparse; making them dense could take all memory, so it is never done silently.
        """
        if self.is_sparse:
            raise DataError("dense rows", f"sparse ones of shape {self.x.shape}", "use Dataset.x.toarray() if they fit")
        return np.asarray(self.x)

    @property
    def flat(self) -> Rows:
        """(n, features), dense or CSR, for those who can work on both."""
        return self.x if self.is_sparse else self.x.reshape(len(self), math.prod(self.shape))

    def extend(self, x: Rows, y: np.ndarray) -> Dataset:
        """This data with rows appended; where groups are known, the added rows form a group of their own."""
        if self.is_sparse != _sparse(x):
            kind = {True: "sparse", False: "dense"}
            raise DataError(f"{kind[self.is_sparse]} rows", kind[_sparse(x)], "append rows of the same form")
        more = Dataset(x, y, self.classes)
        if more.shape != self.shape:
            raise DataError(f"rows of shape {self.shape}", f"{more.shape}", "append rows of the same form")
        rows = sp.vstack([self.x, more.x], format="csr") if self.is_sparse else np.concatenate([self.x, more.x])
        groups = self.groups
        if groups is not None:
            groups = _own(np.concatenate([groups, np.full(len(more), groups.max(initial=-1) + 1)]))
        return replace(self, x=_own(rows), y=_own(np.concatenate([self.y, more.y])), groups=groups)

    @classmethod
    def from_arrays(cls, x: Rows, y: np.ndarray, classes: tuple[str, ...] | None = None, name: str = "data") -> Dataset:
        """From any arrays; class names default to the numbers that occur."""
        if classes is None:
            labels = np.asarray(y)
            top = labels.max() if labels.size and labels.dtype.kind in "biuf" and np.isfinite(labels).all() else 0
            classes = tuple(str(c) for c in range(int(top) + 1))
        return cls(x, y, classes, name)


def _sparse(rows: Any) -> bool:
    return bool(sp.issparse(rows))


def _labels(y: np.ndarray, num_classes: int) -> np.ndarray:
    """(n,) as they are kept: classes as int64, a regression's numbers as float64."""
    if not num_classes and y.size:
        if y.dtype.kind not in "biuf" or not np.isfinite(y).all():
            raise DataError("finite numbers to predict, as there are no classes", f"{y.dtype}", "name the `classes`")
        return _frozen(y, np.float64)
    if y.dtype.kind not in "biuf" or (y.dtype.kind == "f" and not (np.isfinite(y).all() and (y % 1 == 0).all())):
        got = "NaN, infinity or fractions" if y.dtype.kind == "f" else f"labels of type {y.dtype}"
        raise DataError("whole-number labels", got, "encode classes as 0, 1, 2, ...")
    if len(y) and (y.min() < 0 or y.max() >= num_classes):
        raise DataError(
            f"labels from 0 to {num_classes - 1}", f"{y.min()} to {y.max()}", "name every class in `classes`"
        )
    return _frozen(y, np.int64)


def _rows(value: Any) -> Rows:
    """Read-only float32 rows."""
    if not _sparse(value):
        return _frozen(value, np.float32)
    known = isinstance(value, sp.csr_array) and value.dtype == np.float32 and value.has_canonical_format
    if known and not any(part.flags.writeable for part in (value.data, value.indices, value.indptr)):
        return value
    rows: Any = sp.csr_array(value, dtype=np.float32, copy=True)
    rows.sum_duplicates()
    return _own(rows)


def _frozen(value: object, dtype: type) -> np.ndarray:
    """A read-only array; a copy unless `value` is one already, since its owner may go on writing into it."""
    if isinstance(value, np.ndarray) and value.dtype == dtype and not value.flags.writeable:
        return value
    return np.asarray(_own(np.array(value, dtype=dtype)))


def _own(array: Rows) -> Rows:
    """An array that nobody else holds, made read-only: no plugin mutates its inputs, numpy itself says so."""
    for part in (array.data, array.indices, array.indptr) if _sparse(array) else (array,):
        part.flags.writeable = False
    return array


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
        object.__setattr__(self, "mask", _frozen(mask, bool))

    @classmethod
    def none(cls, data: Dataset) -> Poison:
        return cls(data, np.zeros(len(data), dtype=bool))
