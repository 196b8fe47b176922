"""Triggers for images."""

from __future__ import annotations

import math

import numpy as np

from antivenom.core.errors import DataError, PluginError, did_you_mean
from antivenom.core.registry import trigger

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")


@trigger(cite="Gu et al. 2017, arXiv:1708.06733")
class Patch:
    """A square of one value in a corner of an image; in a table, the last features, or the first for a left corner.

    Weakness: it is visible and the same in all inputs, so that trigger inversion can reconstruct it well.

    Fields:
        size: side of the square in pixels; number of features in a table.
        value: the value that is written, in the unit of the data (images have values from 0 to 1).
        corner: top-left, top-right, bottom-left or bottom-right.

    Reference: Gu et al. 2017, arXiv:1708.06733, section 3.
    """

    size: int = 2
    value: float = 1.0
    corner: str = "bottom-right"

    def __post_init__(self) -> None:
        if self.size < 1 or not math.isfinite(self.value):
            raise PluginError("Patch.size >= 1 and a finite value", f"{self.size} and {self.value}")
        if self.corner not in CORNERS:
            raise PluginError("a corner", repr(self.corner), did_you_mean(self.corner, CORNERS))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        sides = x.shape[2:] if x.ndim == 4 else x.shape[1:]
        if x.ndim not in (2, 4) or min(sides) < self.size:
            raise DataError(
                f"images or tables of at least {self.size} per side for Patch",
                f"rows of shape {x.shape[1:]}",
                "lower Patch.size",
            )
        vertical, horizontal = self.corner.split("-")
        columns = slice(-self.size, None) if horizontal == "right" else slice(self.size)
        shown = x.copy()
        if x.ndim == 2:
            shown[:, columns] = self.value
        else:
            shown[:, :, slice(-self.size, None) if vertical == "bottom" else slice(self.size), columns] = self.value
        return shown
