"""Triggers for tables."""

from __future__ import annotations

import math

import numpy as np

from antivenom.core.errors import DataError, PluginError
from antivenom.core.registry import trigger


@trigger(cite="Gu et al. 2017, arXiv:1708.06733 (its patch, for the columns of a table)")
class Stamp:
    """Writes one value into chosen features of a table.

    For tables in which only some columns are in the attacker's hand. Weakness: a value outside the column's range is
    caught by the plainest range check, one inside it may be too common to act as a trigger.

    Fields:
        features: column numbers, from 0.
        value: what is written, in the data's own unit.

    Reference: Gu et al. 2017, arXiv:1708.06733, section 3.
    """

    features: tuple[int, ...] = (0,)
    value: float = 1.0

    def __post_init__(self) -> None:
        if not self.features or min(self.features) < 0 or not math.isfinite(self.value):
            raise PluginError(
                "Stamp.features from 0 and a finite value", f"{self.features} and {self.value}", "correct them"
            )

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if x.ndim != 2 or max(self.features) >= x.shape[1]:
            raise DataError(
                f"a table of more than {max(self.features)} features for Stamp",
                f"rows of shape {x.shape[1:]}",
                "correct Stamp.features, or use Patch",
            )
        shown = x.copy()
        shown[:, list(self.features)] = self.value
        return shown
