"""A sanitizer that searches the part of an image that a model needs for its prediction."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.defences.inputs import check_share, require_images, trusted_rows
from antivenom.defences.sanitizers.latent import ROWS, fitted
from antivenom.models.wrappers import TorchModel

CHUNK = 512  # images at a time


@sanitizer(access=ROWS, goal=Goal.BACKDOOR, cite="Huang et al. 2023, ICLR, arXiv:2301.10908")
class CognitiveDistillation:
    """Searches the smallest mask of each image that keeps the model's logits, and flags images with a tiny mask.

    Outside of the mask the image is replaced by noise. For a triggered image, a small part decides the prediction, namely
    the trigger. The threshold is a quantile of the trusted images. Weakness: triggers that fill the image, such as blended
    or warped ones, need a large mask. It costs a forward and a backward pass of every image in each step.

    Fields:
        share: share of the trusted rows whose mask is below the threshold, 0 to 1.
        steps: steps of the search.
        size: weight of the mask's L1 norm (gamma), >= 0.
        smoothness: weight of the mask's total variation (beta), >= 0.
        learning_rate: step size of Adam, > 0.

    Reference: Huang, Ma, Erfani and Bailey 2023, "Distilling Cognitive Backdoor Patterns within an Image", ICLR,
    arXiv:2301.10908.
    """

    share: float = 0.05
    steps: int = 100
    size: float = 0.01
    smoothness: float = 10.0
    learning_rate: float = 0.1

    def __post_init__(self) -> None:
        check_share(self.share, "CognitiveDistillation.share")
        if self.steps < 1 or not 0 <= self.size < math.inf or not 0 <= self.smoothness < math.inf:
            raise PluginError(
                "CognitiveDistillation.steps >= 1, size >= 0 and smoothness >= 0",
                f"{self.steps}, {self.size} and {self.smoothness}",
            )
        if not 0 < self.learning_rate < math.inf:
            raise PluginError("CognitiveDistillation.learning_rate > 0", f"{self.learning_rate}")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        trusted = trusted_rows(context, self)
        require_images(data, self, "use KNNSanitizer")
        model = fitted(self, data, context)
        generator = context.streams.torch("noise", device=model.vector.device)
        clean = self.sizes(model, trusted, generator)
        found = self.sizes(model, data, generator)
        return Verdict(-found, found < np.quantile(clean, self.share))

    def sizes(self, model: TorchModel, rows: Dataset, generator: torch.Generator) -> np.ndarray:
        """(n,) mean of each image's mask, 0 to 1."""
        parts = [
            self._masks(model, model.network.rows(rows.dense[i : i + CHUNK]), generator).flatten(1).mean(1)
            for i in range(0, len(rows), CHUNK)
        ]
        return np.asarray(torch.cat(parts).double().cpu().numpy())

    def _masks(self, model: TorchModel, x: Tensor, generator: torch.Generator) -> Tensor:
        """(m, 1, height, width) masks of images x (m, channels, height, width)."""
        with torch.no_grad():
            expected = model.network.logits(model.vector, x, model.buffers)
        raw = torch.full((len(x), 1, *x.shape[2:]), 2.0, device=x.device, requires_grad=True)  # most of it is shown
        optimizer = torch.optim.Adam([raw], lr=self.learning_rate, betas=(0.1, 0.1))
        for _ in range(self.steps):
            mask = (raw.tanh() + 1) / 2
            noise = torch.rand((len(x), x.shape[1], 1, 1), generator=generator, device=x.device)
            seen = model.network.logits(model.vector, mask * x + (1 - mask) * noise, model.buffers)
            change = (seen - expected).abs().mean(dim=1)
            area = mask.flatten(1).sum(dim=1)
            down, across = mask.diff(dim=2).square(), mask.diff(dim=3).square()
            rough = down.flatten(1).mean(dim=1) + across.flatten(1).mean(dim=1)
            loss = (change + self.size * area + self.smoothness * rough).sum()
            (raw.grad,) = torch.autograd.grad(loss, [raw])
            optimizer.step()
        return ((raw.tanh() + 1) / 2).detach()
