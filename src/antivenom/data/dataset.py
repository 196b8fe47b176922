"""Dataset and Poison: values in, values out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from antivenom.errors import DataError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows and labels.

    Fields:
        x: (n, features) or (n, channels, height, width), float32, finite.
        y: (n,) int64 in [0, c).
        classes: the c class names.
        name: what the rows are, for records.

    Raises:
        DataError: NaN or infinite features, labels out of range, lengths that differ.
    """

    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...]
    name: str = "data"

    def __post_init__(self) -> None:
        try:
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused below
                x, y = _frozen(self.x, np.float32), np.asarray(self.y)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError("arrays of numbers", str(error), "encode the rows; categories one-hot") from error
        if x.ndim < 2 or y.ndim != 1 or len(x) != len(y):
            raise DataError("x of shape (n, ...) and y of shape (n,)", f"{x.shape} and {y.shape}", "one label per row")
        if not np.isfinite(x).all():
            bad = int((~np.isfinite(x.reshape(len(x), -1))).any(axis=1).sum())
            raise DataError(
                "finite features", f"NaN or infinity in {bad} of {len(x)} rows", "drop or impute those rows"
            )
        if y.dtype.kind not in "biuf" or (y.dtype.kind == "f" and not (np.isfinite(y).all() and (y % 1 == 0).all())):
            got = "NaN, infinity or fractions" if y.dtype.kind == "f" else f"labels of type {y.dtype}"
            raise DataError("whole-number labels", got, "encode classes as 0, 1, 2, ...")
        if len(y) and (y.min() < 0 or y.max() >= len(self.classes)):
            raise DataError(
                f"labels from 0 to {len(self.classes) - 1}", f"{y.min()} to {y.max()}", "name every class in `classes`"
            )
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", _frozen(y, np.int64))
        object.__setattr__(self, "classes", tuple(self.classes))

    def __reduce__(self) -> tuple[type[Dataset], tuple[object, ...]]:
        return type(self), (self.x, self.y, self.classes, self.name)  # else a pickled copy would be writable

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: np.ndarray | slice) -> Dataset:
        """The rows named by indices, a mask or a slice."""
        return replace(self, x=_own(self.x[rows]), y=_own(np.asarray(self.y[rows])))

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return tuple(self.x.shape[1:])

    @property
    def is_image(self) -> bool:
        return self.x.ndim == 4

    def extend(self, x: np.ndarray, y: np.ndarray) -> Dataset:
        """This data with rows appended."""
        more = Dataset(x, y, self.classes)
        if more.shape != self.shape:
            raise DataError(f"rows of shape {self.shape}", f"{more.shape}", "append rows of the same form")
        return replace(self, x=_own(np.concatenate([self.x, more.x])), y=_own(np.concatenate([self.y, more.y])))

    @classmethod
    def from_arrays(
        cls, x: np.ndarray, y: np.ndarray, classes: tuple[str, ...] | None = None, name: str = "data"
    ) -> Dataset:
        """From any arrays; class names default to the numbers that occur."""
        if classes is None:
            labels = np.asarray(y)
            top = labels.max() if labels.size and labels.dtype.kind in "biuf" and np.isfinite(labels).all() else 0
            classes = tuple(str(c) for c in range(int(top) + 1))
        return cls(x, y, classes, name)


def _frozen(value: object, dtype: type) -> np.ndarray:
    """A read-only array; a copy unless `value` is one already, since its owner may go on writing into it."""
    if isinstance(value, np.ndarray) and value.dtype == dtype and not value.flags.writeable:
        return value
    return _own(np.array(value, dtype=dtype))


def _own(array: np.ndarray) -> np.ndarray:
    """An array that nobody else holds, made read-only: no plugin mutates its inputs, numpy itself says so."""
    array.flags.writeable = False
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
        trigger: maps (m, ...) inputs to triggered inputs, or None.
        target: the class the attacker wants, or None.
    """

    data: Dataset
    mask: np.ndarray
    trigger: Callable[[np.ndarray], np.ndarray] | None = None
    target: int | None = None

    def __post_init__(self) -> None:
        mask = np.asarray(self.mask)
        if mask.shape != (len(self.data),) or (mask.dtype != bool and mask.size):
            raise DataError(
                f"a mask of shape ({len(self.data)},) and type bool",
                f"{mask.shape} and {mask.dtype}",
                "one flag per row of the poisoned data",
            )
        if self.target is not None and self.target not in range(self.data.num_classes):
            raise DataError(
                f"a target class from 0 to {self.data.num_classes - 1}", f"{self.target}", "choose a class of the data"
            )
        object.__setattr__(self, "mask", _frozen(mask, bool))

    @classmethod
    def none(cls, data: Dataset) -> Poison:
        return cls(data, np.zeros(len(data), dtype=bool))
