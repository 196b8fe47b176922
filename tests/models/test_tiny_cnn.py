"""The smallest convolutional network: its size by hand, and images that it takes or refuses."""

from __future__ import annotations

import pytest
import torch

from antivenom.core.errors import ModelError, PluginError
from antivenom.models.architectures import TinyCNN


def test_parameters_by_hand() -> None:
    convolutions = (8 * 25 + 8) + (16 * 8 * 9 + 16) + (32 * 16 * 9 + 32)
    norms, head = 2 * (8 + 16 + 32), 32 * 3 * 3 * 10 + 10  # 28 -> 14 -> 7 -> 7 -> 3 pixels
    assert sum(p.numel() for p in TinyCNN()((1, 28, 28), 10).parameters()) == convolutions + norms + head == 9018


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 9, 13), (2, 27, 10)])
def test_images_of_any_size_from_8_pixels(shape: tuple[int, ...]) -> None:
    for channels in ((2, 3), (2, 3, 4), (2, 3, 4, 4, 4)):
        assert TinyCNN(channels)(shape, 5)(torch.zeros(2, *shape)).shape == (2, 5)


def test_only_the_first_two_convolutions_halve_the_image() -> None:
    module = TinyCNN((2, 3, 4, 5))((1, 28, 28), 10)
    assert [(m.kernel_size[0], m.stride[0]) for m in module if hasattr(m, "out_channels")] == [
        (5, 2),
        (3, 2),
        (3, 1),
        (3, 1),
    ]


@pytest.mark.parametrize("channels", [(8,), (8, 0, 4)])
def test_too_few_filters_are_refused(channels: tuple[int, ...]) -> None:
    with pytest.raises(PluginError, match=r"two or more TinyCNN.channels >= 1"):
        TinyCNN(channels)


@pytest.mark.parametrize("shape", [(64,), (1, 7, 9)])
def test_other_rows_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="images of at least 8x8"):
        TinyCNN()(shape, 10)
