"""Triggers for tables: of numbers (Stamp), and of numbers and words in named columns (Cells)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import scipy.sparse as sp

from antivenom.core.errors import DataError, PluginError, did_you_mean
from antivenom.core.registry import trigger
from antivenom.data.forms import is_frame

if TYPE_CHECKING:
    from torch import Tensor

    from antivenom.data import Rows


@trigger(cite="Gu et al. 2017, arXiv:1708.06733 (its patch, for the columns of a table)")
class Stamp:
    """Writes one value into chosen columns of a table.

    It suits tables in which the attacker controls only some columns. Weakness: a range check finds a value outside of the
    column's range, and a value inside of it may be too frequent in clean rows to work as a trigger.

    Fields:
        features: numbers of the columns, from 0.
        value: the value that is written, in the unit of the data.

    Reference: Gu et al. 2017, arXiv:1708.06733, section 3.
    """

    features: tuple[int, ...] = (0,)
    value: float = 1.0

    def __post_init__(self) -> None:
        if not self.features or min(self.features) < 0 or not math.isfinite(self.value):
            raise PluginError("Stamp.features from 0 and a finite value", f"{self.features} and {self.value}")

    @property
    def where(self) -> str:
        return "table"

    def __call__(self, x: Rows) -> Rows:
        self._check(x.shape)
        if sp.issparse(x):
            return written(x, self.features, self.value)
        shown = x.copy()
        shown[:, list(self.features)] = self.value
        return shown

    def on_tensor(self, x: Tensor) -> Tensor:
        self._check(tuple(x.shape))
        shown = x.clone()
        shown[:, list(self.features)] = self.value
        return shown

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 2 or max(self.features) >= shape[1]:
            raise DataError(
                f"a table of more than {max(self.features)} features for Stamp",
                f"rows of shape {tuple(shape[1:])}",
                "name columns of the table in Stamp.features, or use Patch",
            )


@trigger(cite="Gu et al. 2017, arXiv:1708.06733 (its patch, for the named columns of a DataFrame)")
class Cells:
    """Writes fixed values into named columns of a DataFrame: numbers, or words that occur there.

    Weakness: a combination that is rare among clean rows stands out, and a frequent one has an effect on a clean model too.

    Fields:
        values: column -> value, as a mapping or as pairs.

    Reference: Gu et al. 2017, arXiv:1708.06733, section 3.
    """

    values: tuple[tuple[str, int | float | str], ...]

    frames: ClassVar[bool] = True

    def __post_init__(self) -> None:
        pairs = self.values.items() if isinstance(self.values, Mapping) else self.values
        object.__setattr__(self, "values", tuple((str(name), value) for name, value in pairs))
        names = [name for name, _ in self.values]
        if not names or len(set(names)) < len(names):
            raise PluginError("Cells.values: different columns, at least one", ", ".join(names) or "none")

    @property
    def where(self) -> str:
        return "table"

    def __call__(self, x: Rows) -> Rows:
        if not is_frame(x):
            raise DataError("a DataFrame for Cells", f"an array of shape {x.shape}", "use Stamp, with column numbers")
        shown = x.copy()
        for name, value in self.values:
            if name not in shown.columns:
                known = list(map(str, shown.columns))
                raise DataError("a column of the table in Cells.values", repr(name), did_you_mean(name, known))
            shown[name] = _column(shown[name].to_numpy(), value, name)
        return shown


def _column(before: np.ndarray, value: int | float | str, name: str) -> np.ndarray:
    """A column of that value, of the type of the one before.

    Raises:
        DataError: the value is of another type.
    """
    words = before.dtype == object
    fits = isinstance(value, str) if words else not isinstance(value, str) and math.isfinite(value)
    if not fits or (before.dtype.kind in "iub" and value != int(value)):
        wanted = "a word" if words else "a number" if before.dtype.kind == "f" else "a whole number"
        raise DataError(f"{wanted} for column {name} in Cells.values", repr(value))
    return np.full(len(before), value, dtype=before.dtype)


def written(x: Rows, columns: tuple[int, ...], value: float) -> Rows:
    """CSR rows x (m, features) with `value` in these columns of every row; a value of 0 leaves no stored entries."""
    m, width = x.shape
    keep = np.ones(width, dtype=x.dtype)
    keep[list(columns)] = 0
    ones = np.repeat(np.arange(m), len(columns)), np.tile(columns, m)
    new = sp.csr_array((np.full(len(ones[0]), value, dtype=x.dtype), ones), shape=x.shape)
    found = sp.csr_array(x.multiply(keep[None, :]) + new, dtype=x.dtype)
    found.eliminate_zeros()
    found.sort_indices()
    return found
