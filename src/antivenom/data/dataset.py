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
        x, y = np.asarray(self.x, dtype=np.float32), np.asarray(self.y)
        if x.ndim < 2 or len(x) != len(y) or y.ndim != 1:
            raise DataError("x of shape (n, ...) and y of shape (n,)", f"{x.shape} and {y.shape}", "one label per row")
        if not np.isfinite(x).all():
            bad = int((~np.isfinite(x.reshape(len(x), -1))).any(axis=1).sum())
            raise DataError(
                "finite features", f"NaN or infinity in {bad} of {len(x)} rows", "drop or impute those rows"
            )
        if len(y) and not np.equal(np.mod(y, 1), 0).all():
            raise DataError("whole-number labels", "fractions", "encode classes as 0, 1, 2, ...")
        y = y.astype(np.int64)
        if len(y) and (y.min() < 0 or y.max() >= len(self.classes)):
            raise DataError(
                f"labels from 0 to {len(self.classes) - 1}", f"{y.min()} to {y.max()}", "name every class in `classes`"
            )
        for value in (x, y):  # no plugin mutates its inputs: numpy itself says so
            value.flags.writeable = False
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: np.ndarray | slice) -> Dataset:
        """The rows named by indices, a mask or a slice."""
        return replace(self, x=self.x[rows], y=self.y[rows])

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
        return replace(self, x=np.concatenate([self.x, x.astype(np.float32)]), y=np.concatenate([self.y, y]))

    @classmethod
    def from_arrays(
        cls, x: np.ndarray, y: np.ndarray, classes: tuple[str, ...] | None = None, name: str = "data"
    ) -> Dataset:
        """From any arrays; class names default to the numbers that occur."""
        labels = np.asarray(y)
        if classes is None:
            top = int(labels.max()) if len(labels) else 0
            classes = tuple(str(c) for c in range(top + 1))
        return cls(np.array(x, dtype=np.float32), np.array(labels), classes, name)


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
        mask = np.asarray(self.mask, dtype=bool)
        if mask.shape != (len(self.data),):
            raise DataError(
                f"a mask of shape ({len(self.data)},)", f"{mask.shape}", "one flag per row of the poisoned data"
            )
        object.__setattr__(self, "mask", mask)

    @classmethod
    def none(cls, data: Dataset) -> Poison:
        return cls(data, np.zeros(len(data), dtype=bool))
