"""A trigger in the cosine transform of an image's blocks, against scipy's transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from antivenom.core.errors import AntivenomError
from antivenom.triggers import Spectrum, on_tensor


def test_only_the_named_coefficients_of_each_block_rise() -> None:
    """The images are grey enough that nothing is clipped."""
    image = np.random.default_rng(0).uniform(0.4, 0.6, (2, 1, 9, 17))
    trigger = Spectrum(0.3, block=8, positions=((2, 3), (7, 0)))
    shown = trigger(image)
    for left in (0, 8):
        for row in range(2):
            before, after = (dctn(x[row, 0, :8, left : left + 8], norm="ortho") for x in (image, shown))
            expected = np.zeros((8, 8))
            expected[2, 3] = expected[7, 0] = 0.3
            assert np.allclose(after - before, expected, atol=1e-5)
    assert np.array_equal(shown[:, :, 8:], image[:, :, 8:])  # the ninth row and the last column are in no whole block
    assert np.array_equal(shown[:, :, :, 16:], image[:, :, :, 16:])
    assert np.allclose(on_tensor(trigger, torch.tensor(image)).numpy(), shown, atol=1e-6)


def test_colour_changes_and_brightness_does_not() -> None:
    image = np.full((1, 3, 8, 8), 0.5)
    change = Spectrum(0.1)(image) - image
    brightness = 0.299 * change[0, 0] + 0.587 * change[0, 1] + 0.114 * change[0, 2]
    assert np.abs(change).max() > 0.02
    assert np.abs(brightness).max() < 1e-4


@pytest.mark.parametrize(
    ("make", "shape", "says"),
    [
        (lambda: Spectrum(block=4, positions=((4, 0),)), (1, 1, 8, 8), "positions in the block"),
        (lambda: Spectrum(magnitude=0.0), (1, 1, 8, 8), "magnitude above 0"),
        (lambda: Spectrum(), (1, 1, 6, 8), "images of at least 8x8 pixels for Spectrum"),
        (lambda: Spectrum(), (2, 30), "images of at least 8x8 pixels for Spectrum"),
    ],
    ids=["outside", "no magnitude", "small", "a table"],
)
def test_refusals(make: Any, shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(AntivenomError, match=says) as caught:
        make()(np.zeros(shape))
    assert "\n" not in str(caught.value)
