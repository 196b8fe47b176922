"""Feature maps of one row at a time, against written-out loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from antivenom.core.errors import DataError, PluginError
from antivenom.core.streams import Streams
from antivenom.data import load
from antivenom.models.features import HOG, deskewed


def written_out(image: np.ndarray, window: int) -> np.ndarray:
    """Orientation histograms of one image (h, w), pixel by pixel, by angle and length."""
    h, w = image.shape
    half = window // 2

    def at(i: int, j: int) -> float:
        return float(image[i, j]) if 0 <= i < h and 0 <= j < w else 0.0

    down, across = (math.ceil((size + half // 2) / half) * half for size in (h, w))
    cells = np.zeros((8, down // half, across // half))
    for i in range(down):
        for j in range(across):
            y, x = i - half // 2, j - half // 2
            gx, gy = at(y, x + 1) - at(y, x - 1), at(y + 1, x) - at(y - 1, x)
            angle, length = math.atan2(gy, gx) % (2 * math.pi), math.hypot(gx, gy)
            first = int(angle / (math.pi / 4) + 1e-9) % 8
            apart = angle - first * math.pi / 4
            # length in direction `angle` = a in the first direction + b in the next one
            b = length * math.sin(apart) / math.sin(math.pi / 4)
            a = length * math.cos(apart) - b * math.cos(math.pi / 4)
            cells[first, i // half, j // half] += a
            cells[(first + 1) % 8, i // half, j // half] += b
    windows = cells[:, 1:, 1:] + cells[:, 1:, :-1] + cells[:, :-1, 1:] + cells[:, :-1, :-1]
    root = np.sqrt(np.maximum(windows.ravel(), 0))
    return root / max(float(np.linalg.norm(root)), 1e-6)


@pytest.mark.parametrize(("shape", "window"), [((8, 8), 8), ((9, 6), 4), ((12, 12), 6)])
def test_hog_against_a_written_out_loop(shape: tuple[int, int], window: int) -> None:
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    found = HOG(window=window, deskew=False)(image[None, None])
    assert found[0] == pytest.approx(written_out(image, window), abs=1e-5)


def test_the_published_size_and_a_unit_vector() -> None:
    x = np.random.default_rng(0).random((3, 1, 28, 28)).astype(np.float32)
    found = HOG()(x)
    assert found.shape == (3, 392)
    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    assert HOG()(x[:0]).shape == (0, 392)


def test_an_image_has_the_same_bits_alone_and_among_a_thousand() -> None:
    data = load("digits", Streams(0)).train[:1000]
    together = HOG()(data.x)
    assert all(np.array_equal(HOG()(data.x[i : i + 1])[0], together[i]) for i in (0, 1, 511, 512, 700, 999))


def test_deskewing_puts_a_slanted_line_upright_in_the_middle() -> None:
    image = np.zeros((1, 16, 16), dtype=np.float32)
    for y in range(2, 14):
        image[0, y, y // 2 + 1] = 1  # half a column per line
    line = deskewed(image)[0]
    columns = (line[2:14] * np.arange(16)).sum(axis=1) / line[2:14].sum(axis=1)
    assert columns == pytest.approx(np.full(12, 7.5), abs=0.3)
    upright = np.zeros((1, 9, 9), dtype=np.float32)
    upright[0, 2:7, 4] = 1
    assert np.array_equal(deskewed(upright), upright)


def test_colours_are_averaged_and_images_without_ink_are_zero() -> None:
    x = np.random.default_rng(0).random((4, 3, 8, 8)).astype(np.float32)
    assert np.allclose(HOG()(x), HOG()(x.mean(axis=1, keepdims=True)))
    assert not HOG()(np.zeros((2, 1, 8, 8), dtype=np.float32)).any()
    assert not HOG(deskew=False)(np.ones((1, 1, 40, 40), dtype=np.float32))[0].reshape(8, 10, 10)[:, 2:8, 2:8].any()


def test_what_it_cannot_serve_it_refuses() -> None:
    with pytest.raises(DataError, match=r"images of at least 4 pixels, got rows of shape \(30,\)"):
        HOG()(np.ones((5, 30), dtype=np.float32))
    for window in (0, 7, -2):
        with pytest.raises(PluginError, match="an even number"):
            HOG(window=window)
