"""Robust learners that train on mixtures of two images each (strong augmentation)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import robust_learner
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset
from antivenom.defences.inputs import require_images
from antivenom.models.training import Forward, Loss

BORGNIA = "Borgnia et al. 2021, ICASSP, arXiv:2011.09527"
ROWS = (Access.DATA_INJECTION, Access.DATA_MANIPULATION)
GOALS = (Goal.TARGETED, Goal.BACKDOOR)

Mix = Callable[[Tensor, Tensor, np.random.Generator], tuple[Tensor, float]]
"""Rows (m, ...), other rows in the same places, random numbers -> the mixtures, and the share of the first in them."""


@robust_learner(access=ROWS, goal=GOALS, cite=f"Zhang et al. 2018, arXiv:1710.09412; {BORGNIA}")
class MixUp:
    """Trains the pipeline's network on weighted means of pairs of rows and of their labels.

    A row of poison is never seen alone, so that its small perturbation or its trigger is paired with several labels. It is
    the baseline of training against clean-label poison: no row is removed, and nothing is assumed about the attack. It needs
    a torch network on rows of numbers. `Crop` and `Flip` are set in the training's `augmentation` and apply as well.

    Weakness: a trigger with wrong labels in one row of twenty is learnt from the mixtures too, and a blended trigger is itself
    a mixture.

    Fields:
        alpha: both parameters of the beta distribution of the weight, > 0; 1 is uniform.

    Reference: Borgnia, Cherepanova, Fowl, Ghiasi, Geiping, Goldblum, Goldstein and Gupta 2021, "Strong Data Augmentation
    Sanitizes Poisoning and Backdoor Attacks Without an Accuracy Tradeoff", ICASSP, arXiv:2011.09527.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_alpha(self.alpha, self)

    def __call__(self, data: Dataset, context: DefenceContext) -> Model:
        if data.is_tokens or data.is_regression:
            raise NotApplicable("rows of numbers with classes for MixUp", data.name)
        return context.fit(data, "mixed", mixed_loss(self.mix, context))

    def mix(self, x: Tensor, other: Tensor, rng: np.random.Generator) -> tuple[Tensor, float]:
        """The weighted means of both rows."""
        weight = float(rng.beta(self.alpha, self.alpha))
        return weight * x + (1 - weight) * other, weight


@robust_learner(access=ROWS, goal=GOALS, cite=f"Yun et al. 2019, arXiv:1905.04899; {BORGNIA}")
class CutMix:
    """Trains the pipeline's network on images into which a rectangle of another image is pasted, with both labels.

    The rectangle covers a part of a trigger or perturbation, and carries parts of them into images of other labels. It needs
    a torch network on images. `Crop` and `Flip` are set in the training's `augmentation` and apply as well.

    Weakness: a small patch with wrong labels is often left whole, and its label is that of the larger part of the image, so
    that it is learnt all the same. A trigger over the whole image, such as a sinusoid, is in both parts and learnt better.

    Fields:
        alpha: both parameters of the beta distribution of the share of the image that remains, > 0; 1 is uniform.

    Reference: Borgnia, Cherepanova, Fowl, Ghiasi, Geiping, Goldblum, Goldstein and Gupta 2021, "Strong Data Augmentation
    Sanitizes Poisoning and Backdoor Attacks Without an Accuracy Tradeoff", ICASSP, arXiv:2011.09527.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_alpha(self.alpha, self)

    def __call__(self, data: Dataset, context: DefenceContext) -> Model:
        require_images(data, self, "use MixUp")
        return context.fit(data, "mixed", mixed_loss(self.mix, context))

    def mix(self, x: Tensor, other: Tensor, rng: np.random.Generator) -> tuple[Tensor, float]:
        """The images with one rectangle of the other images, cut off at the border."""
        height, width = x.shape[-2:]
        half = 0.5 * (1 - rng.beta(self.alpha, self.alpha)) ** 0.5
        (top, bottom), (left, right) = (
            np.clip(np.round(rng.random() * side + np.array([-half, half]) * side), 0, side).astype(int)
            for side in (height, width)
        )
        pasted = x.clone()
        pasted[..., top:bottom, left:right] = other[..., top:bottom, left:right]
        return pasted, 1 - (bottom - top) * (right - left) / (height * width)


def check_alpha(alpha: float, defence: object) -> None:
    """Refuses a parameter of a beta distribution that is not above 0."""
    if not 0 < alpha < float("inf"):
        raise PluginError(f"{type(defence).__name__}.alpha > 0", f"{alpha}", "1 is uniform")


def mixed_loss(mix: Mix, context: DefenceContext) -> Loss:
    """The cross-entropy of each row mixed with a random row of its batch, by the share of each in the mixture."""
    rng = context.streams.numpy("mixing")

    def loss(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        other = rng.permutation(len(y))
        mixture, share = mix(x, x[other], rng)
        logits = forward(mixture)
        return share * F.cross_entropy(logits, y) + (1 - share) * F.cross_entropy(logits, y[other])

    return loss
