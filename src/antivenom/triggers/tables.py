"""Triggers for tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from antivenom.core.errors import DataError, PluginError
from antivenom.core.registry import trigger

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
