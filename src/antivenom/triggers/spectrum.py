"""A trigger in the frequency domain of images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from antivenom.core.errors import DataError, PluginError
from antivenom.core.registry import trigger

if TYPE_CHECKING:
    from torch import Tensor

CHROMA = np.array([1.13983, -0.39465 - 0.58060, 2.03211])  # change of red, green and blue if U and V each rise by 1


@trigger(cite="Wang et al. 2022, ECCV, arXiv:2111.10991 (FTrojan)")
class Spectrum:
    """Raises a few coefficients of the cosine transform of every block of an image, and clips the result to [0, 1] (FTrojan).

    In images of three channels, the two colour differences U and V change and the brightness does not; in others, each channel
    changes. Weakness: the change is one fixed pattern, and a low-pass filter or JPEG removes its high frequencies. A low
    frequency resists them, but is easier to see.

    Fields:
        magnitude: what is added to each coefficient of the orthonormal transform, for pixels from 0 to 1, above 0. In a block of n x n
            pixels, a pixel changes by up to 2 / n of it for each coefficient.
        block: side of the blocks in pixels, at least 2. A part of the image that no whole block covers stays as it is.
        positions: (row, column) of the coefficients, from 0.

    Reference: Wang, Yao, Xu, An, Tong and Wang 2022, "An Invisible Black-Box Backdoor Attack through Frequency Domain", ECCV,
    arXiv:2111.10991, section 3.3.
    """

    magnitude: float = 0.5
    block: int = 8
    positions: tuple[tuple[int, int], ...] = ((3, 3), (7, 7))

    def __post_init__(self) -> None:
        inside = all(len(place) == 2 and 0 <= min(place) <= max(place) < self.block for place in self.positions)
        if not 0 < self.magnitude < math.inf or self.block < 2 or not self.positions or not inside:
            raise PluginError(
                "Spectrum.magnitude above 0, block >= 2, and positions in the block",
                f"{self.magnitude}, {self.block} and {self.positions}",
            )

    @property
    def where(self) -> str:
        return "image"

    def pattern(self, shape: tuple[int, ...]) -> np.ndarray:
        """(channels, height, width) what is added to images of that shape.

        Raises:
            DataError: rows that are no images, or images smaller than a block.
        """
        if len(shape) != 3 or min(shape[1:]) < self.block:
            raise DataError(
                f"images of at least {self.block}x{self.block} pixels for Spectrum", f"rows of shape {shape}"
            )
        channels, height, width = shape
        n, place = self.block, np.arange(self.block) + 0.5
        waves = np.sqrt(2 / n) * np.cos(np.pi * np.arange(n)[:, None] * place / n)
        waves[0] /= np.sqrt(2)
        tile = self.magnitude * sum(np.outer(waves[u], waves[v]) for u, v in self.positions)
        found = np.zeros((height, width))
        down, right = height // n, width // n
        found[: down * n, : right * n] = np.tile(tile, (down, right))
        weights = CHROMA if channels == 3 else np.ones(channels)
        return np.asarray(weights[:, None, None] * found, dtype=np.float32)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(np.clip(x + self.pattern(x.shape[1:]), 0, 1), dtype=x.dtype)

    def on_tensor(self, x: Tensor) -> Tensor:
        return (x + x.new_tensor(self.pattern(tuple(x.shape[1:])))).clamp(0, 1)
