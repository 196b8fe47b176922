"""Augmentations: random changes of the images of a batch, drawn anew for each batch.

A trigger that an attack wrote into the stored images is augmented with them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.registry import augmentation


@augmentation(cite="Krizhevsky et al. 2012, NeurIPS")
class Flip:
    """Flips some images from left to right. It is unsuited to digits and other writing.

    Fields:
        share: probability that an image is flipped, 0 to 1.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise PluginError("Flip.share from 0 to 1", f"{self.share}")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        mirrored = torch.rand(len(x), generator=generator, device=x.device) < self.share
        return torch.where(mirrored[:, None, None, None], x.flip(3), x)


@augmentation(cite="He et al. 2016, CVPR, arXiv:1512.03385, section 4.2")
class Crop:
    """Pads each image with zeros and crops a random window of its original size.

    Fields:
        padding: width of the border of zeros in pixels, at least 1; 4 is customary for 32x32 pixels.
    """

    padding: int = 4

    def __post_init__(self) -> None:
        if self.padding < 1:
            raise PluginError("Crop.padding >= 1", f"{self.padding}")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        m, _, height, width = x.shape
        framed = F.pad(x, [self.padding] * 4)
        top, left = torch.randint(2 * self.padding + 1, (2, m, 1), generator=generator, device=x.device)
        down = top + torch.arange(height, device=x.device)
        across = left + torch.arange(width, device=x.device)
        place = torch.arange(m, device=x.device)[:, None, None]
        return framed.permute(0, 2, 3, 1)[place, down[:, :, None], across[:, None, :]].permute(0, 3, 1, 2)
