"""Repair without any training: every input is shrunk and moved before the model sees it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import mitigation
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset
from antivenom.defences.changed import Changed
from antivenom.defences.inputs import require_images
from antivenom.defences.networks import require_evaluation


@mitigation(access=tuple(Access), goal=Goal.BACKDOOR, cite="Li et al. 2021, arXiv:2104.02361")
class ShrinkPad:
    """Shrinks each input image by a few pixels and puts it at a random place of a blank image of the old size.

    A static trigger is activated by its exact look and place, which change, while an honest object remains what it is. It
    needs no training, no gradients and only queries, so that it repairs black boxes too. The place depends on a secret key
    and the image: equal images get equal answers.

    Weakness: an attacker who shrinks and moves the poisoned images alike in training keeps the backdoor. A trigger over the
    whole image survives, and so does a patch of the background's colour. Accuracy falls if the model was not trained with
    shifts.

    Fields:
        pixels: number of pixels by which height and width shrink, from 1 to half of the shorter side.

    Reference: Li, Zhai, Jiang, Li and Xia 2021, "Backdoor Attack in the Physical World", ICLR workshop, arXiv:2104.02361.
    """

    pixels: int = 4

    def __post_init__(self) -> None:
        if self.pixels < 1:
            raise PluginError("ShrinkPad.pixels >= 1", f"{self.pixels}")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> Model:
        require_evaluation(model, self)
        require_images(clean, self)
        if not len(clean):
            raise DataError(
                "a clean row for ShrinkPad, whose smallest value is the background", "none", "raise clean_rows"
            )
        side = min(clean.shape[1:])
        if 2 * self.pixels > side:
            raise PluginError(f"ShrinkPad.pixels up to {side // 2} for images of {side} pixels", f"{self.pixels}")
        key = context.streams.numpy("places").bytes(16)
        return Changed(model, Moved(self.pixels, float(clean.dense.min()), key))


@dataclass(frozen=True)
class Moved:
    """Shrinks images and puts each at a place that depends on the key and on the image.

    Fields:
        pixels: number of pixels by which height and width shrink.
        background: value of the pixels around the shrunken image.
        key: 16 secret bytes from which the places are drawn.
    """

    pixels: int
    background: float
    key: bytes

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """New images (m, channels, height, width)."""
        images = np.array(x, dtype=np.float32)
        height, width = images.shape[2] - self.pixels, images.shape[3] - self.pixels
        small = F.interpolate(torch.from_numpy(images), size=(height, width), mode="bilinear", antialias=True).numpy()
        moved = np.full_like(images, self.background)
        for i, image in enumerate(images):
            drawn = hashlib.blake2b(image.tobytes(), key=self.key, digest_size=8).digest()
            top, left = divmod(int.from_bytes(drawn, "big") % (self.pixels + 1) ** 2, self.pixels + 1)
            moved[i, :, top : top + height, left : left + width] = small[i]
        return moved
