"""Common corruptions of images, each in five severities, for gates that compare how a model stands them."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

SEVERITIES = 5
Corruption = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
"""Images (m, channels, height, width) from 0 to 1, severity 1 to 5, random numbers -> corrupted images."""


def gaussian_noise(x: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    return x + (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1] * rng.standard_normal(x.shape)


def shot_noise(x: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return np.asarray(rng.poisson(np.clip(x, 0, 1) * photons) / photons)


def impulse_noise(x: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    share, drawn = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1], rng.random(x.shape)
    return np.where(drawn < share / 2, 0.0, np.where(drawn < share, 1.0, x))


def gaussian_blur(x: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    sigma = (1.0, 2.0, 3.0, 4.0, 6.0)[severity - 1]
    return np.asarray(ndimage.gaussian_filter(x, (0, 0, sigma, sigma)))


def motion_blur(x: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(ndimage.uniform_filter1d(x, (5, 7, 9, 11, 13)[severity - 1], axis=3))


def brightness(x: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    return x + 0.1 * severity


def contrast(x: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    mean = x.mean(axis=(2, 3), keepdims=True)
    return np.asarray(mean + (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1] * (x - mean))


def pixelation(x: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    share, images = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1], torch.tensor(x, dtype=torch.float64)
    height, width = images.shape[2:]
    small = F.adaptive_avg_pool2d(images, (max(1, round(share * height)), max(1, round(share * width))))
    return np.asarray(F.interpolate(small, size=(height, width), mode="nearest").numpy())


def jpeg(x: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Each channel is compressed as a grey image, so that any number of channels will do."""
    from PIL import Image

    height, width = x.shape[2:]
    grey = np.round(255 * np.clip(x, 0, 1)).astype(np.uint8).reshape(-1, height, width)
    whole = np.pad(grey, ((0, 0), (0, -height % 8), (0, -width % 8)), mode="edge")  # a block of JPEG has 8 x 8 pixels
    limit = 65_000 // whole.shape[1]  # JPEG files have at most 65,535 rows
    parts: list[np.ndarray] = [whole[:0]]
    for start in range(0, len(whole), limit):
        part, file = whole[start : start + limit], io.BytesIO()
        Image.fromarray(part.reshape(-1, part.shape[2])).save(file, "JPEG", quality=(25, 18, 15, 10, 7)[severity - 1])
        parts.append(np.asarray(Image.open(file)).reshape(part.shape))
    return np.concatenate(parts)[:, :height, :width].reshape(x.shape) / 255


CORRUPTIONS: tuple[Corruption, ...] = (
    gaussian_noise,
    shot_noise,
    impulse_noise,
    gaussian_blur,
    motion_blur,
    brightness,
    contrast,
    pixelation,
    jpeg,
)
"""Noise, blur, light and compression with the strengths of Hendrycks and Dietterich 2019, arXiv:1903.12261, for photographs."""
