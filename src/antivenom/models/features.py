"""Feature maps that compute the features of a row from this row alone.

Changing k rows then changes the features of k rows, so a certificate for changed features holds for changed rows.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from antivenom.core.errors import DataError, PluginError
from antivenom.core.registry import feature_map
from antivenom.data import Rows

CHUNK = 512  # images at a time, so that intermediate arrays stay in cache


class FeatureMap(Protocol):
    """Features of each row, from that row alone. Maps fitted to training data (PCA, scaling) do not qualify."""

    def __call__(self, x: Rows, /) -> np.ndarray:
        """(m, features) float32 features of rows x (m, ...). A row's features must not depend on the others, to the bit."""
        ...


@feature_map(cite="Dalal and Triggs 2005, CVPR; deskewing: LeCun et al. 1998, Proc. IEEE 86(11)")
class HOG:
    """Histograms of oriented gradients: 8 signed directions in overlapping windows, square root, one unit vector per image.

    Each gradient is split between its two neighbouring directions: it is written as a sum of two vectors with these
    directions, and their lengths are counted. No angle is computed. Images of 28x28 pixels give 7x7 windows of 8 numbers,
    392 features. Channels are averaged first. The paper uses unsigned gradients and normalises blocks of windows.

    Fields:
        window: side of a window in pixels, even. Windows are half a side apart and reach a quarter of a side beyond the
            edges.
        deskew: centre the strokes and shear them upright first. It suits writing and not photographs.

    Reference: Dalal and Triggs 2005, CVPR.
    """

    window: int = 8
    deskew: bool = True

    def __post_init__(self) -> None:
        if self.window < 2 or self.window % 2:
            raise PluginError("HOG.window: an even number of pixels", f"{self.window}", "8 suits 28x28")

    def __call__(self, x: Rows) -> np.ndarray:
        if x.ndim != 4 or min(x.shape[2:]) < self.window // 2:
            raise DataError(f"images of at least {self.window // 2} pixels", f"rows of shape {x.shape[1:]}", "drop HOG")
        parts = [self._features(x[i : i + CHUNK].mean(axis=1)) for i in range(0, len(x), CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, self._features(np.zeros((1, *x.shape[2:]))).size))

    def _features(self, images: np.ndarray) -> np.ndarray:
        cells = _cells(deskewed(images) if self.deskew else images, self.window // 2)  # (m, 8, rows, columns)
        rows = cells[:, :, 1:] + cells[:, :, :-1]
        windows = rows[..., 1:] + rows[..., :-1]  # each window is the sum of 2 x 2 cells
        found = np.sqrt(windows.reshape(len(images), -1))
        norm = np.sqrt((found * found).sum(axis=1, keepdims=True))
        return np.asarray(found / np.maximum(norm, 1e-6), dtype=np.float32)


def deskewed(images: np.ndarray) -> np.ndarray:
    """Images (m, h, w) with their strokes centred horizontally and sheared until the covariance of x and y is 0.

    The brightness of a pixel is its weight in these moments. The slant is limited to 45 degrees.
    """
    m, height, width = images.shape
    down, across = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    ink = images.sum(axis=2)  # total brightness of each line
    total = np.maximum(ink.sum(axis=1), 1e-6)
    moment = (images * across).sum(axis=2)
    middle_x, middle_y = moment.sum(axis=1) / total, (ink * down).sum(axis=1) / total
    dy = down - middle_y[:, None]
    spread = (ink * dy * dy).sum(axis=1)
    # Covariance over variance. The variance is bounded below, since the slant of a single line is undefined.
    slant = ((moment - ink * middle_x[:, None]) * dy).sum(axis=1) / np.maximum(spread, 1e-3 * total)
    shift = slant.clip(-1, 1)[:, None] * dy + (middle_x - (width - 1) / 2)[:, None]  # (m, h)
    source = np.clip(across + shift[:, :, None], -1, width)
    left = np.floor(source).astype(np.intp)
    framed = np.zeros((m, height, width + 3), dtype=np.float32)
    framed[:, :, 1 : width + 1] = images
    near, far = (np.take_along_axis(framed, left + side, axis=2) for side in (1, 2))
    return np.asarray(near + (source - left).astype(np.float32) * (far - near))


def _cells(images: np.ndarray, side: int) -> np.ndarray:
    """Gradients by direction, summed over cells of side x side pixels: (m, 8, h', w').

    Direction k is 45 k degrees from +x.
    """
    height, width = images.shape[1:]
    top, left = side // 2, side // 2
    down, across = (math.ceil((size + side // 2) / side) * side for size in (height, width))
    framed = np.zeros((len(images), down + 2, across + 2), dtype=np.float32)
    framed[:, 1 + top : 1 + top + height, 1 + left : 1 + left + width] = images
    gx = framed[:, 1:-1, 2:] - framed[:, 1:-1, :-2]
    gy = framed[:, 2:, 1:-1] - framed[:, :-2, 1:-1]
    ax, ay = np.abs(gx), np.abs(gy)
    both = np.float32(math.sqrt(2)) * np.minimum(ax, ay)  # (gx, gy) = a diagonal vector of this length + the rest
    east, north = gx > 0, gy > 0
    parts = (
        *(np.maximum(gx - ay, 0), both * (east & north), np.maximum(gy - ax, 0), both * (~east & north)),
        *(np.maximum(-gx - ay, 0), both * ~(east | north), np.maximum(-gy - ax, 0), both * (east & ~north)),
    )
    return np.stack([_block_sums(_block_sums(part, 1, side), 2, side) for part in parts], axis=1)


def _block_sums(values: np.ndarray, axis: int, side: int) -> np.ndarray:
    """Sums of blocks of `side` neighbours along an axis.

    They are added in a fixed order: `np.sum` may choose another order for another shape, which changes the last bits.
    """
    steps = [slice(None)] * values.ndim
    total = np.zeros(1, dtype=np.float32)
    for i in range(side):
        steps[axis] = slice(i, None, side)
        total = total + values[tuple(steps)]
    return np.asarray(total)
