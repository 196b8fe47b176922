"""The smallest convolutional network: its size by hand, and images that it takes or refuses."""

from __future__ import annotations

import pytest
import torch

from antivenom.core.errors import ModelError
from antivenom.models.architectures import TinyCNN


def test_parameters_by_hand() -> None:
    convolutions = (8 * 25 + 8) + (16 * 8 * 9 + 16) + (32 * 16 * 9 + 32)
    norms, head = 2 * (8 + 16 + 32), 32 * 3 * 3 * 10 + 10  # 28 -> 14 -> 7 -> 7 -> 3 pixels
    assert sum(p.numel() for p in TinyCNN()((1, 28, 28), 10).parameters()) == convolutions + norms + head == 9018


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 9, 13), (2, 27, 10)])
def test_images_of_any_size_from_8_pixels(shape: tuple[int, ...]) -> None:
    assert TinyCNN((2, 3, 4))(shape, 5)(torch.zeros(2, *shape)).shape == (2, 5)


@pytest.mark.parametrize("shape", [(64,), (1, 7, 9)])
def test_other_rows_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="images of at least 8x8"):
        TinyCNN()(shape, 10)
