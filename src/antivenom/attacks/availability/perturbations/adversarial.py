"""Adversarial examples as poison."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.attacks.availability.perturbations.bounded import (
    check_ball,
    check_positive,
    check_targets,
    chosen,
    clean_rows,
    perturbed,
    targets,
    within,
)
from antivenom.core.protocols import Architecture, AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchLearner, TorchModel


@attack(
    access=(Access.DATA_MANIPULATION,),
    goal=Goal.AVAILABILITY,
    cite="Fowl et al. 2021, arXiv:2106.10807",
)
class AdversarialPoison:
    """Turns images into adversarial examples of another class for a surrogate trained on clean rows; keeps their labels.

    From non-robust features of class g(y) with the label y, the victim learns a wrong association of every class.
    Weakness: the features must transfer from surrogate to victim. Adversarial training, a few clean rows or LinearProbe
    defeat it. The paper uses 250 steps at epsilon 8/255 with a ResNet-18 on a GPU.

    Fields:
        poisoned_rate: share of the rows that are perturbed, 0 to 1.
        epsilon: maximal change of a feature (linf), for features in [0, 1].
        targets: g, the class towards which rows move: "next" by number, or "nearest", which pairs classes such that the
            distances between their means are minimal.
        surrogate: torch architecture that the attacker trains on the clean rows.
        training: training of the surrogate.
        steps: steps of projected gradient descent (PGD).
        step_size: size of a step, relative to epsilon.

    Reference: Fowl, Goldblum, Chiang, Geiping, Czaja and Goldstein 2021, "Adversarial Examples Make Strong Poisons",
    NeurIPS, arXiv:2106.10807.
    """

    poisoned_rate: float = 1.0
    epsilon: float = 0.3
    targets: str = "nearest"
    surrogate: Architecture = MLP()
    training: Training = Training()
    steps: int = 20
    step_size: float = 0.1

    def __post_init__(self) -> None:
        check_ball(self.poisoned_rate, self.epsilon, self)
        check_targets(self.targets, self)
        check_positive(self, steps=self.steps, step_size=self.step_size)

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        x = clean_rows(data)
        rows = chosen(self.poisoned_rate, len(data), context.streams)
        if not len(rows):
            return Poison.none(data)
        wanted = targets(x, data.y, data.num_classes, self.targets)
        start, labels = torch.tensor(x[rows]), torch.tensor(wanted[data.y[rows]])
        model = TorchLearner(self.surrogate, self.training).fit(data.encoded, context.streams.child("surrogate"))
        now = start
        for _ in range(self.steps):
            step = self.step_size * self.epsilon * gradient(model, now, labels).sign()
            now = within(now - step, start, self.epsilon)
        return perturbed(data, rows, (now - start).numpy())


def gradient(model: TorchModel, x: Tensor, y: Tensor, batch: int = 250) -> Tensor:
    """Gradient (m, ...) of each row's cross-entropy with respect to the row, without the rounding that a mean causes."""

    def of(x: Tensor, y: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        loss = F.cross_entropy(model.network.logits(model.vector, x, model.buffers), y, reduction="sum")
        return torch.autograd.grad(loss, x)[0]

    parts = [of(*part) for part in zip(x.split(batch), y.split(batch), strict=True)]
    return torch.cat(parts)
