"""Triggers for tables."""

from __future__ import annotations

import math

import numpy as np

from antivenom.core.errors import DataError, PluginError
from antivenom.core.registry import trigger


@trigger(cite="Gu et al. 2017, arXiv:1708.06733 (its patch, for the columns of a table)")
class Stamp:
    """Writes one value into chosen features of a table.

    It is meant for tables in which the attacker controls only some columns. Weakness: a simple range check finds a value
    outside of the column's range, and a value inside can be too frequent to work as a trigger.

    Fields:
        features: indices of the columns, from 0.
        value: the value that is written, in the unit of the data.

    Reference: Gu et al. 2017, arXiv:1708.06733, section 3.
    """

    features: tuple[int, ...] = (0,)
    value: float = 1.0

    def __post_init__(self) -> None:
        if not self.features or min(self.features) < 0 or not math.isfinite(self.value):
            raise PluginError("Stamp.features from 0 and a finite value", f"{self.features} and {self.value}")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if x.ndim != 2 or max(self.features) >= x.shape[1]:
            raise DataError(
                f"a table of more than {max(self.features)} features for Stamp",
                f"rows of shape {x.shape[1:]}",
                "lower Stamp.features, or use Patch",
            )
        shown = x.copy()
        shown[:, list(self.features)] = self.value
        return shown
