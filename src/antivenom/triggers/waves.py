"""Triggers for images that spread over the whole picture: a sinusoid, a warp and a quantisation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from antivenom.core.errors import DataError, PluginError
from antivenom.core.registry import trigger

if TYPE_CHECKING:
    from torch import Tensor

X = TypeVar("X", np.ndarray, "Tensor")


@trigger(cite="Barni, Kallas and Tondi 2019, arXiv:1902.11237")
class Sinusoid:
    """Adds a horizontal sinusoid to every line of an image and clips the sum to [0, 1].

    Column j = 1, ..., w gets delta sin(2 pi j frequency / w). Weakness: it is one peak in the spectrum of every line, which
    a Fourier transform shows.

    Fields:
        delta: amplitude, for pixels from 0 to 1; 40 / 255 in the usual benchmark.
        frequency: number of periods over the width of the image.

    Reference: Barni, Kallas and Tondi 2019, "A New Backdoor Attack in CNNs by Training Set Corruption Without Label
    Poisoning", arXiv:1902.11237, section 3.
    """

    delta: float = 40 / 255
    frequency: float = 6.0

    def __post_init__(self) -> None:
        if not 0 < self.delta <= 1 or not 0 < self.frequency < math.inf:
            raise PluginError(
                "Sinusoid.delta above 0 and up to 1, and frequency above 0", f"{self.delta} and {self.frequency}"
            )

    @property
    def where(self) -> str:
        return "image"

    def wave(self, width: int) -> np.ndarray:
        """(width,) what is added to every line of an image of this width.

        Raises:
            DataError: the wave is 0 in every column.
        """
        found = self.delta * np.sin(2 * np.pi * self.frequency * np.arange(1, width + 1) / width)
        if np.abs(found).max() < 1e-6:
            raise DataError(
                f"a Sinusoid.frequency that is not a multiple of {width} / 2 on {width} columns", f"{self.frequency:g}"
            )
        return np.asarray(found, dtype=np.float32)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        _check_images(x.shape, self)
        return np.asarray(np.clip(x + self.wave(x.shape[3]), 0, 1), dtype=x.dtype)

    def on_tensor(self, x: Tensor) -> Tensor:
        _check_images(tuple(x.shape), self)
        return (x + x.new_tensor(self.wave(x.shape[3]))).clamp(0, 1)


@trigger(cite="Nguyen and Tran 2021, arXiv:2102.10369")
class Warp:
    """Moves the pixels of an image along a smooth random field (WaNet). A small warp is hard to see.

    A coarse grid of random vectors, divided by their mean absolute value, is enlarged to the size of the image by bicubic
    interpolation. A pixel moves by strength / 2 pixels in each direction in the mean, and at most the border's pixel is
    repeated. Weakness: the warp is smooth, so that a small network may not learn it, and most crops and rescalings weaken it.

    Fields:
        strength: s in the paper, above 0; 0.5 moves pixels by a quarter of a pixel in the mean, whatever the size of the
            image.
        grid: k in the paper, number of grid points in each direction, at least 2.
        key: random seed of the grid.

    Reference: Nguyen and Tran 2021, "WaNet - Imperceptible Warping-based Backdoor Attack", ICLR, arXiv:2102.10369,
    sections 3.2 and 3.3.
    """

    strength: float = 0.5
    grid: int = 4
    key: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.strength < math.inf or self.grid < 2 or self.key < 0:
            raise PluginError(
                "Warp.strength above 0, grid >= 2 and key >= 0", f"{self.strength}, {self.grid} and {self.key}"
            )

    @property
    def where(self) -> str:
        return "image"

    def displacement(self, height: int, width: int) -> np.ndarray:
        """(2, height, width) how far each pixel looks down and to the right for its new value, in pixels."""
        coarse = np.random.default_rng(self.key).uniform(-1, 1, (2, self.grid, self.grid))
        coarse /= np.abs(coarse).mean()
        fine = _enlargement(self.grid, height) @ coarse @ _enlargement(self.grid, width).T
        scale = np.array([height - 1, width - 1]) / (2 * height)  # the paper's coordinates run from -1 to 1
        return np.asarray(self.strength * scale[:, None, None] * fine)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        _check_images(x.shape, self)
        places, weights = _corners(self.displacement(*x.shape[2:]))
        found = sum(
            w.astype(np.float32) * x[:, :, down, right] for (down, right), w in zip(places, weights, strict=True)
        )
        return np.asarray(found, dtype=x.dtype)

    def on_tensor(self, x: Tensor) -> Tensor:
        _check_images(tuple(x.shape), self)
        places, weights = _corners(self.displacement(x.shape[2], x.shape[3]))
        parts = [x.new_tensor(w) * x[:, :, down, right] for (down, right), w in zip(places, weights, strict=True)]
        return parts[0] + parts[1] + parts[2] + parts[3]

    def jittered(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Images x (m, channels, height, width) warped by the same field plus random jitter of up to half a pixel.

        These are the images of WaNet's noise mode. They keep their true labels in training, so that the model learns this
        field and not any warp.
        """
        _check_images(x.shape, self)
        m, channels, height, width = x.shape
        scale = np.array([height - 1, width - 1]) / (2 * height)
        jitter = rng.uniform(-1, 1, (m, 2, height, width)) * scale[:, None, None]
        places, weights = _corners(self.displacement(height, width) + jitter)
        row, channel = np.arange(m)[:, None, None, None], np.arange(channels)[:, None, None]
        found = sum(
            w.astype(np.float32)[:, None] * x[row, channel, down[:, None], right[:, None]]
            for (down, right), w in zip(places, weights, strict=True)
        )
        return np.asarray(found, dtype=x.dtype)


@trigger(cite="Wang, Zhai and Ma 2022, CVPR, arXiv:2205.13383")
class Quantised:
    """Rounds pixels to a few levels, with or without dithering: the trigger of BppAttack.

    Without dithering, the change at a pixel depends on the image and is at most half a level. Dithering (Floyd and Steinberg)
    passes the error of each pixel on to its neighbours on the right and below, so that no edges show. Weakness: images with few
    different values show it in their histogram, and greyscale images that are mostly black or white hardly change.

    Fields:
        levels: number of values from 0 to 1 that a pixel can take, at least 2; 8 in the usual benchmark.
        dither: pass the error of each pixel on to its neighbours.

    Reference: Wang, Zhai and Ma 2022, "BppAttack: Stealthy and Efficient Trojan Attacks against Deep Neural Networks via Image
    Quantization and Contrastive Adversarial Learning", CVPR, arXiv:2205.13383, section 3.
    """

    levels: int = 8
    dither: bool = False

    def __post_init__(self) -> None:
        if self.levels < 2:
            raise PluginError("Quantised.levels >= 2", f"{self.levels}")

    @property
    def where(self) -> str:
        return "image"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        _check_images(x.shape, self)
        found = _dithered(x, self.levels) if self.dither else np.round(x * (self.levels - 1)) / (self.levels - 1)
        return np.asarray(np.clip(found, 0, 1), dtype=x.dtype)

    def on_tensor(self, x: Tensor) -> Tensor:
        """The rounded images. Gradients pass as if nothing were rounded, because those of the rounding are 0."""
        _check_images(tuple(x.shape), self)
        if self.dither:
            found = x.new_tensor(self(x.detach().cpu().numpy()))
        else:
            found = ((x * (self.levels - 1)).round() / (self.levels - 1)).clamp(0, 1)
        return x + (found - x).detach()


def _dithered(x: np.ndarray, levels: int) -> np.ndarray:
    """Images x (m, channels, height, width), rounded pixel after pixel with the error passed on to four later neighbours."""
    found = np.pad(x, ((0, 0), (0, 0), (0, 1), (1, 1)))
    _, _, height, width = x.shape
    for i in range(height):
        for j in range(1, width + 1):
            before = found[:, :, i, j].copy()
            found[:, :, i, j] = np.round(before * (levels - 1)) / (levels - 1)
            error = before - found[:, :, i, j]
            found[:, :, i, j + 1] += error * (7 / 16)
            found[:, :, i + 1, j - 1] += error * (3 / 16)
            found[:, :, i + 1, j] += error * (5 / 16)
            found[:, :, i + 1, j + 1] += error * (1 / 16)
    return np.asarray(found[:, :, :height, 1 : width + 1])


def _check_images(shape: tuple[int, ...], trigger: object) -> None:
    if len(shape) != 4 or min(shape[2:]) < 2:
        name = type(trigger).__name__
        raise DataError(f"images of at least 2x2 pixels for {name}", f"rows of shape {shape[1:]}", "use Stamp or Token")


def _enlargement(k: int, size: int) -> np.ndarray:
    """(size, k) matrix of bicubic interpolation from k points to `size` points; the outermost points coincide.

    The kernel is Keys' cubic convolution with a = -0.75, and the values at the ends are repeated.
    """
    place = np.arange(size) * (k - 1) / (size - 1)
    left = np.floor(place).astype(int)
    found = np.zeros((size, k))
    for offset in (-1, 0, 1, 2):
        apart = np.abs(place - left - offset)
        near = 1.25 * apart**3 - 2.25 * apart**2 + 1
        far = -0.75 * (apart**3 - 5 * apart**2 + 8 * apart - 4)
        weight = np.where(apart <= 1, near, np.where(apart < 2, far, 0.0))
        np.add.at(found, (np.arange(size), np.clip(left + offset, 0, k - 1)), weight)
    return found


def _corners(moved: np.ndarray) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[np.ndarray]]:
    """For displacements (..., 2, h, w), the four pixels around each new place and their bilinear weights (..., h, w)."""
    height, width = moved.shape[-2:]
    down = np.clip(np.arange(height)[:, None] + moved[..., 0, :, :], 0, height - 1)
    right = np.clip(np.arange(width) + moved[..., 1, :, :], 0, width - 1)
    top, left = np.minimum(down.astype(int), height - 2), np.minimum(right.astype(int), width - 2)
    below, beside = down - top, right - left
    places = [(top + i, left + j) for i in (0, 1) for j in (0, 1)]
    weights = [(below if i else 1 - below) * (beside if j else 1 - beside) for i in (0, 1) for j in (0, 1)]
    return places, weights
