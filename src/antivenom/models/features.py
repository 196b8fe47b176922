"""Feature maps that look at one row at a time, so that a certificate about the rows stays one about the features."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from antivenom.core.errors import DataError, PluginError
from antivenom.core.registry import feature_map
from antivenom.data import Rows

CHUNK = 512  # images at a time: what is in between then stays in the cache


class FeatureMap(Protocol):
    """Features of rows, each from that row alone. What is fitted to the training rows is none."""

    def __call__(self, x: Rows, /) -> np.ndarray:
        """(m, features) float32 of rows (m, ...); the same bits for a row, whatever rows stand beside it."""
        ...


@feature_map(cite="Dalal and Triggs 2005, CVPR; deskewing: LeCun et al. 1998, Proc. IEEE 86(11)")
class HOG:
    """Histograms of 8 signed gradient orientations in overlapping windows, square-rooted, one unit vector per image.

    A gradient is shared between the two directions beside it as the one pair of weights that adds up to it, so no angle is
    computed. 28x28 pixels give 7x7 windows of 8 numbers, 392. Channels are averaged.

    Fields:
        window: side in pixels, even; windows stand half a side apart, and half a stride over the edges.
        deskew: centre the ink and shear it upright first, for writing; off for photographs.

    Reference: Dalal and Triggs 2005, CVPR (unsigned there, normalised by blocks).
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
        windows = rows[..., 1:] + rows[..., :-1]
        found = np.sqrt(windows.reshape(len(images), -1))
        norm = np.sqrt((found * found).sum(axis=1, keepdims=True))
        return np.asarray(found / np.maximum(norm, 1e-6), dtype=np.float32)


def deskewed(images: np.ndarray) -> np.ndarray:
    """(m, h, w): the ink centred from left to right and sheared until its second moments are upright."""
    m, height, width = images.shape
    down, across = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    ink = images.sum(axis=2)  # per line
    total = np.maximum(ink.sum(axis=1), 1e-6)
    moment = (images * across).sum(axis=2)
    middle_x, middle_y = moment.sum(axis=1) / total, (ink * down).sum(axis=1) / total
    dy = down - middle_y[:, None]
    spread = (ink * dy * dy).sum(axis=1)
    slant = ((moment - ink * middle_x[:, None]) * dy).sum(axis=1) / np.maximum(spread, 1e-3 * total)
    shift = slant.clip(-1, 1)[:, None] * dy + (middle_x - (width - 1) / 2)[:, None]  # (m, h)
    source = np.clip(across + shift[:, :, None], -1, width)
    left = np.floor(source).astype(np.intp)
    framed = np.zeros((m, height, width + 3), dtype=np.float32)
    framed[:, :, 1 : width + 1] = images
    near, far = (np.take_along_axis(framed, left + side, axis=2) for side in (1, 2))
    return np.asarray(near + (source - left).astype(np.float32) * (far - near))


def _cells(images: np.ndarray, side: int) -> np.ndarray:
    """(m, 8, h', w'): gradient by direction (every 45 degrees from +x on), summed over cells of side x side pixels."""
    height, width = images.shape[1:]
    top, left = side // 2, side // 2
    down, across = (math.ceil((size + side // 2) / side) * side for size in (height, width))
    framed = np.zeros((len(images), down + 2, across + 2), dtype=np.float32)
    framed[:, 1 + top : 1 + top + height, 1 + left : 1 + left + width] = images
    gx = framed[:, 1:-1, 2:] - framed[:, 1:-1, :-2]
    gy = framed[:, 2:, 1:-1] - framed[:, :-2, 1:-1]
    ax, ay = np.abs(gx), np.abs(gy)
    both = np.float32(math.sqrt(2)) * np.minimum(ax, ay)  # (gx, gy) = this much of a diagonal + the rest of one axis
    east, north = gx > 0, gy > 0
    parts = (
        *(np.maximum(gx - ay, 0), both * (east & north), np.maximum(gy - ax, 0), both * (~east & north)),
        *(np.maximum(-gx - ay, 0), both * ~(east | north), np.maximum(-gy - ax, 0), both * (east & ~north)),
    )
    return np.stack([_summed(_summed(part, 1, side), 2, side) for part in parts], axis=1)


def _summed(values: np.ndarray, axis: int, side: int) -> np.ndarray:
    """Sums of `side` neighbours along an axis, added one by one: the same bits wherever an image stands."""
    steps = [slice(None)] * values.ndim
    total = np.zeros(1, dtype=np.float32)
    for i in range(side):
        steps[axis] = slice(i, None, side)
        total = total + values[tuple(steps)]
    return np.asarray(total)
