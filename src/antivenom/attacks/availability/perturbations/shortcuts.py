"""Perturbations that need no model: one pattern per class."""

from __future__ import annotations

import numpy as np

from antivenom.attacks.availability.perturbations.bounded import (
    check_ball,
    check_positive,
    check_targets,
    chosen,
    class_means,
    clean_images,
    clean_rows,
    perturbed,
    targets,
)
from antivenom.core.errors import PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison


@attack(
    access=(Access.DATA_MANIPULATION,),
    goal=Goal.AVAILABILITY,
    cite="a baseline without a model for Fowl et al. 2021, arXiv:2106.10807 (class targets)",
)
class ClassMeanShift:
    """Moves every row towards the mean of another class, by epsilon in each feature, and keeps its label.

    The model learns to associate features of the other class with this label. It needs no model, and works on tables too.
    Weakness: there is one pattern per class, which a linear model detects (LinearProbe). Any share of clean rows,
    adversarial training or a projection removes the effect.

    Fields:
        poisoned_rate: share of the rows that are perturbed, 0 to 1.
        epsilon: maximal change of a feature (linf), for features in [0, 1].
        targets: the class towards which rows move: "next" by number, or "nearest", which pairs classes such that the
            distances between their means are minimal.

    Reference: the class targets of Fowl et al. 2021, "Adversarial Examples Make Strong Poisons", NeurIPS,
    arXiv:2106.10807, followed without a model.
    """

    poisoned_rate: float = 1.0
    epsilon: float = 0.3
    targets: str = "next"

    def __post_init__(self) -> None:
        check_ball(self.poisoned_rate, self.epsilon, self)
        check_targets(self.targets, self)

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        x = clean_rows(data)
        means = class_means(x, data.y, data.num_classes)
        pattern = self.epsilon * np.sign(means[targets(x, data.y, data.num_classes, self.targets)] - means)
        rows = chosen(self.poisoned_rate, len(data), context.streams)
        return perturbed(data, rows, pattern[data.y[rows]])


@attack(
    access=(Access.DATA_MANIPULATION,),
    goal=Goal.AVAILABILITY,
    cite="Yu et al. 2022, arXiv:2111.00898",
)
class SeparableShortcuts:
    """Adds to every image a coarse random pattern of its class: blocks that are lighter or darker by about epsilon.

    A linear model can separate the patterns, so that a network learns them first and the images hardly at all. It needs
    neither a model nor the images. Weakness: adversarial training and any share of clean rows remove the effect;
    LinearProbe detects it.

    Fields:
        poisoned_rate: share of the images that are perturbed, 0 to 1.
        epsilon: maximal change of a pixel (linf), for pixels in [0, 1].
        blocks: k, blocks per side of the image; fewer are learned faster, but there are only 2^(k k) patterns.
        spread: standard deviation of an image's blocks around those of its class, relative to epsilon.

    Reference: Yu, Zhang, Chen, Yin and Liu 2022, "Availability Attacks Create Shortcuts", KDD, arXiv:2111.00898 (blocks
    of 8 pixels on images of 32 at epsilon 6/255).
    """

    poisoned_rate: float = 1.0
    epsilon: float = 0.3
    blocks: int = 3
    spread: float = 0.1

    def __post_init__(self) -> None:
        check_ball(self.poisoned_rate, self.epsilon, self)
        check_positive(self, blocks=self.blocks)
        if not self.spread >= 0:
            raise PluginError("SeparableShortcuts.spread >= 0", f"{self.spread}")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        depth, height, width = clean_images(data, self).shape[1:]
        rows = chosen(self.poisoned_rate, len(data), context.streams)
        shape = (depth, min(self.blocks, height), min(self.blocks, width))
        centres = context.streams.numpy("patterns").choice((-1.0, 1.0), size=(data.num_classes, *shape))
        noise = context.streams.numpy("spread").standard_normal((len(rows), *shape), dtype=np.float32)
        coarse = np.clip(centres[data.y[rows]] + self.spread * noise, -1, 1)
        down, across = np.arange(height) * shape[1] // height, np.arange(width) * shape[2] // width
        return perturbed(data, rows, self.epsilon * coarse[:, :, down[:, None], across])
