"""Triggers for images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import scipy.sparse as sp

from antivenom.core.errors import DataError, PluginError, similar
from antivenom.core.registry import trigger
from antivenom.triggers.tables import written

if TYPE_CHECKING:
    from torch import Tensor

    from antivenom.data import Rows

X = TypeVar("X", np.ndarray, "Tensor")

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")


@trigger(cite="Gu et al. 2017, arXiv:1708.06733")
class Patch:
    """A square of one value in a corner of an image. In a table it fills the last features, or the first for a left corner.

    Weakness: it is visible and the same in all inputs, so trigger inversion reconstructs it well.

    Fields:
        size: side of the square in pixels; in a table, the number of features.
        value: the value that is written, in the unit of the data (pixels are from 0 to 1).
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
            raise PluginError(f"Patch.corner: {', '.join(CORNERS)}", repr(self.corner), similar(self.corner, CORNERS))

    def __call__(self, x: Rows) -> Rows:
        shape: tuple[int, ...] = x.shape
        if sp.issparse(x):
            self._check(shape)
            return written(x, tuple(range(shape[1])[self._columns]), self.value)
        return self._written(x, x.copy())

    def on_tensor(self, x: Tensor) -> Tensor:
        return self._written(x, x.clone())

    @property
    def _columns(self) -> slice:
        return slice(-self.size, None) if self.corner.endswith("right") else slice(self.size)

    def _check(self, shape: tuple[int, ...]) -> None:
        sides = shape[2:] if len(shape) == 4 else shape[1:]
        if len(shape) not in (2, 4) or min(sides) < self.size:
            raise DataError(
                f"images or tables of at least {self.size} per side for Patch",
                f"rows of shape {tuple(shape[1:])}",
                "lower Patch.size",
            )

    def _written(self, x: X, shown: X) -> X:
        self._check(tuple(x.shape))
        if x.ndim == 2:
            shown[:, self._columns] = self.value
        else:
            rows = slice(-self.size, None) if self.corner.startswith("bottom") else slice(self.size)
            shown[:, :, rows, self._columns] = self.value
        return shown


@trigger(cite="Chen et al. 2017, arXiv:1712.05526 (blended injection)")
class Blend:
    """Blends a fixed noise picture into the whole image: (1 - share) x + share noise.

    It has no location that could be cut out, and a small share is hard to see. Weakness: every pixel changes, so the
    statistics of the image show it, and compression or clipping may weaken it.

    Fields:
        share: weight of the noise, 0 to 1; the image has the weight 1 - share.
        key: random seed of the noise picture, whose pixels are uniform from 0 to 1.

    Reference: Chen et al. 2017, "Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning",
    arXiv:1712.05526, section 4.
    """

    share: float = 0.2
    key: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or self.key < 0:
            raise PluginError("Blend.share from 0 to 1 and key >= 0", f"{self.share} and {self.key}")

    @property
    def where(self) -> str:
        return "image"

    def picture(self, shape: tuple[int, ...]) -> np.ndarray:
        """The noise for images of that shape (channels, height, width)."""
        return np.random.default_rng(self.key).random(shape, dtype=np.float32)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if x.ndim != 4:
            raise DataError("images for Blend", f"rows of shape {x.shape[1:]}", "use Stamp or Token")
        return np.float32(1 - self.share) * x + np.float32(self.share) * self.picture(x.shape[1:])

    def on_tensor(self, x: Tensor) -> Tensor:
        noise = x.new_tensor(self.picture(tuple(x.shape[1:])))
        return (1 - self.share) * x + self.share * noise
